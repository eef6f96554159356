"""What processes spent: CPU seconds of a daemon, of the ffmpegs below it and of all the rest, and its memory.

Linux only: it reads /proc.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Spent:
    """CPU seconds."""

    total: float
    ffmpeg: float

    @property
    def own(self) -> float:
        """What was not ffmpeg: the daemon, and the starting and looking into files around each ffmpeg."""
        return self.total - self.ffmpeg


class Meter:
    """Watches a daemon's children while `with` lasts: once a child has ended, nothing tells which program it was.

    What an ffmpeg spends between the last look at it and its end counts as ours.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ffmpegs: dict[int, tuple[float, float]] = {}  # CPU seconds when it was first and last seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._before = 0.0
        self.spent = Spent(0.0, 0.0)

    def __enter__(self) -> Self:
        self._before = cpu_seconds(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        total = cpu_seconds(self._pid) - self._before
        self._stop.set()
        self._thread.join()
        ffmpeg = sum(last - first for first, last in self._ffmpegs.values())
        self.spent = Spent(total, ffmpeg)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            for pid in _children(self._pid):
                with contextlib.suppress(OSError, IndexError):  # it ended meanwhile
                    name, fields = _stat(pid)
                    if name.startswith("ffmpeg"):  # before that it is the launcher, which is ours
                        seconds = (int(fields[11]) + int(fields[12])) / TICKS
                        first, _ = self._ffmpegs.get(pid, (seconds, seconds))
                        self._ffmpegs[pid] = first, seconds


def cpu_seconds(pid: int) -> float:
    """Return what a process and its children that have ended spent."""
    _, fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / TICKS


def wake_ups(pid: int) -> int:
    """Return how often the threads of a process that still live began to run after waiting for something."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            lines = task.joinpath("status").read_text().splitlines()
            count += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return count


def looked_at(pid: int, *, seconds: float) -> int:
    """Return how many pages of its memory a process looks at within a time."""
    place = Path(f"/proc/{pid}")
    (place / "clear_refs").write_text("1")
    time.sleep(seconds)
    held = [
        line.split() for line in (place / "smaps").read_text().splitlines() if line.startswith("Referenced:")
    ]
    return sum(int(kilobytes) for _, kilobytes, _ in held) * 1024 // os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> tuple[str, list[str]]:
    head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return head.partition("(")[2], rest.split()


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                yield from map(int, (task / "children").read_text().split())
