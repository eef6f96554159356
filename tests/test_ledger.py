"""The status table's protocol: who may change what, and who loses."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import crowd
import pytest
from sqlalchemy.engine import Engine

from watcher import database, ledger, stats
from watcher.models import OutputKind, StepKind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEASE = timedelta(seconds=60)
HINT = "try again"


@pytest.fixture
def db(tmp_path: Path) -> Engine:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    yield engine
    engine.dispose()


def found(file_id: str, name: str = "clip.mov") -> ledger.Found:
    return ledger.Found(file_id, name, 1000, "video/quicktime", None, NOW)


def record(
    db: Engine, *entries: ledger.Found, now: datetime = NOW, cursor: str | None = None
) -> ledger.Recorded:
    return ledger.record_page(
        db,
        bucket_id="b1",
        bucket="videos",
        prefix="",
        found=entries,
        unread=[],
        cursor=cursor,
        seen=len(entries),
        transactions={"C": 1},
        as_of=stats.last_event(db),
        now=now,
    )


def claim(db: Engine, *, now: datetime = NOW, worker: str = "w1") -> ledger.Claim | None:
    return ledger.claim(db, worker=worker, now=now, lease=LEASE)


def plan_steps(db: Engine, inspect: ledger.Claim) -> bool:
    steps = [
        ledger.NewStep(StepKind.VIDEO, 0, 1, 0.8, NOW),
        ledger.NewStep(StepKind.STILLS, 0, 1, 0.1, NOW),
        ledger.NewStep(StepKind.PACKAGE, 0, 2, 0.08, NOW + timedelta(seconds=30)),
    ]
    return ledger.finish_inspect(
        db, inspect, media={}, duration_seconds=30.0, audio_language=None, plan={}, steps=steps, now=NOW
    )


def output(kind: OutputKind, name: str, file_id: str) -> ledger.NewOutput:
    return ledger.NewOutput(
        kind, 0, 720, "videos", name, file_id, 10, "ab", "video/mp4", 1280, 720, 30.0, 900
    )


def run_to_the_package_step(db: Engine) -> ledger.Claim:
    plan_steps(db, claim(db))
    for _ in range(2):
        step = claim(db)
        ledger.finish(
            db, step, outputs=[output(OutputKind.VIDEO_PART, step.kind, f"part-{step.kind}")], now=NOW
        )
    package = claim(db)
    assert package.kind == StepKind.PACKAGE
    return package


def status(db: Engine, video_id: int = 1) -> str:
    return stats.video(db, video_id).status


def test_writing_goes_through_an_index_however_much_there_is(db: Engine) -> None:
    with crowd.listened_to(db) as heard:
        record(db, found("f1"))
        package = run_to_the_package_step(db)
        ledger.renew(db, package, fraction=0.5, now=NOW, lease=LEASE)
        ledger.fail(db, package, code="stalled", detail="", hint="", retry_at=NOW, now=NOW)
        package = claim(db)
        ledger.finish(db, package, outputs=[output(OutputKind.MP4, "a/video.mp4", "mp4")], now=NOW)
        record(db, found("f2"))
        assert claim(db) is not None
        ledger.rescue(db, now=NOW + timedelta(hours=1), max_attempts=3, hint=HINT)
    plans = {
        (statement, line)
        for statement, parameters in heard
        if not statement.startswith(("BEGIN", "INSERT"))
        for line in crowd.plan_of(db, statement, parameters)
    }
    assert len(plans) > 20
    # One condition on a bucket, or on what nearly all rows are, is as good as none.
    slow = re.compile(r"SCAN (videos|steps|outputs|events)|\((bucket|bucket_id|obsolete_at)=\?\)")
    assert [(statement, line) for statement, line in plans if slow.search(line)] == []


def test_a_version_listed_twice_is_one_video(db: Engine) -> None:
    assert record(db, found("f1")).new == 1
    assert record(db, found("f1")).new == 0
    assert len(stats.list_videos(db)) == 1


def test_a_second_worker_gets_nothing_when_one_step_is_due(db: Engine) -> None:
    record(db, found("f1"))
    assert claim(db, worker="w1") is not None
    assert claim(db, worker="w2") is None


def test_the_earliest_due_step_is_claimed_first(db: Engine) -> None:
    record(db, found("f1", "late.mov"), now=NOW + timedelta(seconds=5))
    record(db, found("f2", "early.mov"), now=NOW)
    assert claim(db, now=NOW + timedelta(minutes=1)).name == "early.mov"


def test_a_step_that_is_not_due_before_a_time_is_not_claimed_by_who_asks_for_that(db: Engine) -> None:
    record(db, found("f1"))

    def overtaking(before: datetime) -> ledger.Claim | None:
        return ledger.claim(db, worker="w1", now=NOW, lease=LEASE, before=before)

    assert overtaking(NOW) is None
    claimed = overtaking(NOW + timedelta(seconds=1))
    assert claimed is not None
    assert claimed.due_at == NOW


def test_a_step_is_not_claimed_before_its_back_off_is_over(db: Engine) -> None:
    record(db, found("f1"))
    ledger.fail(
        db, claim(db), code="stalled", detail="", hint="", retry_at=NOW + timedelta(seconds=9), now=NOW
    )
    assert claim(db, now=NOW + timedelta(seconds=8)) is None
    assert claim(db, now=NOW + timedelta(seconds=9)).attempt == 2


def test_whoever_lost_its_step_changes_nothing(db: Engine) -> None:
    record(db, found("f1"))
    stale = claim(db)
    later = NOW + timedelta(minutes=5)
    assert len(ledger.rescue(db, now=later, max_attempts=3, hint=HINT)) == 1
    fresh = claim(db, now=later, worker="w2")
    assert not ledger.renew(db, stale, fraction=0.5, now=later, lease=LEASE)
    assert not plan_steps(db, stale)
    assert not ledger.finish(db, stale, outputs=[], now=later)
    assert not ledger.fail(db, stale, code="bug", detail="", hint="", retry_at=None, now=later)
    assert not ledger.fail(db, stale, code="bug", detail="", hint="", retry_at=later, now=later)
    assert not ledger.hand_back(db, stale, code="shutdown", detail="", run_after=later, now=later)
    assert not ledger.skip(db, stale, reason="image", detail="", now=later)
    assert not ledger.cancel_gone(db, stale, now=later)
    assert plan_steps(db, fresh)


def test_a_lease_that_was_renewed_is_not_rescued(db: Engine) -> None:
    record(db, found("f1"))
    held = claim(db)
    assert ledger.renew(db, held, fraction=0.1, now=NOW + timedelta(seconds=50), lease=LEASE)
    assert ledger.rescue(db, now=NOW + timedelta(seconds=100), max_attempts=3, hint=HINT) == []


def test_a_step_whose_worker_dies_every_time_ends_failed(db: Engine) -> None:
    record(db, found("f1"))
    for attempt in (1, 2, 3):
        assert claim(db).attempt == attempt
        released = ledger.release_worker(db, "w1", now=NOW, max_attempts=3, hint=HINT)
        assert [step.is_failed for step in released] == [attempt == 3]
    assert (status(db), stats.video(db, 1).error_code) == ("failed", "worker_lost")
    assert claim(db) is None


def test_an_attempt_handed_back_does_not_count(db: Engine) -> None:
    record(db, found("f1"))
    ledger.hand_back(db, claim(db), code="b2_unavailable", detail="", run_after=NOW, now=NOW)
    again = claim(db)
    assert (again.attempt, again.outages) == (1, 1)


def test_an_outage_holds_back_the_videos_other_steps_and_no_other_video(db: Engine) -> None:
    record(db, found("f1"), found("f2", "other.mov"), found("f3", "third.mov"))
    plan_steps(db, claim(db))
    other, third, video = claim(db), claim(db), claim(db)
    assert (other.name, third.name, video.name) == ("other.mov", "third.mov", "clip.mov")
    ledger.hand_back(db, third, code="shutdown", detail="", run_after=NOW, now=NOW)
    later = NOW + timedelta(seconds=60)
    ledger.hand_back(db, video, code="b2_unavailable", detail="", run_after=later, now=NOW)
    assert (claim(db).name, claim(db)) == ("third.mov", None)
    first = claim(db, now=later)
    assert (first.name, first.outages) == ("clip.mov", 1)
    ledger.finish(db, first, outputs=[], now=later)
    assert claim(db, now=later).outages == 0  # what one step got past, the others need not wait for


def test_package_waits_for_all_its_siblings_and_completes_the_video(db: Engine) -> None:
    record(db, found("f1"))
    plan_steps(db, claim(db))
    video, stills = claim(db), claim(db)
    assert {video.kind, stills.kind} == {StepKind.VIDEO, StepKind.STILLS}
    assert claim(db) is None
    ledger.finish(db, video, outputs=[], now=NOW)
    assert claim(db) is None
    ledger.finish(db, stills, outputs=[], now=NOW)
    package = claim(db)
    outputs = [output(OutputKind.MP4, "t/video.mp4", "o1"), output(OutputKind.POSTER, "t/poster.jpg", "o2")]
    assert ledger.finish(db, package, outputs=outputs, now=NOW)
    row = stats.list_videos(db)[0]
    assert (row["status"], row["progress"], row["mp4"], row["poster"]) == (
        "completed", 1.0, "t/video.mp4", "t/poster.jpg",
    )  # fmt: skip


def test_progress_is_the_weighted_sum_of_the_steps(db: Engine) -> None:
    record(db, found("f1"))
    plan_steps(db, claim(db))
    ledger.renew(db, claim(db), fraction=0.5, now=NOW, lease=LEASE)
    assert stats.video(db, 1).progress == pytest.approx(0.02 + 0.4)


def test_what_only_package_needed_becomes_obsolete_when_the_video_completes(db: Engine) -> None:
    record(db, found("f1"))
    plan_steps(db, claim(db))
    for kind in (OutputKind.VIDEO_PART, OutputKind.POSTER_PART):
        ledger.finish(db, claim(db), outputs=[output(kind, f"t/{kind}", kind)], now=NOW)
    ledger.finish(db, claim(db), outputs=[output(OutputKind.MP4, "t/video.mp4", "o1")], now=NOW)
    obsolete = stats.obsolete_outputs(db, bucket="videos", limit=10)
    assert {row.file_id for row in obsolete} == {OutputKind.POSTER_PART}


def plan_stream(db: Engine, inspect: ledger.Claim, *, chunks: int = 2) -> None:
    steps = [ledger.NewStep(StepKind.VIDEO, n, 1, 0.3, NOW + timedelta(seconds=4 * n)) for n in range(chunks)]
    steps += [
        ledger.NewStep(StepKind.AUDIO, 0, 1, 0.1, NOW),
        ledger.NewStep(StepKind.ANNOUNCE, 0, 1, 0.0, NOW),
        ledger.NewStep(StepKind.PACKAGE, 0, 2, 0.1, NOW + timedelta(seconds=8)),
    ]
    ledger.finish_inspect(
        db, inspect, media={}, duration_seconds=8.0, audio_language=None, plan={}, steps=steps, now=NOW
    )


def part(kind: OutputKind, ordinal: int) -> ledger.NewOutput:
    name = f"t/{kind}-{ordinal}"
    return ledger.NewOutput(
        kind, ordinal, 720, "videos", name, name, 10, "ab", "video/mp4", 1280, 720, 4.0, 9
    )


def test_announce_waits_for_the_first_chunk_and_the_first_sound(db: Engine) -> None:
    record(db, found("f1"))
    plan_stream(db, claim(db))
    later = NOW + timedelta(seconds=60)
    first, audio, second = claim(db, now=later), claim(db, now=later), claim(db, now=later)
    assert [step.kind for step in (first, audio, second)] == ["video", "audio", "video"]
    ledger.finish(db, second, outputs=[part(OutputKind.VIDEO_PART, 1)], now=NOW)
    assert ledger.publish(db, audio, outputs=[part(OutputKind.AUDIO_PART, 0)], now=NOW)
    assert claim(db, now=later) is None
    ledger.finish(db, first, outputs=[part(OutputKind.VIDEO_PART, 0)], now=NOW)
    announce = claim(db, now=later)
    assert announce.kind == "announce"
    assert stats.video(db, 1).playable_at is None
    seen = {each.file_id for each in stats.parts(db, 1)}
    ledger.publish(db, audio, outputs=[part(OutputKind.AUDIO_PART, 1)], now=NOW)
    hls = part(OutputKind.HLS, 0)
    assert ledger.finish_announce(db, announce, outputs=[hls], listed={hls.name}, seen=seen, now=later)
    assert stats.list_videos(db)[0]["hls"] == hls.name
    assert stats.video(db, 1).playable_at == later
    again = claim(db, now=later)
    assert again.kind == "announce"  # for the sound that came meanwhile
    ledger.finish(db, audio, outputs=[], now=NOW)
    assert claim(db, now=later) is None  # package waits for it
    ledger.finish_announce(
        db,
        again,
        outputs=[],
        listed={hls.name},
        seen={part.file_id for part in stats.parts(db, 1)},
        now=later,
    )
    assert claim(db, now=later).kind == "package"


def test_what_a_dead_attempt_published_is_void(db: Engine) -> None:
    record(db, found("f1"))
    plan_stream(db, claim(db))
    claim(db)
    audio = claim(db)
    ledger.publish(db, audio, outputs=[part(OutputKind.AUDIO_PART, 0)], now=NOW)
    ledger.release_worker(db, "w1", now=NOW, max_attempts=3, hint=HINT)
    assert stats.parts(db, 1) == []
    assert not ledger.publish(db, audio, outputs=[part(OutputKind.AUDIO_PART, 1)], now=NOW)


def test_a_new_version_cancels_the_unfinished_work_of_the_older_one(db: Engine) -> None:
    record(db, found("f1"))
    old = claim(db)
    assert record(db, found("f2")).superseded == 1
    assert (status(db), stats.video(db, 1).reason) == ("cancelled", "superseded")
    assert not plan_steps(db, old)
    assert [row.token for row in stats.debris(db, now=NOW + LEASE, limit=10)] == [old.token]
    assert claim(db).file_id == "f2"


def test_an_old_version_that_is_current_again_is_made_again(db: Engine) -> None:
    record(db, found("f1"))
    record(db, found("f2"))
    record(db, found("f1"))
    assert (status(db, 1), status(db, 2)) == ("pending", "cancelled")
    assert claim(db).file_id == "f1"


def test_a_new_version_that_completes_retires_the_outputs_of_the_older_one(db: Engine) -> None:
    record(db, found("f1"))
    ledger.finish(
        db, run_to_the_package_step(db), outputs=[output(OutputKind.MP4, "t/video.mp4", "o1")], now=NOW
    )
    record(db, found("f2"))
    assert {row["id"]: row["mp4"] for row in stats.list_videos(db)} == {1: "t/video.mp4", 2: None}
    plan_steps(db, claim(db))
    for _ in range(2):
        ledger.finish(db, claim(db), outputs=[], now=NOW)
    ledger.finish(db, claim(db), outputs=[output(OutputKind.MP4, "t/video.mp4", "o2")], now=NOW)
    assert {row["id"]: row["mp4"] for row in stats.list_videos(db)} == {1: None, 2: "t/video.mp4"}
    assert stats.video(db, 1).reason == "superseded"


def test_a_failed_step_ends_the_video_and_requeue_goes_on_where_it_was(db: Engine) -> None:
    record(db, found("f1"))
    plan_steps(db, claim(db))
    ledger.finish(db, claim(db), outputs=[], now=NOW)
    ledger.fail(db, claim(db), code="output_invalid", detail="x", hint="y", retry_at=None, now=NOW)
    assert (status(db), claim(db)) == ("failed", None)
    assert ledger.requeue(db, error_codes=["output_invalid"], now=NOW).requeued == (1,)
    assert stats.video(db, 1).error_code is None
    step = claim(db)
    assert (step.kind, step.attempt) == (StepKind.STILLS, 1)
    ledger.finish(db, step, outputs=[], now=NOW)
    assert claim(db).kind == StepKind.PACKAGE


def test_requeue_from_scratch_begins_with_inspect(db: Engine) -> None:
    record(db, found("f1"))
    ledger.finish(
        db, run_to_the_package_step(db), outputs=[output(OutputKind.MP4, "t/video.mp4", "o1")], now=NOW
    )
    assert ledger.requeue(db, ids=[1], now=NOW).requeued == ()
    assert ledger.requeue(db, ids=[1], from_scratch=True, now=NOW).requeued == (1,)
    assert stats.list_videos(db)[0]["mp4"] == "t/video.mp4"  # still there until it is replaced
    assert claim(db).kind == StepKind.INSPECT


def test_requeue_says_why_it_leaves_a_video_alone(db: Engine) -> None:
    record(db, found("f1"))
    refused = ledger.requeue(db, ids=[1, 7], now=NOW).refused
    assert [video_id for video_id, _ in refused] == [1, 7]


def test_a_source_that_was_deleted_ends_cancelled(db: Engine) -> None:
    record(db, found("f1"))
    assert ledger.cancel_gone(db, claim(db), now=NOW)
    assert (status(db), stats.video(db, 1).reason) == ("cancelled", "source_deleted")


def test_the_cursor_and_the_sweep_number_are_kept(db: Engine) -> None:
    record(db, found("f1"), cursor="next")
    scan = stats.scan(db, bucket_id="b1", prefix="")
    assert (scan.cursor, scan.sweep, scan.seen) == ("next", 0, 1)
    record(db, found("f2", "b.mov"))
    scan = stats.scan(db, bucket_id="b1", prefix="")
    assert (scan.cursor, scan.sweep, scan.objects, scan.swept_at) == (None, 1, 2, NOW)


def test_calls_are_counted_by_day_and_class(db: Engine) -> None:
    record(db)
    record(db)
    assert stats.transactions(db, day="2026-01-02") == {"C": 2}


def test_an_entry_that_cannot_be_read_is_kept_once(db: Engine) -> None:
    page = {"bucket_id": "b1", "bucket": "videos", "prefix": "", "found": [], "cursor": None, "seen": 1}
    for expected in (1, 0):
        recorded = ledger.record_page(
            db, **page, unread=[("f1", "x", "{raw}", "bad time")], transactions={}, as_of=0, now=NOW
        )
        assert recorded.quarantined == expected
    assert [row.why for row in stats.quarantined(db)] == ["bad time"]


def test_a_naive_time_is_refused(db: Engine) -> None:
    with pytest.raises(Exception, match="naive datetime"):
        record(db, found("f1"), now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_what_a_frozen_worker_left_is_looked_for_again_when_it_died(db: Engine) -> None:
    """It may have uploaded after it woke, and until it was killed: the first look cannot have seen that."""
    record(db, found("f1"))
    taken = claim(db)
    assert taken is not None
    ledger.rescue(db, now=NOW + 2 * LEASE, max_attempts=3, hint=HINT)
    [row] = stats.debris(db, now=NOW, limit=9)
    ledger.forget_debris(db, row.token, since=row.since)
    ledger.release_worker(db, "another", now=NOW, max_attempts=3, hint=HINT)
    assert stats.debris(db, now=NOW + ledger.IN_FLIGHT, limit=9) == []

    ledger.release_worker(db, "w1", now=NOW, max_attempts=3, hint=HINT)

    assert [row.token for row in stats.debris(db, now=NOW + ledger.IN_FLIGHT, limit=9)] == [taken.token]
