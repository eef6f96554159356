"""What the invariants ask: everything that the table knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Engine, Row

from watcher.models import Debris, Event, Output, Quarantined, Step, StepStatus, Video


@dataclass(frozen=True, slots=True)
class Story:
    """All that the table knows of one video, as it was at one moment."""

    video: Row[Any]
    steps: Sequence[Row[Any]]
    outputs: Sequence[Row[Any]]  # obsolete ones too
    events: Sequence[Row[Any]]


def stories(db: Engine, *, newest_first: bool = False) -> Iterator[Story]:
    """Yield the story of every video; memory is bounded, whatever the number."""
    with db.begin() as connection:
        ids = list(connection.execute(select(Video.id).order_by(Video.id)).scalars())
    if newest_first:
        ids.reverse()
    for video_id in ids:
        with db.begin() as connection:
            steps_of, outputs_of, events_of = (
                connection.execute(query.order_by(id_)).all()
                for query, id_ in (
                    (select(Step).where(Step.video_id == video_id), Step.id),
                    (select(Output).where(Output.video_id == video_id), Output.id),
                    (select(Event).where(Event.video_id == video_id), Event.id),
                )
            )
            row = connection.execute(select(Video).where(Video.id == video_id)).one()
        yield Story(row, steps_of, outputs_of, events_of)


def known_file_ids(db: Engine, *, bucket_id: str) -> set[str]:
    """Return the file ids of all versions in a bucket that were discovered, or could not be read."""
    with db.begin() as connection:
        return {
            file_id
            for table in (Video, Quarantined)
            for file_id in connection.execute(
                select(table.file_id).where(table.bucket_id == bucket_id)
            ).scalars()
            if file_id is not None
        }


def open_tokens(db: Engine) -> tuple[set[str], set[str]]:
    """Return the tokens of the attempts that run, and of those whose remains are still to be cleared away."""
    with db.begin() as connection:
        running = connection.execute(select(Step.token).where(Step.status == StepStatus.RUNNING)).scalars()
        return {token for token in running if token}, set(connection.execute(select(Debris.token)).scalars())
