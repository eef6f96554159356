"""The page step: list one page from the saved cursor and record what is new, in one transaction.

Independent of order, names and times: identity is the file id. Our own outputs are never candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.engine import Engine

from watcher import bucket, ledger, log, names, stats

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


def sweep(
    db: Engine,
    readings: Engine,
    watched: Watched,
    *,
    clock: Callable[[], datetime],
    go_on: Callable[[], bool],
) -> int:
    """List everything once, or until `go_on` says no; return how many videos are new.

    What another process began is taken up where it stopped, and then followed by a sweep from the start: names
    that were listed before it stopped may have new versions.
    """
    new = 0
    is_from_start = _cursor(readings, watched) is None
    while go_on():
        seen = page(db, readings, watched, now=clock())
        new += seen.new
        if seen.is_last and is_from_start:
            break
        is_from_start |= seen.is_last
    return new


def page(db: Engine, readings: Engine, watched: Watched, *, now: datetime) -> PageSeen:
    """List and record one page. Raises Outage when B2 does not answer; then nothing was recorded."""
    listed = watched.bucket.list_page(
        prefix=watched.prefix, cursor=_cursor(readings, watched), count=PAGE_ENTRIES
    )
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
        now=now,
    )
    if recorded.new or recorded.superseded:
        _log.info("discovered", new=recorded.new, superseded=recorded.superseded)
    if recorded.quarantined:
        _log.warning(
            "quarantined",
            entries=recorded.quarantined,
            hint="`watcher doctor` shows them: B2 listed them in a form that cannot be read",
        )
    return PageSeen(recorded.new, len(listed.entries), listed.cursor is None)


def _cursor(readings: Engine, watched: Watched) -> str | None:
    scan = stats.scan(readings, bucket_id=watched.bucket.id, prefix=watched.prefix)
    return scan.cursor if scan is not None else None
