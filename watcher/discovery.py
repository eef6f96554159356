"""The page step: list one page from the saved cursor and record what is new, in one transaction.

Independent of order, names and times: identity is the file id. Our own outputs are never candidates.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Engine

from watcher import bucket, crashpoint, ledger, log, names, stats
from watcher.models import SOURCE_DELETED, SOURCE_HIDDEN

# Unfinished videos whose absence is noticed, those first that are worked on first: so that a backlog of a million
# takes no more memory than one of fifty thousand.
TRACKED = 50_000
# A listing without a name proves nothing: B2 does not say whether an upload that goes on hides it. Two in a row
# are worth a call to ask.
SWEEPS_WITHOUT = 2
ASKED_AT_ONCE = 100  # names asked after in one sweep: a bucket that was emptied costs no storm of calls

# B2 bills a list call for every 1,000 names that it returns: a smaller page would cost as much.
PAGE_ENTRIES = 1000

_log = log.get()


@dataclass(frozen=True, slots=True)
class Watched:
    """What is listed: a prefix of a bucket, less the prefix of our outputs if they lie in the same bucket."""

    account: bucket.Account
    bucket: bucket.Bucket
    prefix: str
    output_prefix: str | None  # None: outputs go to another bucket


@dataclass(frozen=True, slots=True)
class PageSeen:
    """What one page brought."""

    new: int
    objects: int
    is_last: bool
    file_ids: frozenset[str]


class Absences:
    """How many sweeps in a row did not list a source that we have still to work on. For a process that polls.

    Kept in memory: a restart only delays what follows from it.
    """

    def __init__(self) -> None:
        self._missed: dict[int, int] = {}  # by video

    def note(self, absent: Iterable[int]) -> list[int]:
        """Note the videos that one whole sweep did not list; return those that are to be asked after."""
        self._missed = {video_id: self._missed.get(video_id, 0) + 1 for video_id in absent}
        return [video_id for video_id, missed in self._missed.items() if missed >= SWEEPS_WITHOUT]

    def forget(self, video_id: int) -> None:
        """Begin to count anew."""
        self._missed.pop(video_id, None)


def sweep(
    db: Engine,
    readings: Engine,
    watched: Watched,
    *,
    clock: Callable[[], datetime],
    go_on: Callable[[], bool],
    absences: Absences | None = None,
) -> int:
    """List everything once, or until `go_on` says no; return how many videos are new.

    With `absences`, work on sources that were deleted or hidden ends here.

    What another process began is taken up where it stopped, and then followed by a sweep from the start: names
    that were listed before it stopped may have new versions.
    """
    new = 0
    is_from_start = _cursor(readings, watched) is None
    awaited = _awaited(readings, watched) if absences is not None else {}
    while go_on():
        seen = page(db, readings, watched, clock=clock)
        new += seen.new
        if is_from_start:
            for file_id in seen.file_ids & awaited.keys():
                del awaited[file_id]
        if seen.is_last and is_from_start:
            if absences is not None:
                _end_what_is_gone(db, watched, absences, awaited, clock, go_on)
            break
        is_from_start |= seen.is_last
    return new


def page(db: Engine, readings: Engine, watched: Watched, *, clock: Callable[[], datetime]) -> PageSeen:
    """List and record one page. Raises Outage when B2 does not answer; then nothing was recorded."""
    as_of = stats.last_event(readings)
    listed = watched.bucket.list_page(
        prefix=watched.prefix, cursor=_cursor(readings, watched), count=PAGE_ENTRIES
    )
    crashpoint.here("list")
    candidates = [
        ledger.Found(
            file_id=entry.file_id,
            name=entry.name,
            size_bytes=entry.size_bytes,
            content_type=entry.content_type,
            content_sha1=entry.content_sha1,
            uploaded_at=entry.uploaded_at,
        )
        for entry in listed.entries
        if not names.is_ours(entry.name, entry.info, output_prefix=watched.output_prefix)
    ]
    recorded = ledger.record_page(
        db,
        bucket_id=watched.bucket.id,
        bucket=watched.bucket.name,
        prefix=watched.prefix,
        found=candidates,
        unread=[(entry.file_id, entry.name, entry.raw, entry.why) for entry in listed.unread],
        cursor=listed.cursor,
        seen=listed.listed,
        transactions=watched.account.take_transactions(),
        as_of=as_of,
        now=clock(),  # not before: an answer may take minutes, in which the clock may be set back
    )
    if recorded.new or recorded.superseded:
        _log.info("discovered", new=recorded.new, superseded=recorded.superseded)
    if recorded.quarantined:
        _log.warning(
            "quarantined",
            entries=recorded.quarantined,
            hint="`watcher doctor` shows them: B2 listed them in a form that cannot be read",
        )
    file_ids = {entry.file_id for entry in listed.entries}
    file_ids |= {entry.file_id for entry in listed.unread if entry.file_id is not None}
    return PageSeen(recorded.new, len(listed.entries), listed.cursor is None, frozenset(file_ids))


def _awaited(readings: Engine, watched: Watched) -> dict[str, tuple[int, str]]:
    """Return by file id the id and the name of the videos whose sources a sweep should list."""
    rows = stats.unfinished_sources(
        readings, bucket_id=watched.bucket.id, prefix=watched.prefix, limit=TRACKED
    )
    return {row.file_id: (row.id, row.name) for row in rows}


def _end_what_is_gone(
    db: Engine,
    watched: Watched,
    absences: Absences,
    absent: Mapping[str, tuple[int, str]],
    clock: Callable[[], datetime],
    go_on: Callable[[], bool],
) -> None:
    by_id = {video_id: (file_id, name) for file_id, (video_id, name) in absent.items()}
    for video_id in absences.note(by_id)[:ASKED_AT_ONCE]:
        if not go_on():
            return
        file_id, name = by_id[video_id]
        fate = watched.bucket.fate(name, file_id)
        absences.forget(video_id)
        if fate == "there":
            continue
        reason = SOURCE_DELETED if fate == "deleted" else SOURCE_HIDDEN
        if ledger.cancel_absent(db, video_id, reason=reason, now=clock()):
            _log.info("cancelled", video=video_id, name=name, reason=reason)


def _cursor(readings: Engine, watched: Watched) -> str | None:
    scan = stats.scan(readings, bucket_id=watched.bucket.id, prefix=watched.prefix)
    return scan.cursor if scan is not None else None
