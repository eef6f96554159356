"""Notices when the wall clock is set, by hand or by NTP: what was planned by it has to be planned anew.

APScheduler 3 waits for a time of the wall clock: after it was set back an hour, no tick would come for an hour.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

# Slewing moves the two clocks apart by less; a tick that comes so late harms nothing.
TOLERANCE = timedelta(seconds=2)
# The two cannot be read at once. A thread that was kept waiting longer in between has measured nothing.
_AT_ONCE_SECONDS = 0.5


class WallClock:
    """Compares the wall clock with the monotonic one. Thread-safe."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock() - timedelta(seconds=time.monotonic())

    def read(self) -> tuple[datetime, timedelta | None]:
        """Return the time, and by how much the clock was set since the last call, negative for back; None if not."""
        before = time.monotonic()
        at = self._clock()
        if time.monotonic() - before > _AT_ONCE_SECONDS:
            return at, None
        origin = at - timedelta(seconds=before)
        with self._lock:
            step = origin - self._last
            if abs(step) <= TOLERANCE:
                return at, None
            self._last = origin
        return at, step
