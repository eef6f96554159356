"""One claimed step, from claim to done: read, make, verify, publish, record. The only broad except."""

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from watcher import crashpoint, ledger, log, names, publish, retry, stats
from watcher.beat import Beat
from watcher.errors import CODES, Failure, Misconfigured, Outage, Skip, SourceGone, Stopped
from watcher.models import StepKind
from watcher.steps import film, finishing, making
from watcher.steps.attempt import Attempt, Clock, Seat
from watcher.workshop import Workshop

# Objects deleted in one go: a tick of the daemon stays short.
CLEAR_AT_ONCE = 100

__all__ = ["Seat", "clear_away", "perform"]

# Full, over quota, or gone read-only, which file systems do when their disk fails.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_log = log.get()


def perform(
    claim: ledger.Claim, shop: Workshop, beat: Beat, *, clock: Clock, seat: Seat | None = None
) -> Outage | None:
    """Run one attempt at a step and record how it ended, whatever happens; return the outage that it met, if any."""
    met: Outage | None = None
    with log.bound(video=claim.video_id, step=claim.label):
        try:
            with shop.scratch.attempt(claim.video_id, claim.token) as folder:
                announce = functools.partial(_announce, claim, shop, clock)
                attempt = Attempt(claim, shop, beat, folder, clock, announce, seat or Seat())
                won = _RUN[StepKind(claim.kind)](attempt)
        except Stopped:
            won = ledger.hand_back(
                shop.db,
                claim,
                code="shutdown",
                detail="the daemon is stopping",
                run_after=clock(),
                now=clock(),
            )
        except SourceGone:
            won = ledger.cancel_gone(shop.db, claim, now=clock())
            if won:
                _log.info("cancelled", name=claim.name, reason="source_deleted")
        except Skip as skip:
            won = ledger.skip(shop.db, claim, reason=skip.reason, detail=skip.detail, now=clock())
            if won:
                _log.info("skipped", name=claim.name, reason=skip.reason, detail=skip.detail)
        except Outage as outage:
            met = outage
            won = _hand_back(claim, shop, outage, clock())
        except Failure as failure:
            won = _fail(claim, shop, failure, clock())
        except Misconfigured as problem:  # after the start: only a bucket that was deleted since
            met = Outage("b2_bucket_gone", str(problem))
            won = _hand_back(claim, shop, met, clock())
        except Exception as error:  # noqa: BLE001 - the one place: a bug must end the step, not the daemon
            met = _full_disk(error)
            won = _hand_back(claim, shop, met, clock()) if met else _unexpected(claim, shop, error, clock())
        if claim.token in shop.target.untidy:
            # Of an upload whose answer was lost there may be another: to be found once this one is recorded.
            ledger.note_stray(shop.db, claim.bucket_id, claim.file_id, token=claim.token, now=clock())
            shop.target.untidy.discard(claim.token)
        if not won:
            ledger.note_lost(shop.db, claim, now=clock())
            _log.info("step_lost", name=claim.name, hint="another worker took it over, or the video is over")
    return met


def _announce(working: ledger.Claim, shop: Workshop, clock: Clock) -> None:
    """Run the announce step of a video whose step `working` goes on, if it is due and nobody runs it."""
    claim = ledger.claim(
        shop.db,
        worker=shop.scratch.worker,
        now=clock(),
        lease=shop.lease,
        only=(working.video_id, StepKind.ANNOUNCE),
    )
    if claim is not None:
        perform(claim, shop, Beat(), clock=clock)


def clear_away(shop: Workshop, *, now: datetime, go_on: Callable[[], bool]) -> int:
    """Delete in B2 what nobody may read any more: obsolete outputs, and what ended attempts left behind.

    Returns how many of these are done with. What B2 refuses to delete (the key may not, or the object is
    locked) stays for another time and keeps nothing else; an Outage ends the round.
    """
    done = 0
    refusals: list[Outage | Failure] = []
    for row in stats.obsolete_outputs(shop.readings, bucket=shop.target.name, limit=CLEAR_AT_ONCE):
        if not go_on():
            return done
        with _refusals_kept(refusals):
            shop.target.delete(row.file_id, row.name)
            crashpoint.here("clean-up.output")
            ledger.forget_output(shop.db, row.id, file_id=row.file_id)
            done += 1
    for note in stats.debris(shop.readings, now=now, limit=CLEAR_AT_ONCE):
        if not go_on():
            return done
        with _refusals_kept(refusals):
            cleared = publish.clear_debris(
                shop.target,
                names.folder(shop.output_prefix, note.name),
                token=note.token,
                recorded=stats.recorded_file_ids(shop.readings, note.video_id),
            )
            crashpoint.here("clean-up.debris")
            ledger.forget_debris(shop.db, note.token, since=note.since)
            done += 1
            if cleared:
                _log.info("cleared_away", video=note.video_id, objects=cleared)
    if refusals:
        first = refusals[0]
        _log.warning(
            "not_cleared_away", refused=len(refusals), code=first.code, error=first.detail, hint=first.hint
        )
    return done


@contextlib.contextmanager
def _refusals_kept(refusals: list[Outage | Failure]) -> Iterator[None]:
    try:
        yield
    except Failure as failure:
        refusals.append(failure)
    except Outage as outage:
        if outage.code != "b2_unauthorized":
            raise
        refusals.append(outage)


def _hand_back(claim: ledger.Claim, shop: Workshop, outage: Outage, now: datetime) -> bool:
    if claim.kind == StepKind.STITCH and outage.code == "disk_full":
        return _do_without(claim, shop, outage, now)
    wait = max(retry.delay(claim.outages + 1, spread=claim.token), outage.retry_after or timedelta())
    won = ledger.hand_back(
        shop.db, claim, code=outage.code, detail=outage.detail, run_after=now + wait, now=now
    )
    if won:
        _log.warning("handed_back", code=outage.code, error=outage.detail, hint=outage.hint, again_in=wait)
    return won


def _full_disk(error: Exception) -> Outage | None:
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Outage("disk_full", str(error))
    return None


def _unexpected(claim: ledger.Claim, shop: Workshop, error: Exception, now: datetime) -> bool:
    _log.exception("bug", name=claim.name)
    return _fail(claim, shop, Failure("bug", f"{type(error).__name__}: {error}"), now)


def _do_without(claim: ledger.Claim, shop: Workshop, why: Outage | Failure, now: datetime) -> bool:
    """Complete a step that nothing depends on with nothing; what it uploaded is looked for."""
    won = ledger.finish(shop.db, claim, outputs=[], now=now)
    shop.target.untidy.add(claim.token)
    _log.warning("done_without", name=claim.name, code=why.code, error=why.detail)
    return won


def _fail(claim: ledger.Claim, shop: Workshop, failure: Failure, now: datetime) -> bool:
    if claim.kind == StepKind.STITCH:
        return _do_without(claim, shop, failure, now)
    is_final = failure.permanent or claim.attempt >= shop.max_attempts
    wait = retry.delay(claim.attempt, spread=claim.token)
    won = ledger.fail(
        shop.db,
        claim,
        code=failure.code,
        detail=failure.detail,
        hint=CODES[failure.code].hint,
        retry_at=None if is_final else now + wait,
        now=now,
    )
    if won:
        say = _log.error if is_final else _log.warning
        say(
            "failed" if is_final else "will_retry",
            name=claim.name,
            error_code=failure.code,
            error=failure.detail,
            attempt=claim.attempt,
            hint=failure.hint if is_final else None,
            again_in=None if is_final else wait,
        )
    return won


_RUN: dict[StepKind, Callable[[Attempt], bool]] = {
    StepKind.INSPECT: making.inspect_source,
    StepKind.COPY: making.copy_video,
    StepKind.VIDEO: making.encode_chunk,
    StepKind.AUDIO: making.make_audio,
    StepKind.STILLS: making.make_stills,
    StepKind.STORYBOARD: making.make_storyboard,
    StepKind.ANNOUNCE: finishing.announce,
    StepKind.STITCH: film.stitch,
    StepKind.PACKAGE: finishing.package,
}
