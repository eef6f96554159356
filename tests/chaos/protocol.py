"""The ledger's protocol as a state machine: what may happen in any order, and what must hold after each of it.

The rules do what daemons, uploaders, operators and crashes do, on a real SQLite file with a clock of the machine's
own. A model beside it, of a few dictionaries, knows who owns which step. Heavy: tests/chaos is run by .ci/run, not
by `make test`; `mutants.py` puts this machine to the test.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.engine import Engine

from watcher import database, ledger, stats
from watcher.models import NO_RUN, UNFINISHED, Base, OutputKind, StepKind

LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
NAMES = ("a.mov", "b.mov")
WORKERS = ("w1", "w2")
# How an attempt that was started may end, in the words of the events.
ENDS = {"finished", "retried", "handed_back", "rescued", "failed", "skipped", "cancelled"}
# A commit waits for the disk, and this waits for thousands.
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None

claims = st.runner().flatmap(lambda machine: st.sampled_from(machine.claims))
videos = st.runner().flatmap(lambda machine: st.sampled_from(sorted(machine.videos)))


@contextmanager
def table() -> Iterator[tuple[Engine, Engine]]:
    """Give an empty status table, to write and to read. One for all walks: making one takes longer than a walk."""
    with tempfile.TemporaryDirectory(prefix="protocol-", dir=_FAST) as folder:
        url = f"sqlite:///{folder}/watcher.db"
        db = database.open_for_writing(url)
        database.upgrade(db)
        readings = database.open_for_reading(url)
        try:
            yield db, readings
        finally:
            readings.dispose()
            db.dispose()


class Protocol(RuleBasedStateMachine):
    """Two workers, two names, and everything that can happen to them."""

    def __init__(self, db: Engine, readings: Engine) -> None:
        super().__init__()
        self.db, self.readings = db, readings
        with db.begin() as connection:
            for written in reversed(Base.metadata.sorted_tables):
                connection.execute(written.delete())
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.serial = 0
        self.bucket: dict[str, list[str]] = {name: [] for name in NAMES}  # versions by name, the newest last
        self.videos: dict[int, tuple[str, str]] = {}  # file id and name
        self.status: dict[int, tuple[str, str | None]] = {}  # status and reason
        self.owner: dict[int, ledger.Claim] = {}  # by step
        self.claims: list[ledger.Claim] = []  # all that were ever made
        self.finished: set[str] = set()  # tokens of attempts that won
        self.lost: set[str] = set()  # tokens of attempts that ended otherwise
        self.void: set[str] = set()  # file ids that nobody may read any more
        self.told: list[tuple[int, str | None, str]] = []
        self.workers: dict[str, str] = {}  # by token
        self.taken: set[str] = set()  # tokens of attempts that were taken from their workers
        self.seen_at: dict[int, datetime] = {}

    def teardown(self) -> None:
        self.everything_ends()

    # What happens in the bucket, and how it is noticed.

    @initialize()
    def first_upload(self) -> None:
        self.upload(NAMES[0])
        self.sweep()

    @rule(name=st.sampled_from(NAMES))
    def upload(self, name: str) -> None:
        self.bucket[name].append(f"f{self._next()}")

    @rule(name=st.sampled_from(NAMES))
    def overwrite_and_sweep(self, name: str) -> None:
        self.upload(name)
        self.sweep()

    @rule(name=st.sampled_from(NAMES))
    def delete_the_newest(self, name: str) -> None:
        if self.bucket[name]:
            self.bucket[name].pop()

    @rule()
    def sweep(self) -> None:
        current = {name: versions[-1] for name, versions in self.bucket.items() if versions}
        known = {file_id: video_id for video_id, (file_id, _) in self.videos.items()}
        ledger.record_page(
            self.db,
            bucket_id="b",
            bucket="b",
            prefix="",
            found=[
                ledger.Found(file_id, name, 9, "video/mp4", None, self.now)
                for name, file_id in current.items()
            ],
            unread=[],
            cursor=None,
            seen=len(current),
            transactions={"C": 1},
            as_of=stats.last_event(self.readings),
            now=self.now,
        )
        for name, file_id in current.items():
            if file_id not in known:
                self._end_others(name, None)
                video_id = stats.find_ids(self.readings, name)[0]
                self.videos[video_id] = file_id, name
                self.status[video_id] = "pending", None
            elif self.status[known[file_id]][1] in ("superseded", "source_hidden"):
                self._end_others(name, known[file_id])
                self.status[known[file_id]] = "pending", None

    @precondition(lambda self: self.videos)
    @rule(video_id=videos, reason=st.sampled_from(["source_deleted", "source_hidden"]))
    def notice_that_it_is_gone(self, video_id: int, reason: str) -> None:
        is_over = self.status[video_id][0] not in UNFINISHED
        assert ledger.cancel_absent(self.db, video_id, reason=reason, now=self.now) != is_over
        if not is_over:
            self._end_video(video_id, "cancelled", reason, voids=True)

    # What workers do.

    @rule(worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> None:
        self._claimed(ledger.claim(self.db, worker=worker, now=self.now, lease=LEASE), worker)

    @rule(worker=st.sampled_from(WORKERS))
    def claim_and_finish(self, worker: str) -> None:
        made = ledger.claim(self.db, worker=worker, now=self.now, lease=LEASE)
        self._claimed(made, worker)
        if made is not None:
            self.finish(made)

    @precondition(lambda self: self.videos)
    @rule(worker=st.sampled_from(WORKERS), video_id=videos)
    def claim_announce(self, worker: str, video_id: int) -> None:
        made = ledger.claim(
            self.db, worker=worker, now=self.now, lease=LEASE, only=(video_id, StepKind.ANNOUNCE)
        )
        assert made is None or (made.video_id, made.kind) == (video_id, StepKind.ANNOUNCE)
        self._claimed(made, worker)

    @precondition(lambda self: self.claims)
    @rule(claim=claims, fraction=st.floats(0, 1))
    def renew(self, claim: ledger.Claim, fraction: float) -> None:
        won = ledger.renew(self.db, claim, fraction=fraction, now=self.now, lease=LEASE)
        assert won == self._owns(claim)
        if won:
            self.seen_at[claim.step_id] = self.now

    @precondition(lambda self: self.claims)
    @rule(claim=claims, ordinal=st.integers(0, 1))
    def publish(self, claim: ledger.Claim, ordinal: int) -> None:
        if claim.kind in (StepKind.AUDIO, StepKind.COPY):
            outputs = [self._output(claim, OutputKind.AUDIO_PART, ordinal)]
            assert ledger.publish(self.db, claim, outputs=outputs, now=self.now) == self._owns(claim)

    @precondition(lambda self: self.claims)
    @rule(claim=claims)
    def retract(self, claim: ledger.Claim) -> None:
        if claim.kind == StepKind.AUDIO:
            assert ledger.retract(self.db, claim, now=self.now) == self._owns(claim)

    @precondition(lambda self: self.claims)
    @rule(claim=claims)
    def finish(self, claim: ledger.Claim) -> None:
        if claim.kind == StepKind.INSPECT:
            won = ledger.finish_inspect(
                self.db,
                claim,
                media={},
                duration_seconds=8.0,
                audio_language=None,
                plan={},
                steps=self._plan(),
                now=self.now,
            )
        elif claim.kind == StepKind.ANNOUNCE:
            seen = {part.file_id for part in stats.parts(self.readings, claim.video_id)}
            outputs = [self._output(claim, OutputKind.HLS)]
            won = ledger.finish_announce(
                self.db, claim, outputs=outputs, listed={"720p.m3u8"}, seen=seen, now=self.now
            )
        else:
            won = ledger.finish(self.db, claim, outputs=self._made(claim), now=self.now)
        assert won == self._owns(claim)
        if won:
            del self.owner[claim.step_id]
            self.finished.add(claim.token)
            if claim.kind == StepKind.PACKAGE:
                self._complete(claim)

    @precondition(lambda self: self.claims)
    @rule(claim=claims, retry_after=st.none() | st.integers(0, 120))
    def fail(self, claim: ledger.Claim, retry_after: int | None) -> None:
        is_final = retry_after is None or claim.attempt >= MAX_ATTEMPTS
        won = ledger.fail(
            self.db,
            claim,
            code="encode_failed",
            detail="",
            hint="",
            retry_at=None if is_final else self.now + timedelta(seconds=retry_after or 0),
            now=self.now,
        )
        assert won == self._owns(claim)
        if won:
            self._lose(claim)
            if is_final:
                self._end_video(claim.video_id, "failed", None)

    @precondition(lambda self: self.claims)
    @rule(claim=claims, code=st.sampled_from(["shutdown", "b2_unavailable"]), wait=st.integers(0, 90))
    def hand_back(self, claim: ledger.Claim, code: str, wait: int) -> None:
        run_after = self.now + timedelta(seconds=wait)
        won = ledger.hand_back(self.db, claim, code=code, detail="", run_after=run_after, now=self.now)
        assert won == self._owns(claim)
        if won:
            self._lose(claim)

    @precondition(lambda self: self.claims)
    @rule(claim=claims)
    def skip(self, claim: ledger.Claim) -> None:
        if claim.kind != StepKind.INSPECT:
            return
        won = ledger.skip(self.db, claim, reason="image", detail="", now=self.now)
        assert won == self._owns(claim)
        if won:
            del self.owner[claim.step_id]
            self.finished.add(claim.token)
            self._end_video(claim.video_id, "skipped", "image")

    @precondition(lambda self: self.claims)
    @rule(claim=claims)
    def find_the_source_gone(self, claim: ledger.Claim) -> None:
        won = ledger.cancel_gone(self.db, claim, now=self.now)
        assert won == self._owns(claim)
        if won:
            self._lose(claim)
            self._end_video(claim.video_id, "cancelled", "source_deleted", voids=True)

    # What befalls workers.

    @rule(worker=st.sampled_from(WORKERS))
    def crash(self, worker: str) -> None:
        held = {step_id for step_id, claim in self.owner.items() if self.workers[claim.token] == worker}
        released = ledger.release_worker(self.db, worker, now=self.now, max_attempts=MAX_ATTEMPTS, hint="")
        self._released(released, held)
        # It may have gone on for a while after a step was taken from it: only now is it certain to have ended.
        self.lost |= {token for token in self.taken if self.workers[token] == worker}
        # Of what it did for videos that were cancelled nobody has told when it ended.
        self.lost |= {
            claim.token
            for claim in self.claims
            if self.workers[claim.token] == worker and self.status[claim.video_id][0] == "cancelled"
        }

    @rule(seconds=st.sampled_from([0, 1, 20, 59, 61, 600]))
    def tick(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        late = {step for step in self.owner if self.seen_at[step] + LEASE < self.now}
        self._released(ledger.rescue(self.db, now=self.now, max_attempts=MAX_ATTEMPTS, hint=""), late)

    # What operators and the clean-up do.

    @precondition(lambda self: self.videos)
    @rule(video_id=videos, from_scratch=st.booleans())
    def requeue(self, video_id: int, from_scratch: bool) -> None:
        self._requeued(
            ledger.requeue(self.db, ids=[video_id], from_scratch=from_scratch, now=self.now),
            {video_id} if self._may_requeue(video_id, from_scratch) else set(),
        )

    @rule(code=st.none() | st.sampled_from(["encode_failed", "worker_lost"]))
    def requeue_what_failed(self, code: str | None) -> None:
        failed = {
            video_id
            for video_id, (status, _) in self.status.items()
            if status == "failed" and code in (None, stats.video(self.readings, video_id).error_code)  # type: ignore[union-attr]
        }
        done = ledger.requeue(self.db, error_codes=[code] if code else [], all_failed=not code, now=self.now)
        self._requeued(done, failed)

    @rule()
    def clear_away(self) -> None:
        live = self._rows("SELECT id FROM outputs WHERE obsolete_at IS NULL ORDER BY id")
        for row in self._rows("SELECT id, file_id FROM outputs"):
            ledger.forget_output(self.db, row.id, file_id=row.file_id)
        assert self._rows("SELECT id FROM outputs ORDER BY id") == live
        for row in stats.debris(self.readings, now=self.now, limit=1000):
            ledger.forget_debris(self.db, row.token, since=row.since)
            self.lost.discard(row.token)

    # What must hold after each of these.

    @invariant()
    def nothing_is_forgotten_and_every_status_is_as_it_should_be(self) -> None:
        rows = self._rows("SELECT id, status, reason, progress, completed_at, error_code FROM videos")
        assert {row.id: (row.status, row.reason) for row in rows} == self.status
        for row in rows:
            assert -1e-9 <= row.progress <= 1 + 1e-9
            assert (row.completed_at is not None) == (row.status == "completed")
            assert (row.error_code is not None) == (row.status == "failed")

    @invariant()
    def each_running_step_has_one_owner_and_no_other_step_has_any(self) -> None:
        rows = self._rows("SELECT id, token, status, attempts, lease_until, worker FROM steps")
        running = {row.id: row.token for row in rows if row.status == "running"}
        assert running == {step_id: claim.token for step_id, claim in self.owner.items()}
        for row in rows:
            assert 0 <= row.attempts <= MAX_ATTEMPTS
            held = (row.token, row.lease_until, row.worker)
            assert (None not in held) if row.status == "running" else (held == (None, None, None))

    @invariant()
    def an_unfinished_video_has_a_next_step_and_a_finished_one_has_none(self) -> None:
        rows = self._rows("SELECT video_id, status, stage, kind, ordinal FROM steps")
        for video_id, (status, _) in self.status.items():
            mine = [row for row in rows if row.video_id == video_id]
            going = [row for row in mine if row.status in ("pending", "running")]
            assert bool(going) == (status in UNFINISHED), (video_id, status)
            if status not in UNFINISHED:
                assert not [row for row in mine if row.status == "blocked"]
            unfinished = {row.stage for row in mine if row.status not in ("completed", "cancelled")}
            content = [row for row in going if row.kind != "announce"]
            assert not content or {row.stage for row in content} == {min(unfinished)}
            made = {(row.kind, row.ordinal) for row in mine if row.status == "completed"}
            is_stitched = any(row.kind == "stitch" for row in going)
            assert not is_stitched or {("video", 0), ("audio", 0)} <= made

    @invariant()
    def only_what_winners_made_may_be_read(self) -> None:
        rows = self._rows("SELECT video_id, kind, name, file_id, token, run, obsolete_at FROM outputs")
        live = [row for row in rows if row.obsolete_at is None]
        assert len({row.name for row in live}) == len(live)
        holding = {claim.token for claim in self.owner.values()}
        runs = {row.id: row.run for row in self._rows("SELECT id, run FROM videos")}
        for row in live:
            assert row.token in self.finished or row.token in holding or row.run == NO_RUN
            assert row.file_id not in self.void
            # What counts no more stays only while playlists may name it.
            assert row.run != NO_RUN or self.status[row.video_id][0] in UNFINISHED
            if self.status[row.video_id][0] == "cancelled":
                assert row.run != runs[row.video_id]
            if self.status[row.video_id][0] == "completed":
                assert row.run == runs[row.video_id]
        self.void |= {row.file_id for row in rows if row.obsolete_at is not None}
        for video_id, state in self.status.items():
            films = [row for row in live if (row.video_id, row.kind) == (video_id, "mp4")]
            assert len(films) == 1 if state == ("completed", None) else len(films) <= 1

    @invariant()
    def what_every_lost_attempt_left_is_noted_once(self) -> None:
        noted = [row.token for row in self._rows("SELECT token FROM debris")]
        assert sorted(noted) == sorted(self.lost)

    @invariant()
    def the_story_only_grows_and_every_chapter_follows_from_the_last(self) -> None:
        told = [tuple(row) for row in self._rows("SELECT video_id, step, what FROM events ORDER BY id")]
        assert told[: len(self.told)] == self.told
        self.told = told
        running: set[tuple[int, str]] = set()
        for video_id, step, what in told:
            if step is None:
                if what in ("cancelled", "revived"):
                    running = {each for each in running if each[0] != video_id}
            elif what == "started":
                assert (video_id, step) not in running
                running.add((video_id, step))
            else:
                assert what in ENDS
                assert (video_id, step) in running
                running.discard((video_id, step))
                if what in ("failed", "skipped", "cancelled"):
                    running = {each for each in running if each[0] != video_id}
        assert len(running) == len(self.owner)

    def everything_ends(self) -> None:
        """Once nothing goes wrong any more, all that is unfinished is finished, within a bounded number of steps."""
        for worker in WORKERS:
            self.crash(worker)
        for _ in range(60 * (len(self.videos) + 1)):
            self.now += timedelta(seconds=30)
            made = ledger.claim(self.db, worker="w1", now=self.now, lease=LEASE)
            if made is None and not stats.count_unfinished(self.readings):
                break
            self._claimed(made, "w1")
            if made is not None:
                self.finish(made)
        assert not stats.count_unfinished(self.readings)
        assert not self.owner
        self.check_all()

    def check_all(self) -> None:
        self.nothing_is_forgotten_and_every_status_is_as_it_should_be()
        self.each_running_step_has_one_owner_and_no_other_step_has_any()
        self.an_unfinished_video_has_a_next_step_and_a_finished_one_has_none()
        self.only_what_winners_made_may_be_read()
        self.what_every_lost_attempt_left_is_noted_once()

    # The model's own bookkeeping.

    def _next(self) -> int:
        self.serial += 1
        return self.serial

    def _owns(self, claim: ledger.Claim) -> bool:
        held = self.owner.get(claim.step_id)
        return held is not None and held.token == claim.token

    def _claimed(self, made: ledger.Claim | None, worker: str) -> None:
        if made is None:
            return
        assert made.step_id not in self.owner
        assert self.status[made.video_id][0] in UNFINISHED
        assert self.videos[made.video_id] == (made.file_id, made.name)
        self.owner[made.step_id] = made
        self.seen_at[made.step_id] = self.now
        self.claims.append(made)
        self.workers[made.token] = worker
        self.status[made.video_id] = "running", None

    def _lose(self, claim: ledger.Claim) -> None:
        del self.owner[claim.step_id]
        self.lost.add(claim.token)

    def _end_video(self, video_id: int, status: str, reason: str | None, *, voids: bool = False) -> None:
        self.status[video_id] = status, reason
        for claim in [claim for claim in self.owner.values() if claim.video_id == video_id]:
            self._lose(claim)
        if voids:
            run = self._rows(f"SELECT run FROM videos WHERE id = {video_id}")[0].run
            live = self._rows(
                f"SELECT id FROM outputs WHERE video_id = {video_id} AND run = {run} AND obsolete_at IS NULL"
            )
            assert not live

    def _end_others(self, name: str, but: int | None) -> None:
        for video_id, (_, its_name) in self.videos.items():
            if its_name == name and video_id != but and self.status[video_id][0] in UNFINISHED:
                self._end_video(video_id, "cancelled", "superseded", voids=True)

    def _complete(self, claim: ledger.Claim) -> None:
        self.status[claim.video_id] = "completed", None
        for video_id, (_, name) in self.videos.items():
            if name == claim.name and video_id != claim.video_id and self.status[video_id][0] == "completed":
                self.status[video_id] = "completed", "superseded"

    def _may_requeue(self, video_id: int, from_scratch: bool) -> bool:
        status, _ = self.status[video_id]
        return status in ("failed", "skipped") or (status == "completed" and from_scratch)

    def _requeued(self, done: ledger.Requeued, expected: set[int]) -> None:
        assert set(done.requeued) == expected
        for video_id in expected:
            self.status[video_id] = "pending", None

    def _released(self, released: list[ledger.Released], expected: set[int]) -> None:
        """Note what was taken from workers; a video that fails takes its other steps along before their turn."""
        failed = {each.video_id for each in released if each.is_failed}
        kept = {step for step in expected if self.owner[step].video_id not in failed}
        assert kept <= {each.step_id for each in released} <= expected
        for each in released:
            assert each.is_failed == (self.owner[each.step_id].attempt >= MAX_ATTEMPTS)
            self.taken.add(self.owner[each.step_id].token)
            self._lose(self.owner[each.step_id])
        for video_id in failed:
            self._end_video(video_id, "failed", None)

    def _plan(self) -> list[ledger.NewStep]:
        return [
            ledger.NewStep(StepKind.VIDEO, 0, 1, 0.3, self.now),
            ledger.NewStep(StepKind.VIDEO, 1, 1, 0.3, self.now + timedelta(seconds=4)),
            ledger.NewStep(StepKind.AUDIO, 0, 1, 0.1, self.now),
            ledger.NewStep(StepKind.ANNOUNCE, 0, 1, 0.0, self.now),
            ledger.NewStep(StepKind.STITCH, 1, 1, 0.0, self.now + timedelta(seconds=4)),
            ledger.NewStep(StepKind.PACKAGE, 0, 2, 0.28, self.now + timedelta(seconds=8)),
        ]

    def _made(self, claim: ledger.Claim) -> list[ledger.NewOutput]:
        if claim.kind == StepKind.VIDEO:
            return [self._output(claim, OutputKind.VIDEO_PART, claim.ordinal)]
        if claim.kind == StepKind.AUDIO:
            return [self._output(claim, OutputKind.AUDIO_PART, 0)]
        if claim.kind == StepKind.STITCH:
            return [self._output(claim, OutputKind.MP4_PART)]
        return [self._output(claim, kind) for kind in (OutputKind.MP4, OutputKind.POSTER, OutputKind.HLS)]

    def _output(self, claim: ledger.Claim, kind: OutputKind, ordinal: int = 0) -> ledger.NewOutput:
        stable = kind in (OutputKind.MP4, OutputKind.POSTER, OutputKind.HLS)
        name = f"{claim.name}/{kind}" if stable else f"{claim.name}/parts/{kind}-{ordinal}-{claim.token}"
        file_id = f"o{self._next()}"
        return ledger.NewOutput(
            kind, ordinal, 720, "b", name, file_id, 9, "ab", "video/mp4", 1280, 720, 4.0, 9
        )

    def _rows(self, query: str) -> list[Any]:
        with self.readings.begin() as connection:
            return list(connection.exec_driver_sql(query).all())
