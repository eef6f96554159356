"""What pages show of rows: renditions, stories and plots as plain values. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from watcher import display
from watcher.errors import CODES
from watcher.models import TROUBLE, OutputKind

GAP = 0.28  # of a column's width, between two bars

# Backblaze's classic tariff; accounts with another one pay less. Class A is free.
FREE_CALLS = 2_500  # a day, of each class
PRICES = {"B": (0.004, 10_000), "C": (0.004, 1_000)}  # dollars for so many calls


@dataclass(frozen=True, slots=True)
class Rendition:
    """One rung, or the sound: what there is of it so far."""

    label: str
    picture: str
    parts: int
    size_bytes: int
    seconds: float

    @property
    def bit_rate(self) -> int | None:
        """Bits per second, None while nothing is there."""
        return round(8 * self.size_bytes / self.seconds) if self.seconds else None


@dataclass(frozen=True, slots=True)
class Told:
    """One event in words."""

    at: datetime
    step: str
    what: str
    detail: str
    is_trouble: bool


def renditions(outputs: Sequence[Any]) -> list[Rendition]:
    """Return what was made so far, from the largest picture to the sound."""
    groups: dict[int | None, list[Any]] = {}
    for output in outputs:
        if output.kind == OutputKind.VIDEO_PART:
            groups.setdefault(output.rung, []).append(output)
        elif output.kind == OutputKind.AUDIO_PART:
            groups.setdefault(None, []).append(output)
    return [
        Rendition(
            label="Sound" if rung is None else f"{rung}p",
            picture=f"{group[0].width} \u00d7 {group[0].height}" if rung and group[0].width else "",
            parts=len(group),
            size_bytes=sum(part.size_bytes for part in group),
            seconds=sum(part.duration_seconds or 0.0 for part in group),
        )
        for rung, group in sorted(groups.items(), key=lambda item: -(item[0] or 0))
    ]


def story(events: Sequence[Any]) -> list[Told]:
    """Return a video's story, oldest first; what every chunk has to tell when all goes well is left out."""
    return [_in_words(event) for event in display.told_events(events)]


def _in_words(event: Any) -> Told:
    detail = dict(event.detail or {})
    outputs = detail.pop("outputs", None) or []  # their long names are no reading for people
    made = f"{len(outputs)} {'object' if len(outputs) == 1 else 'objects'}" if outputs else ""
    return Told(
        at=event.at,
        step=(event.step or "").replace(":", " "),
        what=event.what.replace("_", " "),
        detail=": ".join(words for words in (display.told(detail), made) if words),
        is_trouble=event.what in TROUBLE,
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """One event of any video that was no success."""

    video_id: int
    name: str
    told: Told


def troubles(rows: Sequence[Any]) -> list[Trouble]:
    """Return events of several videos in words."""
    return [Trouble(row.video_id, row.name, _in_words(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class Paused:
    """What a daemon does not do at present, and why."""

    what: str
    code: str
    detail: str
    hint: str
    since: datetime


def pauses(rows: Sequence[Any]) -> list[Paused]:
    """Return the pauses of daemons in words."""
    words = {"listing": "The bucket cannot be listed", "work": "Work is paused"}
    return [
        Paused(
            what=words.get(row.what, row.what),
            code=row.code,
            detail=row.detail,
            hint=CODES[row.code].hint if row.code in CODES else "",
            since=row.since,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a plot, in a box of 1 by 1; stacked bars have the lower ones' height below them."""

    left: float
    width: float
    bottom: float
    height: float
    kind: str
    title: str


def bars(columns: Sequence[tuple[str, Sequence[tuple[str, int]]]]) -> list[Bar]:
    """Return the bars of a plot; a column has a label and, from the bottom up, the (kind, count) it is made of."""
    tallest = max((sum(count for _, count in stack) for _, stack in columns), default=0)
    found = []
    for place, (label, stack) in enumerate(columns):
        reached = 0
        title = f"{label}: " + ", ".join(f"{count:,} {kind}".strip() for kind, count in stack)
        for kind, count in stack:
            if count:
                found.append(
                    Bar(
                        left=(place + GAP / 2) / len(columns),
                        width=(1 - GAP) / len(columns),
                        bottom=reached / tallest,
                        height=count / tallest,
                        kind=kind,
                        title=title,
                    )
                )
            reached += count
    return found


def price(calls: Mapping[str, int]) -> float:
    """Return what a day's B2 calls by class cost at most, in US dollars."""
    return sum(
        max(0, calls.get(kind, 0) - FREE_CALLS) / of_calls * dollars
        for kind, (dollars, of_calls) in PRICES.items()
    )
