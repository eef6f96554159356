"""Why a daemon does not list the bucket, or takes no steps, at present: for whoever looks at the table."""

from datetime import datetime
from typing import Literal

from sqlalchemy import delete, insert, update
from sqlalchemy.engine import Engine

from watcher.models import Pause

What = Literal["listing", "work"]


def pause(
    db: Engine, *, worker: str, what: What, code: str, detail: str, until: datetime, now: datetime
) -> None:
    """Note that a daemon waits until `until`; one that waits again keeps the time at which it began."""
    with db.begin() as connection:
        changed = connection.execute(
            update(Pause)
            .where(Pause.worker == worker, Pause.what == what)
            .values(code=code, detail=detail, until=until)
        )
        if changed.rowcount == 0:
            connection.execute(
                insert(Pause).values(
                    worker=worker, what=what, code=code, detail=detail, since=now, until=until
                )
            )


def resume(db: Engine, *, worker: str, what: What | None = None) -> None:
    """Note that a daemon goes on with `what`, or with None that it waits for nothing, as it has ended."""
    which = () if what is None else (Pause.what == what,)
    with db.begin() as connection:
        connection.execute(delete(Pause).where(Pause.worker == worker, *which))
