"""The scratch folder: a folder of its own for each running daemon, each video and each attempt.

A daemon holds a lock on its folder for as long as it lives, so that the next one can tell what a dead one left.
Knows nothing of what the files are.
"""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

from watcher import places
from watcher.errors import Misconfigured, Outage, Stopped

_LOCK = "lock"
# Folders of ours, and no others that may lie in the same place.
_OURS = re.compile(r"\.?watcher-.+-[0-9a-f]{12}")


class Scratch:
    """One daemon's folder. `worker` names the daemon in the status table."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # The folder's name is the worker's, so that a folder left behind tells whose steps to release.
        self.worker = f"watcher-{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._folder = root / self.worker
        self._lock: IO[bytes] | None = None
        self._locked: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # Made under another name until it is locked: a folder without a lock looks like a dead daemon's.
            # And so is the lock: whoever looks round could take it before we do.
            fresh = self.root / f".{self.worker}"
            fresh.mkdir(mode=0o700)
            self._lock = (fresh / f".{_LOCK}").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (fresh / f".{_LOCK}").rename(fresh / _LOCK)
            fresh.rename(self._folder)
            self._locked = places.identity(self._folder / _LOCK)
        except OSError as error:
            if self._lock is not None:
                self._lock.close()
            raise Misconfigured(
                [
                    f"SCRATCH_DIR: cannot write in {str(self.root)!r}: {error.strerror}:"
                    " name a folder that is writable."
                ]
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def demand_in_place(self) -> None:
        """Raise Outage when the folder was deleted, or its lock: other daemons take this one for dead then.

        There is no going on: whatever was made again in its place would have no lock.
        """
        if places.identity(self._folder / _LOCK) != self._locked:
            raise self._gone()

    def _gone(self) -> Outage:
        return Outage("scratch_gone", f"{str(self._folder)!r} was deleted while it was in use, or part of it")

    def video(self, video_id: int) -> Path:
        """Return the folder that the steps of a video share; made when first asked for."""
        path = self._folder / f"v{video_id}"
        path.mkdir(exist_ok=True)
        return path

    @contextlib.contextmanager
    def attempt(self, video_id: int, token: str) -> Iterator[Path]:
        """Give one attempt an empty folder, and remove it with all it holds.

        Whatever an attempt meets that was deprived of its folder becomes an Outage.
        """
        try:
            path = self.video(video_id) / token
            path.mkdir()
        except OSError as error:
            self.demand_in_place()
            raise Outage("disk_full", f"could not make a scratch folder: {error}") from error
        try:
            yield path
        except Stopped:
            raise
        except Exception as error:
            self.demand_in_place()
            if not path.exists():
                raise self._gone() from error
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def video_ids(self) -> list[int]:
        """Return the videos that have a folder here."""
        return [int(path.name[1:]) for path in self._folder.glob("v*")]

    def remove_video(self, video_id: int) -> None:
        """Remove the folder of a video with all it holds."""
        shutil.rmtree(self._folder / f"v{video_id}", ignore_errors=True)

    @contextlib.contextmanager
    def dead_workers(self) -> Iterator[list[str]]:
        """Give the names of the daemons that died and left a folder here; the folders are removed on success."""
        with contextlib.ExitStack() as locks:
            dead = []
            for path in self.root.iterdir():
                if path == self._folder or path.is_symlink() or not _OURS.fullmatch(path.name):
                    continue
                try:
                    lock = locks.enter_context((path / _LOCK).open("rb"))
                except FileNotFoundError:
                    # Half removed, unless it has a dot and is just being made.
                    dead += [] if path.name.startswith(".") else [path]
                    continue
                except OSError:
                    continue  # another user's, or no folder: nothing here to tell it by
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    dead.append(path)
            yield [path.name.removeprefix(".") for path in dead]
            for path in dead:
                shutil.rmtree(path, ignore_errors=True)


def workers(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of the daemons that live, and of those that died; changes nothing."""
    living: list[Path] = []
    dead: list[Path] = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.is_symlink() or not _OURS.fullmatch(path.name):
            continue
        try:
            with (path / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            living.append(path)
        except OSError:
            (living if path.name.startswith(".") else dead).append(path)  # with a dot: it is just being made
        else:
            dead.append(path)
    return living, dead


def free_bytes(folder: Path) -> int:
    """Return the bytes left on the disk that holds `folder`, or the nearest parent that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(os.fspath(folder)).free
