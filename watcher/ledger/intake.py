"""What discovery writes: new videos, the listing's cursor, unreadable entries, counted B2 calls."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Engine

from watcher import crashpoint
from watcher.ledger import _events
from watcher.ledger import _steps as steps
from watcher.models import (
    SOURCE_HIDDEN,
    SUPERSEDED,
    UNFINISHED,
    Event,
    Quarantined,
    Scan,
    Transaction,
    Video,
    VideoStatus,
)

# A version that ended for one of these reasons is made again when it is listed again. A deleted one never is:
# B2 does not give a file id twice.
_MAY_RETURN = (SUPERSEDED, SOURCE_HIDDEN)
# What is told of a video when it becomes known which version its name shows.
_SHOWN_OR_GONE = ("discovered", "revived", "cancelled")


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate as listed: the current version of a name."""

    file_id: str
    name: str
    size_bytes: int
    content_type: str
    content_sha1: str | None
    uploaded_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a page changed."""

    new: int
    superseded: int
    quarantined: int


def record_page(
    db: Engine,
    *,
    bucket_id: str,
    bucket: str,
    prefix: str,
    found: Sequence[Found],
    unread: Sequence[tuple[str | None, str | None, str, str]],
    cursor: str | None,
    seen: int,
    transactions: Mapping[str, int],
    as_of: int,
    now: datetime,
) -> Recorded:
    """Record one listed page in one transaction: new videos, their predecessors' end, the cursor, the calls.

    `unread` holds (file id, name, raw text, why); `cursor` is the server's for the next page, None at the sweep's
    end; `seen` counts all objects of the page, ours included. `as_of` is the newest event (`stats.last_event`)
    from before the page was asked for: what became known since of a name is newer than what the page says of it,
    which is left to the next sweep. Safe to repeat, in any order.
    """
    with db.begin() as connection:
        # In the order of events: neither the clocks of two daemons nor the times of uploads can be compared.
        newer = _told_since(connection, as_of)
        found = [entry for entry in found if (bucket_id, entry.name) not in newer]
        found = list(
            {entry.file_id: entry for entry in found}.values()
        )  # one listed twice would fail the page
        known = _known(connection, bucket_id, [entry.file_id for entry in found])
        new = [entry for entry in found if entry.file_id not in known]
        # A version that was superseded is current again when the newer one was deleted; a hidden one, when it is
        # shown again.
        back = [known[entry.file_id] for entry in found if entry.file_id in known and known[entry.file_id][1]]
        superseded = 0
        for entry in new:
            superseded += _supersede(connection, bucket_id, entry.name, now)
            _insert(connection, bucket_id, bucket, entry, now)
        for video_id, _ in back:
            _revive(connection, video_id, now)
        quarantined = sum(_quarantine(connection, bucket_id, entry, now) for entry in unread)
        _advance(connection, bucket_id, prefix, cursor, seen, now)
        _count(connection, transactions, now)
        crashpoint.here("insert")
    return Recorded(len(new) + len(back), superseded, quarantined)


def cancel_absent(db: Engine, video_id: int, *, reason: str, now: datetime) -> bool:
    """End an unfinished video whose source is no longer in the bucket, whoever works on it; False when it was over."""
    with db.begin() as connection:
        return bool(_end(connection, now, reason, Video.id == video_id))


def count_transactions(db: Engine, transactions: Mapping[str, int], *, now: datetime) -> None:
    """Add B2 calls by class (A, B, C) to the UTC day's count; writes nothing when there are none."""
    if transactions:
        with db.begin() as connection:
            _count(connection, transactions, now)


def _told_since(connection: Connection, as_of: int) -> set[tuple[str, str]]:
    """Return bucket and name of what another page, or a look into B2, told something of since the event `as_of`."""
    # The bucket is no condition: SQLite would go through all videos of the bucket instead of these few events.
    told = connection.execute(
        select(Video.bucket_id, Video.name)
        .join(Event, Event.video_id == Video.id)
        .where(Event.id > as_of, Event.what.in_(_SHOWN_OR_GONE))
    )
    return {(row.bucket_id, row.name) for row in told}


def _known(connection: Connection, bucket_id: str, file_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """Return for each file id we have: the video's id, and whether it may come back, and did."""
    rows = connection.execute(
        select(Video.file_id, Video.id, Video.reason).where(
            Video.bucket_id == bucket_id, Video.file_id.in_(file_ids)
        )
    )
    return {row.file_id: (row.id, row.reason in _MAY_RETURN) for row in rows}


def _insert(connection: Connection, bucket_id: str, bucket: str, entry: Found, now: datetime) -> None:
    video_id = connection.execute(
        insert(Video)
        .values(
            bucket_id=bucket_id,
            bucket=bucket,
            file_id=entry.file_id,
            name=entry.name,
            size_bytes=entry.size_bytes,
            content_type=entry.content_type,
            content_sha1=entry.content_sha1,
            uploaded_at=entry.uploaded_at,
            status=VideoStatus.PENDING,
            progress=0.0,
            discovered_at=now,
            updated_at=now,
        )
        .returning(Video.id)
    ).scalar_one()
    steps.insert_inspect(connection, video_id, now)
    _events.add(connection, video_id, "discovered", now, detail={"size_bytes": entry.size_bytes})


def _supersede(connection: Connection, bucket_id: str, name: str, now: datetime) -> int:
    """Cancel the unfinished work of the versions of `name` that we have; return how many videos that ended."""
    return _end(connection, now, SUPERSEDED, Video.bucket_id == bucket_id, Video.name == name)


def _end(connection: Connection, now: datetime, reason: str, *which: Any) -> int:
    """Cancel and void the unfinished videos that meet all of `which`; return how many."""
    ended = connection.execute(
        update(Video)
        .where(*which, Video.status.in_(UNFINISHED))
        .values(status=VideoStatus.CANCELLED, reason=reason, updated_at=now)
        .returning(Video.id)
    ).scalars()
    ids = list(ended)
    for video_id in ids:
        steps.cancel(connection, video_id, now)
        steps.retire_run(connection, video_id, now)
        _events.add(connection, video_id, "cancelled", now, detail={"reason": reason})
    return len(ids)


def _revive(connection: Connection, video_id: int, now: datetime) -> None:
    """Start a video from the beginning: its name shows this version again."""
    name, bucket_id = connection.execute(
        select(Video.name, Video.bucket_id).where(Video.id == video_id)
    ).one()
    _supersede(connection, bucket_id, name, now)
    connection.execute(
        update(Video)
        .where(Video.id == video_id, Video.reason.in_(_MAY_RETURN))
        .values(status=VideoStatus.PENDING, **steps.AFRESH, updated_at=now)
    )
    steps.start_afresh(connection, video_id, now)
    _events.add(connection, video_id, "revived", now)


def _quarantine(
    connection: Connection, bucket_id: str, entry: tuple[str | None, str | None, str, str], now: datetime
) -> int:
    file_id, name, raw, why = entry
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
    key = (Quarantined.bucket_id == bucket_id, Quarantined.digest == digest)
    if connection.execute(select(Quarantined.digest).where(*key)).first():
        return 0
    connection.execute(
        insert(Quarantined).values(
            bucket_id=bucket_id, digest=digest, file_id=file_id, name=name, raw=raw, why=why, seen_at=now
        )
    )
    return 1


def _advance(
    connection: Connection, bucket_id: str, prefix: str, cursor: str | None, seen: int, now: datetime
) -> None:
    where = (Scan.bucket_id == bucket_id, Scan.prefix == prefix)
    row = connection.execute(select(Scan.sweep, Scan.seen).where(*where)).first()
    if row is None:
        connection.execute(insert(Scan).values(bucket_id=bucket_id, prefix=prefix, sweep=0, seen=0))
        row = connection.execute(select(Scan.sweep, Scan.seen).where(*where)).one()
    if cursor is not None:
        values = {"cursor": cursor, "seen": row.seen + seen}
    else:
        values = {
            "cursor": None,
            "seen": 0,
            "objects": row.seen + seen,
            "sweep": row.sweep + 1,
            "swept_at": now,
        }
    connection.execute(update(Scan).where(*where).values(**values))


def _count(connection: Connection, transactions: Mapping[str, int], now: datetime) -> None:
    day = now.astimezone(UTC).date().isoformat()
    for transaction_class, count in transactions.items():
        where = (Transaction.day == day, Transaction.transaction_class == transaction_class)
        changed = connection.execute(
            update(Transaction).where(*where).values(count=Transaction.count + count)
        )
        if changed.rowcount == 0:
            connection.execute(
                insert(Transaction).values(day=day, transaction_class=transaction_class, count=count)
            )
