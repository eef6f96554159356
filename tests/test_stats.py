"""What readers are told, and that no page costs more when there are more videos."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import crowd
import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from watcher import database, stats
from watcher.models import Scan, Transaction

VIDEOS = 1000
END = crowd.FIRST + VIDEOS * crowd.EVERY + timedelta(minutes=5)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('stats')}/watcher.db"


@pytest.fixture(scope="module")
def db(url: str) -> Iterator[Engine]:
    """A thousand videos."""
    writer = database.open_for_writing(url)
    database.upgrade(writer)
    crowd.fill(writer, VIDEOS)
    writer.dispose()
    reader = database.open_for_reading(url)
    yield reader
    reader.dispose()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    """A database to write to, with tables and no rows."""
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    yield engine
    engine.dispose()


def _all(db: Engine, **which: str) -> list[int]:
    """Return the ids of all pages, one after the other."""
    ids: list[int] = []
    before: int | None = None
    while True:
        page = stats.page(db, before=before, limit=70, **which)
        ids += [video["id"] for video in page.videos]
        if page.next is None:
            return ids
        before = page.next


def test_pages_hold_every_video_once_newest_first(db: Engine) -> None:
    assert _all(db) == list(range(VIDEOS, 0, -1))


def test_pages_of_one_state_hold_its_videos(db: Engine) -> None:
    expected = [row["id"] for row in stats.list_videos(db) if row["status"] == "failed"]
    assert len(expected) > 0
    assert _all(db, status="failed") == expected


def test_a_page_that_is_exactly_full_is_the_last(db: Engine) -> None:
    assert stats.page(db, limit=VIDEOS).next is None
    assert stats.page(db, before=71, limit=70).next is None
    assert stats.page(db, before=72, limit=70).next == 2


@pytest.mark.parametrize("searched", [stats.SEARCHED, 64])
def test_a_search_finds_every_name_with_the_part_whatever_its_case(
    db: Engine, monkeypatch: pytest.MonkeyPatch, searched: int
) -> None:
    monkeypatch.setattr("watcher.stats.videos.SEARCHED", searched)
    expected = [row["id"] for row in stats.list_videos(db) if "holiday-" in row["name"].lower()]
    assert len(expected) == VIDEOS / 5
    assert _all(db, search="hOLIDAY-") == expected
    assert _all(db, search="-777.mov") == [777]
    assert _all(db, search="no such name") == []


def test_a_search_within_a_state_finds_only_that_state(db: Engine) -> None:
    found = _all(db, search="holiday", status="failed")
    rows = stats.list_videos(db, ids=found)
    assert found
    assert {(row["status"], "Holiday" in row["name"]) for row in rows} == {("failed", True)}


def test_a_video_is_found_by_its_name_and_by_its_file_id(db: Engine) -> None:
    row = stats.list_videos(db, ids=[777])[0]
    assert _all(db, name=row["name"]) == _all(db, file_id=row["file_id"]) == [777]
    assert _all(db, name=row["name"][1:]) == []
    assert _all(db, name=row["name"], status="cancelled") == []
    assert _all(db, name=row["name"], search="777") == [777]


@pytest.mark.parametrize("part", ["%", "_0%", "\\", "/%/", "'"])
def test_a_search_takes_its_words_literally(db: Engine, part: str) -> None:
    assert _all(db, search=part) == []


def test_the_count_by_state_is_that_of_the_rows(db: Engine) -> None:
    rows = stats.list_videos(db)
    tally = stats.Tally(db)
    assert sum(tally.by_status().values()) == VIDEOS
    for (status, code), count in tally.by_error().items():
        assert count == sum(row["status"] == status and row["error_code"] == code for row in rows)


def test_a_count_is_kept_for_as_long_as_it_was_costly(empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watcher.stats.tally.KEPT", 1e9)
    tally = stats.Tally(empty)
    assert tally.by_status() == {}
    crowd.fill(empty, 100)
    assert tally.by_status() == {}
    assert sum(stats.counts(empty).values()) == 100


def test_the_queue_is_what_is_not_over(db: Engine) -> None:
    queue = stats.queue(db, END)
    backlog = crowd.BACKLOG
    assert (queue.pending, queue.running, queue.blocked) == (backlog - 1, 1, 1 + 2 * (backlog - 1))
    second = VIDEOS - backlog + 2  # the first of the backlog is running
    assert queue.oldest_due_at == crowd.FIRST + second * crowd.EVERY + timedelta(seconds=1)
    assert stats.queue(db, crowd.FIRST).oldest_due_at is None
    [step] = stats.running_steps(db)
    assert (step.video_id, step.kind, step.progress, step.worker) == (
        *(VIDEOS - backlog + 1, "video", 0.5),
        "watcher-here-0",
    )


def test_what_the_world_keeps_waiting_is_counted_by_code(empty: Engine) -> None:
    crowd.fill(empty, 60)
    with empty.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE steps SET outages = 3, error_code = 'b2_cap_exceeded' WHERE status = 'pending' AND id % 2"
        )
        # One that had an outage and is over is no outage any more.
        connection.exec_driver_sql("UPDATE steps SET outages = 2 WHERE status = 'completed'")
    waiting = stats.queue(empty, END).outages
    assert set(waiting) == {"b2_cap_exceeded"}
    assert 0 < waiting["b2_cap_exceeded"] < crowd.BACKLOG


def test_throughput_adds_up_what_was_completed_in_between(db: Engine) -> None:
    since, until = crowd.FIRST + timedelta(minutes=20), crowd.FIRST + timedelta(minutes=30)
    rows = [row for row in stats.list_videos(db) if row["completed_at"]]
    rows = [row for row in rows if since <= row["completed_at"] < until]
    found = stats.throughput(db, since=since, until=until)
    assert len(rows) > 0
    assert found.videos == len(rows)
    assert found.video_seconds == 12.5 * len(rows)
    assert found.source_bytes == sum(row["size_bytes"] for row in rows)
    assert found.output_bytes == 5 * 500_000 * len(rows)
    assert found.working_seconds == pytest.approx(3 * 58 * len(rows), abs=0.01)
    assert stats.throughput(db, since=until, until=since) == stats.Throughput(0, 0.0, 0, 0, 0.0)


def test_hours_are_whole_ones_and_end_with_the_running_one(db: Engine) -> None:
    hours = stats.hours(db, now=END, count=5)
    completed = sum(row["completed_at"] is not None for row in stats.list_videos(db))
    assert [hour.start.hour for hour in hours] == [22, 23, 0, 1, 2]
    assert sum(hour.videos for hour in hours) == completed
    assert sum(hour.video_seconds for hour in hours) == 12.5 * completed
    assert hours[0].videos == hours[1].videos == 0


def test_trouble_is_told_newest_first_with_the_name_of_the_video(db: Engine) -> None:
    troubles = stats.troubles(db, limit=3)
    failed = stats.list_videos(db, status="failed", limit=3)
    assert [(row.video_id, row.name) for row in troubles] == [(row["id"], row["name"]) for row in failed]
    assert {row.what for row in troubles} == {"failed"}


def test_calls_and_sweeps_are_read_as_they_were_counted(empty: Engine) -> None:
    with empty.begin() as connection:
        for day, kind, count in (("2026-01-01", "C", 5), ("2026-01-02", "C", 7), ("2026-01-02", "B", 1)):
            connection.execute(insert(Transaction).values(day=day, transaction_class=kind, count=count))
        connection.execute(insert(Scan).values(bucket_id="b", prefix="", sweep=4, seen=0, swept_at=END))
    assert stats.all_transactions(empty) == {"B": 1, "C": 12}
    assert stats.transactions(empty, day="2026-01-02") == {"B": 1, "C": 7}
    assert [(scan.sweep, scan.swept_at) for scan in stats.scans(empty)] == [(4, END)]
    assert stats.count_quarantined(empty) == 0


# Everything that pages, the API and a site's own view ask, and the tables that its plan may go through whole.
QUESTIONS: dict[str, tuple[Callable[[Engine], object], set[str]]] = {
    "page": (lambda db: stats.page(db, before=500, limit=50), set()),
    "first page": (lambda db: stats.page(db, limit=50), set()),
    "state": (lambda db: stats.page(db, before=500, status="failed", limit=50), set()),
    "name": (lambda db: stats.page(db, name="uploads/0007/clip-7.mov", limit=50), set()),
    "file": (lambda db: stats.page(db, before=500, file_id="4_z7", limit=50), set()),
    "search": (lambda db: stats.page(db, before=500, search="holiday", limit=50), set()),
    "search in state": (lambda db: stats.page(db, status="failed", search="holiday", limit=50), set()),
    "one": (lambda db: stats.list_videos(db, ids=[7]), set()),
    "by name": (lambda db: stats.find_ids(db, "a.mov"), set()),
    "whole row": (lambda db: stats.video(db, 7), set()),
    "steps": (lambda db: stats.steps(db, 7), set()),
    "outputs": (lambda db: stats.outputs(db, 7), set()),
    "events": (lambda db: stats.events(db, 7, after=3, limit=9), set()),
    "running": (stats.running, set()),
    "running steps": (stats.running_steps, set()),
    "queue": (lambda db: stats.queue(db, END), set()),
    "throughput": (lambda db: stats.throughput(db, since=crowd.FIRST, until=END), set()),
    "hours": (lambda db: stats.hours(db, now=END, count=24), set()),
    "trouble": (lambda db: stats.troubles(db, limit=20), {"events USING INDEX events_trouble"}),
    "obsolete": (lambda db: stats.obsolete_outputs(db, bucket="watcher-demo", limit=50), set()),
    "unfinished": (stats.count_unfinished, set()),
    # The one question that grows with the table; see `stats.Tally` for how seldom it is asked.
    "counts": (stats.counts, {"videos USING COVERING INDEX videos_tally"}),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_goes_through_a_table_that_grows(db: Engine, question: str) -> None:
    ask, allowed = QUESTIONS[question]
    with crowd.listened_to(db) as heard:
        ask(db)
    assert heard
    plans = [line for statement, parameters in heard for line in crowd.plan_of(db, statement, parameters)]
    scans = {match[1] for line in plans if (match := re.match(r"SCAN (?!CONSTANT)(.+)", line))}
    assert scans == allowed
    # One condition on a bucket, which nearly all rows meet, is as good as none.
    assert not [
        line
        for line in plans
        if re.search(r"(?<!outputs_obsolete )\((bucket|bucket_id|obsolete_at)=\?\)", line)
    ]


def test_a_table_without_the_indexes_would_be_told(db: Engine) -> None:
    plan = crowd.plan_of(db, "SELECT id FROM videos WHERE content_type = 'x'", ())
    assert plan == ["SCAN videos"]


@pytest.mark.parametrize(
    ("where", "index"),
    [("name = 'a.mov'", "videos_name"), ("file_id = 'x'", "videos_file"), ("id = 7", "PRIMARY")],
)
def test_the_view_finds_a_video_by_what_a_site_knows_of_it(db: Engine, where: str, index: str) -> None:
    plan = crowd.plan_of(db, f"SELECT * FROM video_status WHERE {where} ORDER BY id DESC", ())
    assert index in plan[0]
    assert not [line for line in plan if line.startswith("SCAN")]
