"""Holds the seats back while the world is at fault: an outage costs a few calls, not a few for every step.

Knows nothing of steps or tables: it is told how attempts ended, and says how long to wait before the next.
"""

import threading
import time
from datetime import timedelta

from watcher import retry
from watcher.errors import Outage


class Gate:
    """One for all seats of a daemon. It closes when two videos in a row met an outage: one may be to blame itself."""

    def __init__(self, *, spread: str) -> None:
        self._spread = spread
        self._lock = threading.Lock()
        self._closings = 0  # in a row
        self._opens_at = 0.0  # on the monotonic clock
        self._last: int | None = None  # the video that met the last outage, if no attempt ended well since

    @property
    def is_closed(self) -> bool:
        """Whether no step may be begun."""
        return self.wait_seconds() > 0

    def wait_seconds(self) -> float:
        """Return how long no step may be begun, 0 when one may."""
        return max(self._opens_at - time.monotonic(), 0.0)

    def note_outage(self, outage: Outage, video_id: int) -> timedelta | None:
        """Note an attempt that was handed back; return the pause when it closes the gate, else None."""
        with self._lock:
            before, self._last = self._last, video_id
            # Attempts that were under way when it closed end one by one: they are the same outage.
            if before in (None, video_id) or self.is_closed:
                return None
            self._closings += 1
            pause = max(retry.delay(self._closings, spread=self._spread), outage.retry_after or timedelta())
            self._opens_at = time.monotonic() + pause.total_seconds()
            return pause

    def note_end(self) -> bool:
        """Note an attempt that met no outage: open the gate; return whether it had been closed."""
        with self._lock:
            was_closed = self._closings > 0
            self._last, self._closings, self._opens_at = None, 0, 0.0
            return was_closed
