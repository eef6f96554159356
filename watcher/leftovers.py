"""What is left on this machine and in the table by work that goes on no longer, and the room that it takes.

Knows nothing of what the daemon works on at present: it is told.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime

from watcher import ledger, log, scratch, stats
from watcher.errors import CODES, Outage
from watcher.workshop import Workshop

# With less than this left on the scratch disk no step is begun: one needs some hundred megabytes, for blocks of its
# source and what it makes, and what fills the disk stops everything that runs.
LEAST_DISK_BYTES = 256 * 1024**2
# With less than this left on the scratch disk, what is kept for videos that nobody works on is dropped: it can be
# fetched again, and a thousand films that wait for their turn must not keep the first one from being made.
LOW_DISK_BYTES = 1024**3

_log = log.get()


def bury_the_dead(shop: Workshop, *, clock: Callable[[], datetime]) -> None:
    """Release at once what daemons that died on this machine were working on."""
    with shop.scratch.dead_workers() as workers:
        for worker in workers:
            released = ledger.release_worker(
                shop.db,
                worker,
                now=clock(),
                max_attempts=shop.max_attempts,
                hint=CODES["worker_lost"].hint,
            )
            _report(released)
            ledger.resume(shop.db, worker=worker)


def rescue(shop: Workshop, *, now: datetime) -> None:
    """Take steps whose lease ran out from their workers."""
    hint = CODES["worker_lost"].hint
    _report(ledger.rescue(shop.db, now=now, max_attempts=shop.max_attempts, hint=hint))


def forget_idle(shop: Workshop, busy: AbstractSet[int]) -> None:
    """Drop what is kept on disk for videos that are over; where room is scarce, for all but the `busy` ones."""
    idle = [video_id for video_id in shop.scratch.video_ids() if video_id not in busy]
    if not idle:
        return
    is_low = scratch.free_bytes(shop.scratch.root) < LOW_DISK_BYTES
    for video_id in idle if is_low else stats.finished(shop.readings, idle):
        shop.forget_video(video_id)


def lacks_room(shop: Workshop) -> Outage | None:
    """Return the outage that it is to begin a step now, None where there is room for one."""
    root = shop.scratch.root
    if (free := scratch.free_bytes(root)) >= LEAST_DISK_BYTES:
        return None
    return Outage("disk_full", f"no step is begun with only {free / 1e6:.0f} MB left for {root}")


def _report(released: list[ledger.Released]) -> None:
    for step in released:
        _log.warning("rescued", video=step.video_id, step=step.step, is_failed=step.is_failed)
