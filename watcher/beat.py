"""The heartbeat of one running step, shared by the thread that works and the one that renews its lease.

Knows nothing of tables or leases: it holds when the work last advanced, how far it is, and whether to stop.
"""

import threading
import time


class _State:
    def __init__(self) -> None:
        self.fraction = 0.0
        self.advanced_at = time.monotonic()
        self.stop: Exception | None = None
        self.changed = threading.Condition()


class Beat:
    """Whoever moves the work forward calls `advance`; whoever waits calls `check` or `wait`."""

    def __init__(self) -> None:
        self._state = _State()
        self._range = (0.0, 1.0)  # what this beat's 0..1 is of the whole step
        self._window = (0.0, 1.0)

    def part(self, start: float, end: float) -> "Beat":
        """Return a beat of the same step whose own 0..1 counts as `start` to `end` of this one's."""
        low, high = self._range
        part = Beat()
        part._state = self._state
        part._range = (low + (high - low) * start, low + (high - low) * end)
        return part

    def window(self, start: float, end: float) -> None:
        """Make the fractions that are reported to this beat from now on count as `start` to `end` of it."""
        self._window = (start, end)

    @property
    def fraction(self) -> float:
        """How far the whole step is, 0..1."""
        return self._state.fraction

    @property
    def advanced_at(self) -> float:
        """When work last moved, in seconds on the monotonic clock."""
        return self._state.advanced_at

    def advance(self, fraction: float | None = None) -> None:
        """Record that work moved, and with `fraction` (0..1) how far it is; raise as `check` does."""
        self.check()
        if fraction is not None:
            for start, end in (self._window, self._range):
                fraction = start + (end - start) * min(max(fraction, 0.0), 1.0)
            self._state.fraction = max(self._state.fraction, fraction)
        self._state.advanced_at = time.monotonic()

    def check(self) -> None:
        """Raise what `stop` was given, if anything."""
        if self._state.stop is not None:
            raise self._state.stop

    def stop(self, why: Exception) -> None:
        """Make the working thread drop its work at its next `advance`, `check` or `wait`, by raising `why`.

        Stopped where the step was lost or the daemon ends; a Failure where it stalled; whatever keeps the
        source's bytes away. The first reason stays.
        """
        with self._state.changed:
            if self._state.stop is None:
                self._state.stop = why
            self._state.changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until `stop` is called; raise as `check` does."""
        with self._state.changed:
            if self._state.stop is None:
                self._state.changed.wait(seconds)
        self.check()
