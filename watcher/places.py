"""Where a database lies, and whether that is still the file that was opened.

A file that is moved, or deleted, goes on to be written to and read from by whoever has it open; a restart would find
none of it.
"""

from pathlib import Path

from watcher.errors import Misconfigured, Outage

# SQLite's user_version, which is 0 in a database that was never a backup.
FROM_BACKUP = 1
RESTORED = 2  # opened to be written to since: the log beside it is its own
# Where SQLite keeps it: https://www.sqlite.org/fileformat.html#the_database_header
_HEADER_BYTES, _USER_VERSION = 100, slice(60, 64)


class Place:
    """One file, from when it was opened."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._opened = identity(file)

    def note_made(self) -> None:
        """Note that the file is there, in case it was not before."""
        if self._opened is None:
            self._opened = identity(self._file)

    def demand(self) -> None:
        """Raise Outage unless the file that was opened is the one that lies there."""
        if self._is_gone() or self._is_replaced():
            what = "has vanished" if self._is_gone() else "is another file than the one that was opened"
            raise Outage("database_unavailable", f"{str(self._file)!r} {what}: nothing is written")

    def demand_at_work(self) -> None:
        """Raise what ends a process that writes, and says what to do, when its file was moved away.

        Misconfigured when there is none: a new start would make an empty one. Outage when another took its place: a
        new start goes on with that one.
        """
        if self._is_gone():
            raise Misconfigured(
                [
                    f"DATABASE_URL: {str(self._file)!r} has vanished while it was in use: put it back, with the files"
                    " -wal and -shm beside it, or restore a backup; then start again. Without it a new start begins"
                    " with an empty table."
                ]
            )
        if self._is_replaced():
            raise Outage(
                "database_unavailable",
                f"{str(self._file)!r} was replaced by another file while it was in use: start again to go on with it",
            )

    def _is_gone(self) -> bool:
        return self._opened is not None and identity(self._file) is None

    def _is_replaced(self) -> bool:
        return self._opened is not None and identity(self._file) not in (None, self._opened)


def demand_own_log(file: Path) -> None:
    """Raise Misconfigured when a backup was put in place beside the write-ahead log of the database before it.

    SQLite would take the one for the other's, and both would be lost.
    """
    log = file.with_name(file.name + "-wal")
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
        put_at, log_at = file.stat().st_ctime, log.stat()
    except OSError:
        return
    # A log of its own is younger; one of no bytes holds nothing.
    if (
        header[_USER_VERSION] == FROM_BACKUP.to_bytes(4, "big")
        and log_at.st_size
        and log_at.st_mtime <= put_at
    ):
        raise Misconfigured(
            [
                f"DATABASE_URL: {str(log)!r} belongs to the database that was here before the backup: stop whatever"
                f" uses {str(file)!r}, remove the files -wal and -shm beside it, and start again."
            ]
        )


def identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from another that takes its name; None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
