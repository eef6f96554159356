"""Notices when the wall clock is set, by hand or by NTP: what was planned by it has to be planned anew.

APScheduler 3 waits for a time of the wall clock: after it was set back an hour, no tick would come for an hour.
"""

import time
from datetime import UTC, datetime, timedelta

# Slewing and slow threads move the two clocks apart by less; a tick that comes so late harms nothing.
TOLERANCE = timedelta(seconds=2)


class WallClock:
    """Compares the wall clock with the monotonic one."""

    def __init__(self, at: datetime) -> None:
        self._began = self._offset(at)

    def stepped(self, at: datetime) -> timedelta | None:
        """Return by how much the wall clock was set since the last call, negative for back; None if it was not."""
        offset = self._offset(at)
        step = offset - self._began
        if abs(step) <= TOLERANCE:
            return None
        self._began = offset
        return step

    @staticmethod
    def _offset(at: datetime) -> timedelta:
        return at - datetime.fromtimestamp(0, UTC) - timedelta(seconds=time.monotonic())
