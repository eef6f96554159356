"""Figures for Prometheus, and the dashboard that shows them."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import crowd
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert
from sqlalchemy.engine import Engine

import watcher
from watcher import database, stats
from watcher.models import Pause, VideoStatus
from watcher.web import metrics

VIDEOS = 300
DASHBOARD = json.loads((Path(watcher.__file__).parent / "web/grafana.json").read_text(encoding="utf-8"))
NOW = crowd.FIRST + VIDEOS * crowd.EVERY


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = database.open_for_writing(f"sqlite:///{tmp_path_factory.mktemp('metrics')}/watcher.db")
    database.upgrade(engine)
    crowd.fill(engine, VIDEOS)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE steps SET outages = 1, error_code = 'b2_unavailable' WHERE id % 9 = 0"
        )
        connection.exec_driver_sql(
            "INSERT INTO transactions VALUES ('2024-01-01', 'C', 12), ('2024-01-02', 'C', 5)"
        )
        for name in ("a", "b"):
            connection.execute(
                insert(Pause).values(
                    worker=name, what="work", code="b2_cap_exceeded", detail="no", since=NOW, until=NOW
                )
            )
        connection.exec_driver_sql(
            "INSERT INTO scans VALUES ('bucket', 'uploads/', 9, NULL, '2024-01-01T00:00:00.000000Z', 0, 300)"
        )
    yield engine
    engine.dispose()


def _figures(db: Engine) -> dict[tuple[str, str], float]:
    """Return value by name and the values of its labels, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(metrics.Figures(db, stats.Tally(db), now=NOW))
    text = generate_latest(registry).decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_table(db: Engine) -> None:
    figures = _figures(db)
    rows = stats.list_videos(db)
    for status in VideoStatus:
        assert figures["watcher_videos", status] == sum(row["status"] == status for row in rows)
    for code in ("unreadable", "stalled"):
        assert figures["watcher_failed_videos", code] == sum(row["error_code"] == code for row in rows)
    assert figures["watcher_steps", "running"] == 1
    assert figures["watcher_steps", "pending"] == crowd.BACKLOG - 1
    oldest = crowd.FIRST + (VIDEOS - crowd.BACKLOG + 2) * crowd.EVERY + timedelta(seconds=1)
    assert figures["watcher_oldest_due_step_age_seconds", ""] == (NOW - oldest).total_seconds()
    assert figures["watcher_steps_in_outage", "b2_unavailable"] > 0
    assert figures["watcher_paused_daemons", "b2_cap_exceeded,work"] == 2
    assert figures["watcher_sweeps_total", "uploads/"] == 9
    assert figures["watcher_last_sweep_age_seconds", "uploads/"] == (NOW - crowd.FIRST).total_seconds()
    assert figures["watcher_b2_transactions_total", "C"] == 17
    completed = sum(row["completed_at"] is not None for row in rows)
    assert figures["watcher_last_hour_videos", ""] == completed
    assert figures["watcher_last_hour_video_seconds", ""] == 12.5 * completed
    assert figures["watcher_last_hour_working_seconds", ""] == pytest.approx(3 * 58 * completed)


def test_what_is_unknown_is_left_out_and_not_zero(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    figures = _figures(engine)
    engine.dispose()
    assert figures["watcher_videos", "completed"] == 0
    assert not [key for key in figures if key[0] in ("watcher_last_sweep_age_seconds", "watcher_objects")]


def _queries(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_every_metric_of_the_dashboard_is_exported_and_every_exported_one_is_shown(db: Engine) -> None:
    exported = {name for name, _ in _figures(db)}
    shown = {name for query in _queries(DASHBOARD["panels"]) for name in re.findall(r"watcher_\w+", query)}
    assert shown == exported


def test_the_dashboards_panels_are_told_apart_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
