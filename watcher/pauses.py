"""What a daemon does not do at present, and why: held back by the gate, told in the table and in the log.

Knows nothing of what steps and polls do: the daemon tells how they ended.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.engine import Engine

from watcher import gate, ledger, log, retry
from watcher.errors import CODES, Misconfigured, Outage

_log = log.get()


def through(job: Callable[[], object]) -> None:
    """Run one tick; what an outage kept it from doing, the next one does."""
    try:
        job()
    except Outage as outage:
        _log.warning("tick_failed", job=job.__name__, code=outage.code, error=outage.detail, hint=outage.hint)
    except Misconfigured as problem:  # after the start: only a bucket that was deleted since
        hint = CODES["b2_bucket_gone"].hint
        _log.error("tick_failed", job=job.__name__, code="b2_bucket_gone", error=str(problem), hint=hint)


class Pauses:
    """One for a daemon."""

    def __init__(self, db: Engine, *, worker: str, clock: Callable[[], datetime]) -> None:
        self._db, self._worker, self._clock = db, worker, clock
        self._gate = gate.Gate(spread=worker)
        self._told: set[ledger.What] = set()
        self._looking = threading.Lock()
        self._lacks_room = False
        self._look_at = 0.0  # when the disk is looked at again, on the monotonic clock

    def wait_seconds(self) -> float:
        """Return how long no step may be begun, 0 when one may."""
        return max(self._gate.wait_seconds(), self._look_at - time.monotonic() if self._lacks_room else 0.0)

    def note_room(self, outage: Outage | None) -> None:
        """Take note of whether there is room on the disk for a step: while there is none, none is begun."""
        if outage is None and not self._lacks_room:
            return
        with self._looking:  # of the seats that found it so at once one is enough
            if outage is None and self._lacks_room:
                self._lacks_room = False
                _log.info("work_resumed", after="disk_full")
                self._forget("work")
            elif outage is not None and time.monotonic() >= self._look_at:
                if not self._lacks_room:
                    _log.warning("work_paused", code=outage.code, error=outage.detail, hint=outage.hint)
                self._look_at = time.monotonic() + retry.FIRST.total_seconds()
                self._lacks_room = True
                self._tell("work", outage, retry.FIRST)

    def note_attempt(self, video_id: int, outage: Outage | None) -> None:
        """Take note of how an attempt at a step ended: two videos in a row that met an outage pause the work."""
        if outage is None:
            if self._gate.note_end():
                _log.info("work_resumed")
                self._forget("work")
        elif (pause := self._gate.note_outage(outage, video_id)) is not None:
            _log.warning(
                "work_paused", code=outage.code, error=outage.detail, hint=outage.hint, again_in=str(pause)
            )
            self._tell("work", outage, pause)

    def note_poll(self, outage: Outage | None, pause: timedelta = timedelta()) -> None:
        """Take note of how a poll ended, and how long there will be no other."""
        if outage is not None:
            _log.warning(
                "poll_failed", code=outage.code, error=outage.detail, hint=outage.hint, again_in=str(pause)
            )
            self._tell("listing", outage, pause)
        elif "listing" in self._told:
            self._forget("listing")

    def leave(self) -> None:
        """Take it all back: the daemon ends."""
        for what in list(self._told):
            self._forget(what)

    def _tell(self, what: ledger.What, outage: Outage, pause: timedelta) -> None:
        at = self._clock()
        with contextlib.suppress(Outage):  # of the database: nobody can read it then, and the log has it
            ledger.pause(
                self._db,
                worker=self._worker,
                what=what,
                code=outage.code,
                detail=outage.detail,
                until=at + pause,
                now=at,
            )
            self._told.add(what)

    def _forget(self, what: ledger.What) -> None:
        with contextlib.suppress(Outage):  # a reader ignores what is past its time
            ledger.resume(self._db, worker=self._worker, what=what)
            self._told.discard(what)
