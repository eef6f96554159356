"""The status table on a terminal: once, or kept up to date with what the watcher is doing."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text
from sqlalchemy.engine import Engine

from watcher import display, stats
from watcher.models import VideoStatus

REFRESH = timedelta(seconds=0.5)
LATELY = timedelta(hours=1)
BAR = 16  # cells
# What stands around the two lists on a screen: four lines of figures, two rules, the table's head.
FURNITURE = 8
FEWEST = 3  # videos, on the smallest screen


def table(
    db: Engine, *, status: VideoStatus | None, limit: int, width: int, with_bars: bool = False
) -> RenderableType:
    """Return the newest videos, and how many there are in each state."""
    now = _now()
    whole = Table.grid()
    whole.add_row(_videos(db, status=status, limit=limit, width=width, with_bars=with_bars, now=now))
    whole.add_row(display.totals(stats.counts(db), swept_at=stats.last_sweep(db), now=now))
    for pause in stats.pauses(db, now=now):
        whole.add_row(display.pause(pause, now=now))
    return whole


def keep(db: Engine, console: Console, *, status: VideoStatus | None, limit: int | None, seats: int) -> None:
    """Keep the view on the screen until interrupted."""
    tally = stats.Tally(db)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            made = view(db, tally, status=status, limit=limit, seats=seats, size=console.size, now=_now())
            live.update(made, refresh=True)
            time.sleep(REFRESH.total_seconds())


def view(
    db: Engine,
    tally: stats.Tally,
    *,
    status: VideoStatus | None,
    limit: int | None,
    seats: int,
    size: tuple[int, int],
    now: datetime,
) -> RenderableType:
    """Return queue, running steps, the last hour and as many of the newest videos as `size` (cells) has room for."""
    width, height = size
    queue, running = stats.queue(db, now), stats.running_steps(db)
    pauses = [display.pause(pause, now=now) for pause in stats.pauses(db, now=now)]
    room = max(height - FURNITURE - 2 * len(pauses), 2 * FEWEST)
    shown = running[: room - FEWEST]
    rows = max(room - max(len(shown), 1), FEWEST)
    return Group(
        _figures(
            videos=tally.by_status(),
            queue=queue,
            lately=stats.throughput(db, since=now - LATELY, until=now),
            swept_at=stats.last_sweep(db),
            now=now,
        ),
        *pauses,
        Rule(Text(f"running steps: {len(running)}; seats here: {seats}"), style="dim", align="left"),
        _running(shown, now) if shown else Text("none", style="dim"),
        Rule(Text("newest videos"), style="dim", align="left"),
        _videos(db, status=status, limit=min(limit or rows, rows), width=width, with_bars=True, now=now),
    )


def _videos(
    db: Engine, *, status: VideoStatus | None, limit: int, width: int, with_bars: bool, now: datetime
) -> RenderableType:
    rows: Sequence[Mapping[str, Any]] = stats.page(db, status=status, limit=limit).videos
    return display.videos(rows, stats.running(db), now=now, width=width, with_bars=with_bars)


def _figures(
    *,
    videos: Mapping[str, int],
    queue: stats.Queue,
    lately: stats.Throughput,
    swept_at: datetime | None,
    now: datetime,
) -> Table:
    steps = Text(f"{queue.pending} ready, {queue.blocked} blocked")
    if queue.oldest_due_at is not None and queue.oldest_due_at < now:
        steps.append(f"; the first is due for {display.ago(queue.oldest_due_at, now)}")
    for code, count in queue.outages.items():
        steps.append(f"; {count} held up: {code}", style="bold red")
    made = f"{lately.videos} videos, {display.length(lately.video_seconds)} long"
    if lately.working_seconds:
        made += f"; {lately.video_seconds / lately.working_seconds:.2g} s for each second that a seat works"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, min_width=len("last hour"))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    counts = [f"{videos[status]} {status}" for status in VideoStatus if videos.get(status)]
    grid.add_row("videos", ", ".join(counts) or "none yet")
    grid.add_row("bucket", f"last listed {display.ago(swept_at, now)} ago" if swept_at else "not listed yet")
    grid.add_row("steps", steps)
    grid.add_row("last hour", made)
    return grid


def _running(steps: Sequence[Any], now: datetime) -> Table:
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)  # the name takes what the others leave
    for justify in ("left", "left", "right", "right"):
        grid.add_column(no_wrap=True, justify="right" if justify == "right" else "left")
    for step in steps:
        doing = step.kind if step.ordinal == 0 else f"{step.kind}:{step.ordinal}"
        grid.add_row(
            str(step.video_id),
            Text(display.clean(step.name)),
            doing if step.attempts <= 1 else f"{doing} (attempt {step.attempts})",
            ProgressBar(total=1, completed=step.progress, width=BAR),
            f"{step.progress:.0%}",
            display.ago(step.started_at, now),
        )
    return grid


def _now() -> datetime:
    return datetime.now(UTC)
