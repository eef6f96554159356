"""How many blocks are worth fetching side by side over the line that there is."""

import threading
import time
from collections.abc import Callable

MOST_AHEAD = 4  # blocks fetched ahead of a reader: five connections fill most lines
ALONE = 1.1  # connections, in the mean: no more than one


class Line:
    """Learns what connections side by side are worth, from how long each of them takes.

    Over a long way that takes its time, each connection adds to the speed. One alone fills a slow line: there,
    several only keep each other back, and the block that a reader waits for comes as late as those behind it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._changed_at = 0.0
        self._area = 0.0  # of `_running` over time, in seconds
        # Seconds that a block took with the line for itself, by its size: a small one is not as quick as it is small.
        self._alone: dict[int, float] = {}
        self._worth = float(MOST_AHEAD)  # the speed of those side by side, as a multiple of one alone

    @property
    def ahead(self) -> int:
        """How many blocks to fetch ahead of a reader, 1 to `MOST_AHEAD`."""
        return min(max(round(self._worth), 1), MOST_AHEAD)

    def fetch(self, read: Callable[[], bytes], *, is_full: bool) -> bytes:
        """Return what `read` reads, and learn from it when the block `is_full`, as most are."""
        began, before = self._count(1)
        try:
            data = read()
        finally:
            ended, after = self._count(-1)
        seconds = max(ended - began, 1e-3)
        if is_full:
            self.learn(seconds, beside=(after - before) / seconds, size_bytes=len(data))
        return data

    def learn(self, seconds: float, *, beside: float, size_bytes: int) -> None:
        """Take into account that a block took `seconds`, with so many on their way, itself among them."""
        with self._lock:
            if beside < ALONE:
                self._alone[size_bytes] = seconds
            elif (alone := self._alone.get(size_bytes)) is not None:
                self._worth = (self._worth + beside * alone / seconds) / 2

    def _count(self, change: int) -> tuple[float, float]:
        with self._lock:
            now = time.monotonic()
            self._area += self._running * (now - self._changed_at)
            self._changed_at = now
            self._running += change
            return now, self._area
