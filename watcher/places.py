"""Where a database lies, and whether that is still the file that was opened.

A file that is moved, or deleted, goes on to be written to and read from by whoever has it open; a restart would find
none of it.
"""

from pathlib import Path

from watcher.errors import Misconfigured, Outage


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


def identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from another that takes its name; None when there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
