"""What daemons do not do at present, and why."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Engine, Row

from watcher.models import Pause

# A daemon that tries again says so within this time, or is gone: no call to B2 takes longer, tries and all.
GONE_AFTER = timedelta(minutes=10)


def pauses(db: Engine, *, now: datetime) -> Sequence[Row[Any]]:
    """Return the pauses of the daemons that live, the oldest first."""
    with db.begin() as connection:
        return connection.execute(
            select(Pause).where(Pause.until > now - GONE_AFTER).order_by(Pause.since)
        ).all()
