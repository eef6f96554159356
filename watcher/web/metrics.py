"""What monitoring asks: whether this process lives, whether it can answer, and figures for Prometheus.

The figures are read from the table when they are asked for, so they are those of all daemons, and go on after a
restart. `grafana.json` beside this file shows them.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated

import fastapi
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.engine import Engine
from typing_extensions import override

from watcher import database, stats
from watcher.errors import Outage
from watcher.models import VideoStatus
from watcher.web import state

LATELY = timedelta(hours=1)

router = fastapi.APIRouter(include_in_schema=False, default_response_class=PlainTextResponse)


@router.get("/healthz")
def is_alive() -> str:
    """Say that the process answers."""
    return "alive\n"


@router.get("/readyz")
def is_ready(db: Annotated[Engine, fastapi.Depends(state.readings)]) -> PlainTextResponse:
    """Say whether the table can be read, and is the one that this version knows."""
    try:
        is_current = database.is_current(db)
    except Outage:
        return PlainTextResponse("the database does not answer\n", 503)
    if not is_current:
        return PlainTextResponse("the database has the schema of another Watcher: restart\n", 503)
    return PlainTextResponse("ready\n")


@router.get("/metrics")
def show_metrics(
    db: Annotated[Engine, fastapi.Depends(state.readings)],
    tally: Annotated[stats.Tally, fastapi.Depends(state.tally)],
) -> fastapi.Response:
    """Return the figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(Figures(db, tally, now=datetime.now(UTC)))
    return fastapi.Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Figures(Collector):
    """The figures of one moment."""

    def __init__(self, db: Engine, tally: stats.Tally, *, now: datetime) -> None:
        self._db = db
        self._tally = tally
        self._now = now

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield each figure."""
        yield from self._videos()
        yield from self._work()
        yield from self._listings()
        yield from self._lately()

    def _videos(self) -> Iterator[Metric]:
        counts = self._tally.by_status()
        videos = GaugeMetricFamily("watcher_videos", "Videos by status.", labels=["status"])
        for status in VideoStatus:
            videos.add_metric([status], counts.get(status, 0))
        yield videos
        failed = GaugeMetricFamily("watcher_failed_videos", "Failed videos by error code.", labels=["code"])
        for code, count in self._tally.failures().items():
            failed.add_metric([code], count)
        yield failed

    def _work(self) -> Iterator[Metric]:
        queue = stats.queue(self._db, self._now)
        steps = GaugeMetricFamily("watcher_steps", "Steps that are not over, by status.", labels=["status"])
        for status, count in (
            ("blocked", queue.blocked),
            ("pending", queue.pending),
            ("running", queue.running),
        ):
            steps.add_metric([status], count)
        yield steps
        yield GaugeMetricFamily(
            "watcher_oldest_due_step_age_seconds",
            "For how long the first step that could start has been due; 0 when there is none.",
            value=self._age(queue.oldest_due_at) or 0.0,
        )
        outages = GaugeMetricFamily(
            "watcher_steps_in_outage",
            "Steps that the world keeps from going on, by error code.",
            labels=["code"],
        )
        for code, count in queue.outages.items():
            outages.add_metric([code], count)
        yield outages

        paused = GaugeMetricFamily(
            "watcher_paused_daemons",
            "Daemons that do not list, or take no steps, at present, by error code.",
            labels=["what", "code"],
        )
        paused_for = Counter((pause.what, pause.code) for pause in stats.pauses(self._db, now=self._now))
        for labels, count in paused_for.items():
            paused.add_metric(labels, count)
        yield paused

    def _listings(self) -> Iterator[Metric]:
        sweeps = CounterMetricFamily(
            "watcher_sweeps", "How often a prefix was listed to the end.", labels=["prefix"]
        )
        age = GaugeMetricFamily(
            "watcher_last_sweep_age_seconds",
            "For how long no listing has come to its end.",
            labels=["prefix"],
        )
        objects = GaugeMetricFamily(
            "watcher_objects", "Objects in the last whole listing.", labels=["prefix"]
        )
        for scan in stats.scans(self._db):
            sweeps.add_metric([scan.prefix], scan.sweep)
            if (seconds := self._age(scan.swept_at)) is not None:
                age.add_metric([scan.prefix], seconds)
            if scan.objects is not None:
                objects.add_metric([scan.prefix], scan.objects)
        yield from (sweeps, age, objects)
        yield GaugeMetricFamily(
            "watcher_unreadable_entries",
            "Entries of listings that could not be read.",
            value=stats.count_quarantined(self._db),
        )
        calls = CounterMetricFamily(
            "watcher_b2_transactions", "Calls to B2 by transaction class.", labels=["class"]
        )
        for name, count in stats.all_transactions(self._db).items():
            calls.add_metric([name], count)
        yield calls

    def _lately(self) -> Iterator[Metric]:
        lately = stats.throughput(self._db, since=self._now - LATELY, until=self._now)
        for name, what, value in (
            ("videos", "Videos completed in the last hour.", lately.videos),
            ("video_seconds", "Length of the videos completed in the last hour.", lately.video_seconds),
            (
                "source_bytes",
                "Size of the sources of the videos completed in the last hour.",
                lately.source_bytes,
            ),
            (
                "output_bytes",
                "Size of the outputs of the videos completed in the last hour.",
                lately.output_bytes,
            ),
            (
                "working_seconds",
                "What the steps of the videos completed in the last hour took: wall time, each seat by itself.",
                lately.working_seconds,
            ),
        ):
            yield GaugeMetricFamily(f"watcher_last_hour_{name}", what, value=value)

    def _age(self, then: datetime | None) -> float | None:
        """Return how long ago in seconds; None for never."""
        return None if then is None else max((self._now - then).total_seconds(), 0.0)
