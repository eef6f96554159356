"""The daemon's ticks and seats: what an outage, a stall or a lost lease does to them, and what it does not."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from house import House, clip, wait_for

from watcher import config, daemon, database, ledger, leftovers, localb2, plan, retry, stats, steps, workshop
from watcher.beat import Beat
from watcher.errors import Failure, Stopped

LIST, READ, DELETE = "b2_list_file_names", "b2_download_file_by_id", "b2_delete_file_version"
CAP = {"status": 403, "body": b'{"status": 403, "code": "cap_exceeded", "message": "a cap is spent"}'}
LEASE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("film") / "film.mov", seconds=1, size="160x90")


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    return House(tmp_path, b2)


@pytest.fixture
def shop(house: House) -> Iterator[workshop.Workshop]:
    with workshop.opened(config.load(house.environment)) as shop:
        yield shop


def hire(shop: workshop.Workshop, *, seats: int = 1) -> daemon.Daemon:
    return daemon.Daemon(shop, seats=seats, poll_every=timedelta(seconds=0.2), drain=timedelta(seconds=10))


def hold(worker: daemon.Daemon, shop: workshop.Workshop) -> tuple[ledger.Claim, Beat]:
    """Claim the next step as a seat of `worker` does, without working on it."""
    claim = ledger.claim(shop.db, worker=shop.scratch.worker, now=daemon.now(), lease=shop.lease)
    assert claim is not None
    worker._running[claim.step_id] = claim, Beat()
    worker._seated[claim.step_id] = claim.due_at
    return worker._running[claim.step_id]


def discovered(house: House, shop: workshop.Workshop, *films: Path) -> None:
    for number, film in enumerate(films):
        house.upload(film, f"{number}.mov")
    daemon.sweep_once(shop)


def lease_of(shop: workshop.Workshop) -> tuple[str, object, float]:
    step = stats.steps(shop.readings, 1)[0]
    return step.status, step.lease_until, step.progress


def test_polls_that_fail_keep_no_seat_from_working_and_do_not_end(
    house: House, shop: workshop.Workshop, b2: localb2.LocalB2, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    discovered(house, shop, film)
    b2.faults.append(localb2.Fault(LIST, **CAP, times=-1))
    with hire(shop):
        wait_for(lambda: stats.counts(shop.readings).get("completed") == 1, "the film to be made")
        house.upload(film, "later.mov")
        b2.faults.clear()
        wait_for(lambda: stats.counts(shop.readings).get("completed") == 2, "the later film")


def test_a_bucket_that_is_gone_is_told_and_polled_for_again(
    house: House, shop: workshop.Workshop, b2: localb2.LocalB2, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"status": 400, "code": "bad_bucket_id", "message": "Bucket id does not exist"}'
    house.upload(film)
    b2.faults.append(localb2.Fault(LIST, 400, body))
    with hire(shop) as worker:
        assert worker.wait(until_idle=True)
    assert stats.counts(shop.readings) == {"completed": 1}
    told = [record.getMessage() for record in caplog.records if "b2_bucket_gone" in record.getMessage()]
    assert len(told) == 1
    assert "Traceback" not in caplog.text


def test_an_outage_costs_a_few_calls_however_many_videos_wait_and_the_table_says_why(
    house: House, shop: workshop.Workshop, b2: localb2.LocalB2, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", retry.LONGEST)  # so that nothing is tried again while we look
    discovered(house, shop, *[film] * 12)
    b2.calls.clear()
    b2.faults.append(localb2.Fault(READ, **CAP, times=-1))
    with hire(shop, seats=2):
        wait_for(lambda: bool(stats.pauses(shop.readings, now=daemon.now())), "work to be paused")
        wait_for(
            lambda: (
                not any(
                    name[:5] != "waits" for names in stats.running(shop.readings).values() for name in names
                )
            ),
            "both seats to stop",
        )
        (pause,) = stats.pauses(shop.readings, now=daemon.now())
        assert (pause.what, pause.code) == ("work", "b2_cap_exceeded")
        assert b2.calls[READ] <= 4  # a cap is not tried again, and there are two seats
        shown = " ".join(house.cli("status").stdout.split())
        assert "work is paused (b2_cap_exceeded" in shown
        assert "Raise the cap" in shown
        assert "waits: b2_cap_exceeded" in shown
    assert stats.pauses(shop.readings, now=daemon.now()) == []  # a daemon that ended waits for nothing


def test_work_goes_on_when_the_outage_is_over_and_no_attempt_counts(
    house: House, shop: workshop.Workshop, b2: localb2.LocalB2, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    discovered(house, shop, *[film] * 3)
    b2.faults.append(localb2.Fault(READ, **CAP, times=-1))
    b2.faults.append(localb2.Fault(LIST, **CAP, times=-1))
    with hire(shop, seats=2) as worker:
        wait_for(lambda: len(stats.pauses(shop.readings, now=daemon.now())) == 2, "both to be paused")
        b2.faults.clear()
        assert worker.wait(until_idle=True)
        assert stats.pauses(shop.readings, now=daemon.now()) == []
    assert stats.counts(shop.readings) == {"completed": 3}
    assert {step.attempts for step in stats.steps(shop.readings, 1) if step.kind != "announce"} == {1}


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forth"])
def test_polls_and_work_go_on_when_the_wall_clock_is_set_by_an_hour(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    step, real = [timedelta()], daemon.now

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return real().astimezone(tz) + step[0]

    monkeypatch.setattr(daemon, "now", lambda: real() + step[0])
    for module in ("schedulers.base", "triggers.interval"):
        monkeypatch.setattr(f"apscheduler.{module}.datetime", Clock)
    house.upload(film, "before.mov")
    daemon.sweep_once(shop)
    held = ledger.claim(shop.db, worker="another machine", now=daemon.now(), lease=shop.lease)
    with hire(shop) as worker:
        threading.Thread(target=worker.wait, daemon=True).start()
        wait_for(lambda: stats.last_sweep(shop.readings) is not None, "the first poll")
        step[0] = timedelta(hours=hours)
        house.upload(film, "after.mov")
        wait_for(lambda: stats.counts(shop.readings).get("completed") == 1, "the film that came afterwards")
        worker._tidy()
        assert ledger.renew(shop.db, held, fraction=0.5, now=daemon.now(), lease=shop.lease)
        ledger.fail(
            shop.db, held, code="bug", detail="", hint="", retry_at=daemon.now() + timedelta(hours=2),
            now=daemon.now(),
        )  # fmt: skip
        step[0] = timedelta(hours=hours - 3)
        wait_for(
            lambda: stats.counts(shop.readings).get("completed") == 2, "what waited for a time of the clock"
        )


def test_nobody_goes_by_a_clock_that_was_set_before_all_is_planned_anew(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovered(house, shop, film)
    held = ledger.claim(shop.db, worker="another machine", now=daemon.now(), lease=shop.lease)
    step, real = [timedelta()], daemon.now
    monkeypatch.setattr(daemon, "now", lambda: real() + step[0])
    worker = hire(shop)
    step[0] = timedelta(hours=1)
    is_planning, goes_on = threading.Event(), threading.Event()

    def plan_anew(step: timedelta) -> None:
        is_planning.set()
        goes_on.wait(60)
        planned(step)

    planned = worker._plan_anew
    monkeypatch.setattr(worker, "_plan_anew", plan_anew)
    first = threading.Thread(target=worker._heed_the_clock)
    first.start()
    assert is_planning.wait(60)
    second = threading.Thread(target=worker._tidy)
    second.start()
    second.join(1)
    goes_on.set()
    first.join()
    second.join()

    assert ledger.renew(shop.db, held, fraction=0.5, now=daemon.now(), lease=shop.lease)


def test_a_lease_is_renewed_with_the_progress_while_work_advances(
    house: House, shop: workshop.Workshop, film: Path
) -> None:
    discovered(house, shop, film)
    worker = hire(shop)
    _, beat = hold(worker, shop)
    before = lease_of(shop)
    beat.advance(0.5)
    worker._renew()
    status, until, progress = lease_of(shop)
    assert (status, progress) == ("running", 0.5)
    assert until > before[1]
    beat.check()


def test_what_a_daemon_works_on_itself_is_not_lost_when_the_machine_was_suspended(
    house: House, shop: workshop.Workshop, film: Path
) -> None:
    discovered(house, shop, film)
    worker = hire(shop)
    claim = ledger.claim(shop.db, worker=shop.scratch.worker, now=daemon.now(), lease=-LEASE)
    assert claim is not None
    worker._running[claim.step_id] = claim, Beat()
    worker._tidy()
    assert lease_of(shop)[0] == "running"
    worker._running.clear()
    assert ledger.renew(shop.db, claim, fraction=0.0, now=daemon.now(), lease=-LEASE)
    worker._tidy()
    assert lease_of(shop)[0] == "pending"


def test_a_step_that_was_lost_is_told_to_stop(house: House, shop: workshop.Workshop, film: Path) -> None:
    discovered(house, shop, film)
    worker = hire(shop)
    _, beat = hold(worker, shop)
    ledger.release_worker(shop.db, shop.scratch.worker, now=daemon.now(), max_attempts=4, hint="")
    worker._renew()
    with pytest.raises(Stopped):
        beat.check()


def test_a_step_that_stalls_is_stopped_and_tried_again(
    house: House, shop: workshop.Workshop, film: Path
) -> None:
    discovered(house, shop, film)
    impatient = dataclasses.replace(shop, stall=timedelta(seconds=-1))
    worker = hire(impatient)
    claim, beat = hold(worker, impatient)
    before = lease_of(shop)
    worker._renew()
    assert lease_of(shop) == before  # what stalls does not keep its lease
    with pytest.raises(Failure):
        beat.check()
    steps.perform(claim, shop, beat, clock=daemon.now)
    step = stats.steps(shop.readings, 1)[0]
    assert (step.status, step.attempts, step.error_code) == ("pending", 1, "stalled")


def test_what_should_have_moved_and_did_not_is_named(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovered(house, shop, film)
    worker = hire(shop)
    hold(worker, shop)
    worker._tick(worker._dispatch, timedelta())
    assert worker.late() == []
    monkeypatch.setattr(daemon, "TICK_PATIENCE", -shop.stall - timedelta(seconds=1))
    assert worker.late() == ["inspect"]
    worker._tick(worker._dispatch, timedelta())
    assert worker.late() == ["dispatch", "inspect"]


def test_an_outage_of_the_database_pauses_seats_and_ticks_and_ends_none(
    house: House,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    with ExitStack() as stack:
        shop = stack.enter_context(workshop.opened(config.load(house.environment)))
        discovered(house, shop, film)
        locker = stack.enter_context(closing(database.driver().connect(str(house.folder / "watcher.db"))))
        locker.execute("BEGIN IMMEDIATE")
        with hire(shop) as worker:
            wait_for(lambda: "seat_paused" in caplog.text, "the seat to meet the lock")
            wait_for(lambda: "poll_failed" in caplog.text, "the poll to meet the lock")
            locker.execute("ROLLBACK")
            assert worker.wait(until_idle=True)
        assert stats.counts(shop.readings) == {"completed": 1}


def test_a_seat_outlives_what_nobody_expected(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    claim, fails = ledger.claim, iter([True])

    def claim_at_second_try(*arguments: object, **named: object) -> ledger.Claim | None:
        if next(fails, False):
            raise RuntimeError("a bug below the step")
        return claim(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "claim", claim_at_second_try)
    house.upload(film)
    with hire(shop) as worker:
        assert worker.wait(until_idle=True)
    assert stats.counts(shop.readings) == {"completed": 1}


def test_until_idle_leaves_nothing_to_clear_away(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CLEAR_AT_ONCE", 1)
    house.upload(film)
    with hire(shop) as worker:
        assert worker.wait(until_idle=True)
    assert house.unaccounted() == set()
    assert shop.scratch.video_ids() == []


def test_until_idle_clears_away_what_a_seat_left_that_lost_its_step(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen: while its seat slept, another one took the step over and finished the video."""
    house.upload(film)
    asleep, over = threading.Event(), threading.Event()
    perform = steps.perform

    def sleep(claim: ledger.Claim, *rest: Any, **named: Any) -> None:
        ledger.release_worker(shop.db, shop.scratch.worker, now=daemon.now(), max_attempts=4, hint="")
        asleep.set()
        assert over.wait(60)
        perform(claim, *rest, **named)

    monkeypatch.setattr(steps, "perform", sleep)
    with hire(shop) as worker:
        assert asleep.wait(60)
        monkeypatch.setattr(steps, "perform", perform)
        with workshop.opened(config.load(house.environment)) as other, hire(other) as rescuer:
            assert rescuer.wait(until_idle=True)
        is_idle = worker.wait(until_idle=True)
        over.set()
    assert is_idle
    assert stats.open_tokens(shop.readings) == (set(), set())


def test_until_idle_ends_well_when_only_the_clearing_away_fails(
    house: House, shop: workshop.Workshop, b2: localb2.LocalB2, film: Path
) -> None:
    house.upload(film)
    b2.faults.append(localb2.Fault(DELETE, **CAP, times=-1))
    with hire(shop) as worker:
        assert worker.wait(until_idle=True)
    b2.faults.clear()
    steps.clear_away(shop, now=daemon.now(), go_on=lambda: True)
    assert house.unaccounted() == set()


def test_a_stop_ends_the_longest_pause(shop: workshop.Workshop, b2: localb2.LocalB2) -> None:
    b2.faults.append(localb2.Fault(LIST, headers={"Retry-After": "9000"}))
    with hire(shop, seats=3) as worker:
        wait_for(lambda: b2.calls[LIST] == 1, "the poll that is told to wait")
        threading.Thread(target=worker.stop).start()
        assert not worker.wait()


def chunked(house: House, shop: workshop.Workshop, name: str = "film.mov", seconds: int = 40) -> int:
    """Discover and inspect a film of several chunks; return its video's id."""
    path = clip(house.folder / name, "-c:v", "mpeg4", "-g", "10", seconds=seconds, size="64x36", rate="10")
    house.upload(path)
    daemon.sweep_once(shop)
    assert hire(shop)._work()
    return len(stats.list_videos(shop.readings))


def held(worker: daemon.Daemon) -> list[tuple[int, str]]:
    return [(claim.video_id, claim.label) for claim, _ in worker._running.values()]


@pytest.mark.parametrize("late_seconds", [0, 120])  # of 40 s of film
def test_a_short_clip_overtakes_the_chunks_of_a_film_one_step_at_a_time_however_slow_the_machine(
    house: House,
    shop: workshop.Workshop,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    late_seconds: float,
) -> None:
    chunked(house, shop)
    worker = hire(shop, seats=2)
    while "video:2" not in [label for _, label in held(worker)][-1:]:
        worker._running.clear()
        worker._seated.clear()
        hold(worker, shop)
    hold(worker, shop)
    assert held(worker) == [(1, "video:2"), (1, "video:3")]
    assert not worker._work()  # what else the film needs comes later: it waits for a seat

    now = daemon.now
    monkeypatch.setattr(daemon, "now", lambda: now() + timedelta(seconds=late_seconds))
    house.upload(film, "clip.mov")
    daemon.sweep_once(shop)
    with worker._claiming:
        taken = worker._take(Beat())

    assert taken is not None
    assert (taken[0].video_id, taken[0].label) == (2, "inspect")
    house.upload(film, "another.mov")
    daemon.sweep_once(shop)
    assert not worker._work()  # a third would overtake the second as well


def test_a_step_that_only_moves_bytes_leaves_its_seat_to_the_next(
    house: House, shop: workshop.Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunked(house, shop)
    worker = hire(shop, seats=1)
    seen: list[list[str]] = []

    def perform(
        claim: ledger.Claim, shop: workshop.Workshop, beat: Beat, *, clock: object, seat: steps.Seat
    ) -> None:
        if claim.label == "video":
            assert not worker._work()  # the seat is taken
            seat.leave()
            assert worker._work()
        seen.append([label for _, label in held(worker)])

    monkeypatch.setattr(steps, "perform", perform)
    assert worker._work()
    assert seen == [["video", "audio"], ["video"]]


def test_steps_that_run_together_share_the_processors(
    house: House, shop: workshop.Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "cores", lambda: 8)
    chunked(house, shop)
    worker = hire(shop, seats=4)
    threads = []
    for _ in range(4):
        with worker._claiming:
            taken = worker._take(Beat())
        assert taken is not None
        threads.append((taken[0].label, taken[1]))
    # The sound takes next to nothing, and stands back.
    assert threads == [("video", 8), ("audio", 4), ("video:1", 4), ("video:2", 2)]


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(40, [8, 4, 2, 2, 8, 8]), (12, [8, 4, 8])],  # none is beside the first, for which a viewer waits
)
def test_the_last_chunks_of_a_film_have_all_processors_as_they_soon_run_alone(
    house: House, shop: workshop.Workshop, monkeypatch: pytest.MonkeyPatch, seconds: int, wanted: list[int]
) -> None:
    monkeypatch.setattr(config, "cores", lambda: 8)
    chunked(house, shop, seconds=seconds)
    worker = hire(shop, seats=20)
    threads = []
    with worker._claiming:
        while taken := worker._take(Beat()):
            threads += [taken[1]] if taken[0].kind == "video" else []
    assert threads == wanted


def test_a_plan_that_cannot_be_read_takes_no_seat_for_good(
    house: House, shop: workshop.Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> plan.Plan:
        raise ValueError("written by another version")

    chunked(house, shop)
    worker = hire(shop, seats=4)
    with worker._claiming:
        worker._take(Beat())
        worker._take(Beat())
        monkeypatch.setattr(plan, "load", load)
        with pytest.raises(ValueError, match="another version"):
            worker._take(Beat())
    assert [label for _, label in held(worker)] == ["video", "audio"]
    assert len(worker._seated) == 2


def test_an_attempt_that_is_over_leaves_no_other_ones_seat(house: House, shop: workshop.Workshop) -> None:
    chunked(house, shop)
    worker = hire(shop)
    claim, beat = hold(worker, shop)
    again = dataclasses.replace(claim, token="another")
    worker._running[claim.step_id] = again, beat

    worker._leave(claim)
    assert len(worker._seated) == 1
    worker._leave(again)
    assert len(worker._seated) == 0


def tidied_while(worker: daemon.Daemon, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Tidy the scratch folder, with `then` called when it was decided what is to be removed."""
    finished = stats.finished

    def decide(*arguments: object) -> set[int]:
        decided = finished(*arguments)  # type: ignore[arg-type]
        then()
        return decided

    with monkeypatch.context() as patched:
        patched.setattr(stats, "finished", decide)
        worker._tidy_scratch()


def test_a_step_that_begins_while_its_videos_folder_is_removed_keeps_its_own(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovered(house, shop, film)
    worker = hire(shop)
    while worker._work():
        pass
    assert stats.counts(shop.readings) == {"completed": 1}
    begun, tidied, kept = threading.Event(), threading.Event(), []

    def perform(claim: ledger.Claim, shop: workshop.Workshop, *_: object, **__: object) -> None:
        with shop.scratch.attempt(claim.video_id, claim.token) as folder:
            begun.set()
            assert tidied.wait(60)
            kept.append(folder.is_dir())

    seat = threading.Thread(target=worker._work)

    def requeue_and_begin() -> None:
        ledger.requeue(shop.db, ids=[1], from_scratch=True, now=daemon.now())
        monkeypatch.setattr(steps, "perform", perform)
        seat.start()
        begun.wait(0.3)  # in vain, if it may not begin yet

    shop.scratch.video(1)
    tidied_while(worker, monkeypatch, requeue_and_begin)
    tidied.set()
    seat.join()
    assert kept == [True]


def test_on_a_full_disk_what_waits_gives_way_to_what_is_worked_on(
    house: House, shop: workshop.Workshop, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discovered(house, shop, film, film)
    worker = hire(shop)
    assert worker._work()  # the first video is inspected, and waits
    assert worker._work()
    claim, _ = hold(worker, shop)
    worker._tidy_scratch()
    assert set(shop.scratch.video_ids()) == {1, 2}
    monkeypatch.setattr(leftovers, "LOW_DISK_BYTES", 2**60)
    worker._tidy_scratch()
    assert shop.scratch.video_ids() == [claim.video_id]


def test_no_step_is_begun_on_a_full_disk_until_there_is_room(
    house: House,
    shop: workshop.Workshop,
    film: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    monkeypatch.setattr(leftovers, "LEAST_DISK_BYTES", 2**60)
    caplog.set_level("INFO")
    discovered(house, shop, film)
    with hire(shop) as worker:
        wait_for(lambda: bool(stats.pauses(shop.readings, now=daemon.now())), "the pause to be told")
        (pause,) = stats.pauses(shop.readings, now=daemon.now())
        assert (pause.what, pause.code) == ("work", "disk_full")
        assert "MB left for" in pause.detail
        wait_for(lambda: stats.pauses(shop.readings, now=daemon.now())[0].until > pause.until, "another look")
        assert [step.attempts for step in stats.steps(shop.readings, 1)] == [0]
        monkeypatch.setattr(leftovers, "LEAST_DISK_BYTES", 0)
        assert worker.wait(until_idle=True)
        assert not stats.pauses(shop.readings, now=daemon.now())
    assert stats.counts(shop.readings) == {"completed": 1}
    # However often it is looked at, and by however many seats.
    assert [caplog.text.count(word) for word in ("work_paused", "work_resumed", "seat_paused")] == [1, 1, 0]
