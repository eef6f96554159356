"""What the operator asks about the watching itself: listings, B2 calls, unreadable entries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Engine, Row

from watcher.models import Quarantined, Scan, Transaction


def scan(db: Engine, *, bucket_id: str, prefix: str) -> Row[Any] | None:
    """Return how far the listing of a prefix is; None before the first page."""
    with db.begin() as connection:
        return connection.execute(
            select(Scan).where(Scan.bucket_id == bucket_id, Scan.prefix == prefix)
        ).first()


def last_sweep(db: Engine) -> datetime | None:
    """Return when a listing was last completed, of any prefix."""
    with db.begin() as connection:
        return connection.execute(select(func.max(Scan.swept_at))).scalar()


def transactions(db: Engine, *, day: str) -> dict[str, int]:
    """Return the B2 calls of a UTC day (YYYY-MM-DD) by class."""
    with db.begin() as connection:
        rows = connection.execute(
            select(Transaction.transaction_class, Transaction.count).where(Transaction.day == day)
        ).all()
    return {row[0]: row[1] for row in rows}


def quarantined(db: Engine) -> Sequence[Row[Any]]:
    """Return the listing entries that could not be read."""
    with db.begin() as connection:
        return connection.execute(select(Quarantined).order_by(Quarantined.seen_at)).all()
