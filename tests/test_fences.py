"""What a change to one video leaves alone: every other video, bucket, worker and attempt.

`tests/chaos/mutants.py` makes each condition of the ledger always true in turn, and wants somebody to notice. A
whole town of videos in every state stands by, twice: in two buckets, with the same names and file ids.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from watcher import database, ledger, stats
from watcher.ledger import _steps
from watcher.models import NO_RUN, OutputKind, StepKind

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)
LEASE = timedelta(seconds=60)
BUCKETS = ("b2", "b1")  # the first has the lower ids
LISTED = {"new.mov/playlist-0", "running.mov/playlist-0"}  # the media playlists that announcements here name
STATES = ("pending", "waiting", "running", "failed", "stalled", "completed", "skipped", "cancelled")


@dataclass
class Town:
    """A status table, and what is known of it by bucket and state."""

    db: Engine
    videos: dict[tuple[str, str], int] = field(default_factory=dict)
    claims: dict[tuple[str, str, StepKind], ledger.Claim] = field(default_factory=dict)

    def rows(self, table: str, where: str = "1") -> list[dict[str, Any]]:
        with self.db.connect() as connection:
            rows = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE {where}")
            return [dict(row) for row in rows.mappings()]

    def others(self, video_id: int) -> dict[str, list[dict[str, Any]]]:
        """Return all that is written of all other videos."""
        tables = {"steps": "video_id", "outputs": "video_id", "debris": "video_id", "events": "video_id"}
        return {
            table: self.rows(table, f"{column} != {video_id}")
            for table, column in {"videos": "id", **tables}.items()
        }

    def of(self, video_id: int) -> dict[str, list[dict[str, Any]]]:
        return {
            "video": self.rows("videos", f"id = {video_id}"),
            **{
                table: self.rows(table, f"video_id = {video_id}")
                for table in ("steps", "outputs", "debris", "events")
            },
        }

    def step(self, video_id: int, kind: str, ordinal: int = 0) -> dict[str, Any]:
        (row,) = self.rows("steps", f"video_id = {video_id} AND kind = '{kind}' AND ordinal = {ordinal}")
        return row

    def page(self, bucket: str, *found: ledger.Found, **more: Any) -> ledger.Recorded:
        asked = {
            "prefix": "",
            "unread": [],
            "cursor": None,
            "seen": len(found),
            "transactions": {},
            "as_of": stats.last_event(self.db),
            "now": NOW,
        }
        return ledger.record_page(self.db, bucket_id=bucket, bucket=bucket, found=found, **{**asked, **more})

    def upload(self, bucket: str, name: str, file_id: str | None = None) -> int:
        self.page(bucket, listed(name, file_id))
        return int(self.rows("videos", f"bucket = '{bucket}' AND file_id = '{file_id or name}'")[0]["id"])

    def claim(self, bucket: str, state: str, kind: StepKind) -> ledger.Claim:
        video_id = self.videos[bucket, state]
        made = ledger.claim(self.db, worker=f"{bucket}-{state}", now=NOW, lease=LEASE, only=(video_id, kind))
        assert made is not None
        assert (made.video_id, made.kind) == (video_id, kind)
        self.claims[bucket, state, kind] = made
        return made


def listed(name: str, file_id: str | None = None) -> ledger.Found:
    return ledger.Found(file_id or name, name, 9, "video/mp4", None, NOW)


def output(
    claim: ledger.Claim, kind: OutputKind, ordinal: int = 0, name: str | None = None
) -> ledger.NewOutput:
    stem = f"{claim.name}/{name or kind}-{ordinal}"
    file_id = f"{claim.bucket_id}-{claim.token}-{stem}"
    return ledger.NewOutput(
        kind, ordinal, 720, claim.bucket_id, stem, file_id, 9, "ab", "video/mp4", 1280, 720, 4.0, 9
    )


def found_out(db: Engine, claim: ledger.Claim, *, sound: bool = True) -> None:
    steps = [
        ledger.NewStep(StepKind.VIDEO, 0, 1, 0.3, NOW),
        ledger.NewStep(StepKind.VIDEO, 1, 1, 0.3, NOW + timedelta(seconds=4)),
        *([ledger.NewStep(StepKind.AUDIO, 0, 1, 0.1, NOW)] if sound else []),
        ledger.NewStep(StepKind.STILLS, 0, 1, 0.1, NOW),
        ledger.NewStep(StepKind.ANNOUNCE, 0, 1, 0.0, NOW),
        ledger.NewStep(StepKind.PACKAGE, 0, 2, 0.1, NOW + timedelta(seconds=8)),
    ]
    assert ledger.finish_inspect(
        db, claim, media={}, duration_seconds=8.0, audio_language=None, plan={}, steps=steps, now=NOW
    )


def end(db: Engine, claim: ledger.Claim, code: str, retry_at: datetime | None = None) -> None:
    assert ledger.fail(db, claim, code=code, detail="", hint="", retry_at=retry_at, now=NOW)


def hand_back(
    db: Engine, claim: ledger.Claim, *, until: datetime = LATER, code: str = "b2_unavailable"
) -> None:
    assert ledger.hand_back(db, claim, code=code, detail="", run_after=until, now=NOW)


def build(town: Town, bucket: str, state: str) -> None:
    """Bring one video of a bucket to a state."""
    db = town.db
    town.videos[bucket, state] = town.upload(bucket, f"{state}.mov")
    if state == "pending":
        return
    inspect = town.claim(bucket, state, StepKind.INSPECT)
    if state == "skipped":
        assert ledger.skip(db, inspect, reason="image", detail="", now=NOW)
        return
    found_out(db, inspect)
    video = town.claim(bucket, state, StepKind.VIDEO)
    assert ledger.finish(db, video, outputs=[output(video, OutputKind.VIDEO_PART)], now=NOW)
    if state == "waiting":
        hand_back(db, town.claim(bucket, state, StepKind.AUDIO))
        return
    if state == "completed":
        for kind, made in (
            (StepKind.AUDIO, OutputKind.AUDIO_PART),
            (StepKind.STILLS, OutputKind.POSTER_PART),
            (StepKind.VIDEO, OutputKind.VIDEO_PART),
        ):
            claim = town.claim(bucket, state, kind)
            assert ledger.finish(db, claim, outputs=[output(claim, made, claim.ordinal)], now=NOW)
        package(town, bucket, state)
        return
    end(db, town.claim(bucket, state, StepKind.VIDEO), "encode_failed", NOW)
    audio = town.claim(bucket, state, StepKind.AUDIO)
    assert ledger.publish(db, audio, outputs=[output(audio, OutputKind.AUDIO_PART)], now=NOW)
    town.claim(bucket, state, StepKind.ANNOUNCE)
    town.claim(bucket, state, StepKind.STILLS)
    if state in ("failed", "stalled"):
        end(db, audio, {"failed": "encode_failed", "stalled": "stalled"}[state])
    if state == "cancelled":
        assert ledger.cancel_absent(db, town.videos[bucket, state], reason="source_hidden", now=NOW)


def package(town: Town, bucket: str, state: str, *more: OutputKind) -> None:
    """Announce and complete a video whose content is there."""
    announce = town.claim(bucket, state, StepKind.ANNOUNCE)
    seen = {row["file_id"] for row in town.rows("outputs")}
    outputs = [output(announce, OutputKind.HLS)]
    assert ledger.finish_announce(town.db, announce, outputs=outputs, listed=LISTED, seen=seen, now=NOW)
    claim = town.claim(bucket, state, StepKind.PACKAGE)
    outputs = [output(claim, kind) for kind in (OutputKind.MP4, *more)]
    assert ledger.finish(town.db, claim, outputs=outputs, now=NOW)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    path = tmp_path_factory.mktemp("town") / "watcher.db"
    town = Town(database.open_for_writing(f"sqlite:///{path}"))
    database.upgrade(town.db)
    for bucket in BUCKETS:
        for state in STATES:
            build(town, bucket, state)
    town.db.dispose()
    return path, town


@pytest.fixture
def town(built: tuple[Path, Town], tmp_path: Path) -> Iterator[Town]:
    path, made = built
    shutil.copy(path, tmp_path / "watcher.db")
    db = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    yield Town(db, dict(made.videos), dict(made.claims))
    db.dispose()


def of_attempt(act: Callable[[Engine, ledger.Claim], object], kind: StepKind) -> Callable[[Town], int]:
    """Return a change that the attempt at `kind` of the running video makes."""

    def change(town: Town) -> int:
        claim = town.claims["b1", "running", kind]
        act(town.db, claim)
        return claim.video_id

    return change


def of_video(state: str, act: Callable[[Town, int], object]) -> Callable[[Town], int]:
    """Return a change to the video in a state."""

    def change(town: Town) -> int:
        video_id = town.videos["b1", state]
        act(town, video_id)
        return video_id

    return change


def adopt(town: Town, state: str, *, bucket: str = "b1") -> bool:
    claim = town.claims[bucket, state, StepKind.INSPECT]
    outputs = [output(claim, OutputKind.MP4, name="found")]
    return ledger.adopt(
        town.db,
        bucket,
        f"{state}.mov",
        outputs=outputs,
        facts={},
        token="found",
        now=LATER,
    )


def after_an_outage(town: Town, video_id: int) -> None:
    claim = ledger_claim(town, video_id, StepKind.AUDIO, LATER)
    assert claim.outages
    assert ledger.finish(town.db, claim, outputs=[], now=LATER)


def complete(town: Town, video_id: int) -> None:
    for kind in (StepKind.AUDIO, StepKind.STILLS):
        assert ledger.finish(town.db, town.claims["b1", "running", kind], outputs=[], now=NOW)
    assert ledger.finish(town.db, town.claim("b1", "running", StepKind.VIDEO), outputs=[], now=NOW)
    hand_back(town.db, town.claims["b1", "running", StepKind.ANNOUNCE], until=NOW, code="shutdown")
    package(town, "b1", "running", OutputKind.AUDIO_PART)
    assert town.rows("videos", f"id = {video_id}")[0]["status"] == "completed"


CHANGES: dict[str, Callable[[Town], int]] = {
    "claim": of_video("pending", lambda town, _: town.claim("b1", "pending", StepKind.INSPECT)),
    "finish inspect": of_video(
        "pending", lambda town, _: found_out(town.db, town.claim("b1", "pending", StepKind.INSPECT))
    ),
    "renew": of_attempt(
        lambda db, claim: ledger.renew(db, claim, fraction=0.5, now=LATER, lease=LEASE), StepKind.AUDIO
    ),
    "publish": of_attempt(
        lambda db, claim: ledger.publish(
            db, claim, outputs=[output(claim, OutputKind.AUDIO_PART, 1)], now=NOW
        ),
        StepKind.AUDIO,
    ),
    "retract": of_attempt(lambda db, claim: ledger.retract(db, claim, now=NOW), StepKind.AUDIO),
    "finish": of_attempt(
        lambda db, claim: ledger.finish(
            db,
            claim,
            outputs=[output(claim, OutputKind.AUDIO_PART, 1)],
            sound=ledger.NewSound(-14.0, -1.0, 0.0),
            now=NOW,
        ),
        StepKind.AUDIO,
    ),
    "finish after an outage": of_video("waiting", after_an_outage),
    "finish announce": of_attempt(
        lambda db, claim: ledger.finish_announce(
            db, claim, outputs=[output(claim, OutputKind.HLS)], listed=LISTED, seen=set(), now=NOW
        ),
        StepKind.ANNOUNCE,
    ),
    "complete": of_video("running", complete),
    "retry": of_attempt(lambda db, claim: end(db, claim, "encode_failed", LATER), StepKind.AUDIO),
    "fail": of_attempt(lambda db, claim: end(db, claim, "encode_failed"), StepKind.AUDIO),
    "hand back": of_attempt(hand_back, StepKind.AUDIO),
    "note lost": of_attempt(lambda db, claim: ledger.note_lost(db, claim, now=NOW), StepKind.AUDIO),
    "find gone": of_attempt(lambda db, claim: ledger.cancel_gone(db, claim, now=NOW), StepKind.AUDIO),
    "cancel absent": of_video(
        "running", lambda town, video: ledger.cancel_absent(town.db, video, reason="source_hidden", now=NOW)
    ),
    "revive": of_video("cancelled", lambda town, _: town.page("b1", listed("cancelled.mov"))),
    "requeue": of_video("failed", lambda town, video: ledger.requeue(town.db, ids=[video], now=NOW)),
    "requeue one code": of_video("stalled", lambda town, _: town_requeue_here(town, error_codes=["stalled"])),
    "requeue from scratch": of_video(
        "completed", lambda town, video: ledger.requeue(town.db, ids=[video], from_scratch=True, now=NOW)
    ),
    "requeue what was skipped": of_video(
        "skipped", lambda town, video: ledger.requeue(town.db, ids=[video], now=NOW)
    ),
    "adopt": of_video("running", lambda town, _: adopt(town, "running")),
    "adopt anew": of_video("completed", lambda town, _: adopt(town, "completed")),
    "note a stray": of_video(
        "running",
        lambda town, _: ledger.note_stray(town.db, "b1", "running.mov", token="stray", now=NOW),
    ),
    "a worker dies": of_video(
        "running",
        lambda town, _: ledger.release_worker(town.db, "b1-running", now=NOW, max_attempts=3, hint=""),
    ),
    "a worker dies for the last time": of_video(
        "running",
        lambda town, _: ledger.release_worker(town.db, "b1-running", now=NOW, max_attempts=1, hint=""),
    ),
    "forget debris": of_video("failed", lambda town, video: forget(town, "debris", video)),
    "forget outputs": of_video("failed", lambda town, video: forget(town, "outputs", video)),
}


def town_requeue_here(town: Town, **which: Any) -> None:
    """Requeue what is chosen, once the other bucket's are gone from the choice."""
    with town.db.begin() as connection:
        connection.exec_driver_sql("UPDATE videos SET status = 'skipped' WHERE bucket = 'b2'")
    done = ledger.requeue(town.db, now=NOW, **which)
    assert len(done.requeued) == 1
    with town.db.begin() as connection:
        for (_, state), video_id in town.videos.items():
            connection.exec_driver_sql(
                "UPDATE videos SET status = ? WHERE bucket = 'b2' AND id = ?",
                ({"stalled": "failed", "waiting": "running"}.get(state, state), video_id),
            )


def forget_debris(db: Engine, row: dict[str, Any]) -> None:
    ledger.forget_debris(db, row["token"], since=datetime.fromisoformat(row["since"]))


def forget_output(db: Engine, row: dict[str, Any]) -> None:
    ledger.forget_output(db, row["id"], file_id=row["file_id"])


def forget(town: Town, table: str, video_id: int) -> None:
    rows = town.rows(table, f"video_id = {video_id}")
    act = {"debris": forget_debris, "outputs": forget_output}[table]
    for row in rows:
        act(town.db, row)


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_one_video_changes_no_other(town: Town, change: str) -> None:
    ids = set(town.videos.values())
    everything = {video_id: town.of(video_id) for video_id in ids}

    changed = CHANGES[change](town)

    assert {video_id for video_id in ids if town.of(video_id) != everything[video_id]} == {changed}


def test_a_new_version_ends_the_old_one_of_its_bucket_and_name_and_no_other(town: Town) -> None:
    old = town.videos["b1", "running"]
    before = town.others(old)

    new = town.upload("b1", "running.mov", "newer")

    after = town.others(old)
    assert [row["status"] for row in town.rows("videos", f"id = {old}")] == ["cancelled"]
    for table, rows in before.items():
        column = "id" if table == "videos" else "video_id"
        assert [row for row in after[table] if row[column] != new] == rows


def test_a_file_id_of_another_bucket_is_a_video_of_its_own(town: Town) -> None:
    town.page("b1", listed("once.mov", "same"))
    assert town.page("b2", listed("once.mov", "same")).new == 1


def test_what_became_known_of_a_name_says_nothing_of_others_and_of_other_buckets(town: Town) -> None:
    as_of = stats.last_event(town.db)
    town.upload("b1", "running.mov", "newer")
    late = {state: listed(f"{state}.mov", "late") for state in ("running", "cancelled")}

    assert town.page("b1", late["running"], as_of=as_of).new == 0
    assert town.page("b2", late["running"], as_of=as_of).new == 1
    assert town.page("b1", late["cancelled"], as_of=as_of).new == 1


def test_what_work_on_a_deleted_version_tells_meanwhile_keeps_no_older_one_away(town: Town) -> None:
    town.videos["b1", "newer"] = town.upload("b1", "pending.mov", "newer")
    as_of = stats.last_event(town.db)
    town.claim("b1", "newer", StepKind.INSPECT)

    assert town.page("b1", listed("pending.mov"), as_of=as_of).new == 1


def test_what_an_earlier_run_published_outlives_the_next_runs_end(town: Town) -> None:
    video_id = town.videos["b1", "completed"]
    live = f"video_id = {video_id} AND obsolete_at IS NULL"
    before = town.rows("outputs", live)
    ledger.requeue(town.db, ids=[video_id], from_scratch=True, now=NOW)
    town.claim("b1", "completed", StepKind.INSPECT)

    assert ledger.cancel_absent(town.db, video_id, reason="source_deleted", now=NOW)

    assert before
    assert town.rows("outputs", live) == before


@pytest.mark.parametrize(("has_sound", "is_void"), [(True, True), (True, False), (False, False)])
def test_announce_is_due_when_picture_and_sound_of_this_run_are_there(
    town: Town, has_sound: bool, is_void: bool
) -> None:
    video_id = town.upload("b1", "new.mov")
    town.videos["b1", "new"] = video_id
    # An earlier run got as far as to be announced.
    for run in (1, 2):
        found_out(town.db, town.claim("b1", "new", StepKind.INSPECT), sound=has_sound)
        is_due = []
        if run == 2 and is_void:
            stills = town.claim("b1", "new", StepKind.STILLS)
            assert ledger.publish(town.db, stills, outputs=[output(stills, OutputKind.VIDEO_PART)], now=NOW)
            gone = output(stills, OutputKind.VIDEO_PART, name="gone")
            assert ledger.retract(town.db, stills, now=NOW)
            assert ledger.publish(town.db, stills, outputs=[gone], now=NOW)
            with town.db.begin() as connection:
                retired = f"UPDATE outputs SET obsolete_at = published_at WHERE file_id = '{gone.file_id}'"
                connection.exec_driver_sql(retired)
                connection.exec_driver_sql(
                    f"UPDATE outputs SET token = NULL WHERE file_id = '{gone.file_id}'"
                )
            hand_back(town.db, stills, until=NOW, code="shutdown")
        for kind in [StepKind.STILLS, *([StepKind.AUDIO] if has_sound else []), StepKind.VIDEO]:
            made = {StepKind.VIDEO: OutputKind.VIDEO_PART, StepKind.AUDIO: OutputKind.AUDIO_PART}
            claim = town.claim("b1", "new", kind)
            assert ledger.finish(
                town.db, claim, outputs=[output(claim, made.get(kind, OutputKind.POSTER_PART))], now=NOW
            )
            is_due.append(town.step(video_id, "announce")["status"] == "pending")
        assert is_due == [False, False, True] if has_sound else is_due == [False, True]
        assert town.step(video_id, "package")["status"] == "blocked"
        if run == 1:
            end(town.db, town.claim("b1", "new", StepKind.ANNOUNCE), "encode_failed")
            ledger.requeue(town.db, ids=[video_id], from_scratch=True, now=NOW)


def test_announce_waits_while_sound_is_only_on_its_way(town: Town) -> None:
    video_id = town.videos["b1", "waiting"]
    assert town.step(video_id, "announce")["status"] == "blocked"
    with town.db.begin() as connection:
        connection.exec_driver_sql("UPDATE steps SET run_after = ?", (NOW.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),))
    audio = town.claim("b1", "waiting", StepKind.AUDIO)
    assert ledger.publish(town.db, audio, outputs=[output(audio, OutputKind.AUDIO_PART, 1)], now=NOW)
    assert town.step(video_id, "announce")["status"] == "blocked"  # its first part is not there
    assert ledger.publish(town.db, audio, outputs=[output(audio, OutputKind.AUDIO_PART)], now=NOW)
    assert town.step(video_id, "announce")["status"] == "pending"


@pytest.mark.parametrize("last", ["audio", "video"])
def test_the_mp4_is_begun_when_what_it_begins_with_is_there(town: Town, last: str) -> None:
    video_id = town.videos["b1", "new"] = town.upload("b1", "new.mov")
    steps = [
        *(ledger.NewStep(StepKind.VIDEO, number, 1, 0.2, NOW) for number in range(4)),
        ledger.NewStep(StepKind.AUDIO, 0, 1, 0.1, NOW),
        ledger.NewStep(StepKind.STITCH, 2, 1, 0.1, NOW),
        ledger.NewStep(StepKind.PACKAGE, 0, 2, 0.1, NOW),
    ]
    inspect = town.claim("b1", "new", StepKind.INSPECT)
    assert ledger.finish_inspect(
        town.db, inspect, media={}, duration_seconds=8.0, audio_language=None, plan={}, steps=steps, now=NOW
    )
    claims = [town.claim("b1", "new", StepKind.VIDEO) for _ in range(3)]
    first, second, third = sorted(claims, key=lambda claim: claim.ordinal)
    sound = town.claim("b1", "new", StepKind.AUDIO)
    order = [third, first, second, sound] if last == "audio" else [third, sound, second, first]
    for claim in order:
        assert town.step(video_id, "stitch", 2)["status"] == "blocked"
        assert ledger.finish(town.db, claim, outputs=[], now=NOW)
    # Others have nothing to do with it: neither the chunks that follow, nor the steps of other videos.
    assert town.step(video_id, "video", 3)["status"] == "pending"
    assert town.step(video_id, "stitch", 2)["status"] == "pending"
    for kind in (StepKind.VIDEO, StepKind.STITCH):
        assert town.step(video_id, "package")["status"] == "blocked"
        assert ledger.finish(town.db, town.claim("b1", "new", kind), outputs=[], now=NOW)
    assert town.step(video_id, "package")["status"] == "pending"


def test_sound_without_an_output_is_not_waited_for(town: Town) -> None:
    video_id = town.videos["b1", "new"] = town.upload("b1", "new.mov")
    found_out(town.db, town.claim("b1", "new", StepKind.INSPECT))
    video = town.claim("b1", "new", StepKind.VIDEO)
    assert ledger.finish(town.db, video, outputs=[output(video, OutputKind.VIDEO_PART)], now=NOW)
    assert town.step(video_id, "announce")["status"] == "blocked"
    assert ledger.finish(town.db, town.claim("b1", "new", StepKind.AUDIO), outputs=[], now=NOW)
    assert town.step(video_id, "announce")["status"] == "pending"


def announced(town: Town, *, is_heard: bool) -> int:
    """Have a new film announced whose sound is whole, or begun."""
    video_id = town.videos["b1", "new"] = town.upload("b1", "new.mov")
    found_out(town.db, town.claim("b1", "new", StepKind.INSPECT))
    video = town.claim("b1", "new", StepKind.VIDEO)
    assert ledger.finish(town.db, video, outputs=[output(video, OutputKind.VIDEO_PART)], now=NOW)
    audio = town.claim("b1", "new", StepKind.AUDIO)
    record = ledger.finish if is_heard else ledger.publish
    assert record(town.db, audio, outputs=[output(audio, OutputKind.AUDIO_PART)], now=NOW)
    announce = town.claim("b1", "new", StepKind.ANNOUNCE)
    playlists = [output(announce, OutputKind.HLS), output(announce, OutputKind.PLAYLIST)]
    seen = {row["file_id"] for row in town.rows("outputs")}
    assert ledger.finish_announce(town.db, announce, outputs=playlists, listed=LISTED, seen=seen, now=NOW)
    return video_id


def live(town: Town, video_id: int) -> set[str]:
    return {row["kind"] for row in town.rows("outputs", f"video_id = {video_id} AND obsolete_at IS NULL")}


def test_a_film_whose_picture_fails_keeps_its_playlists(town: Town) -> None:
    video_id = announced(town, is_heard=True)

    end(town.db, town.claim("b1", "new", StepKind.VIDEO), "source_damaged")

    assert live(town, video_id) == {"video_part", "audio_part", "hls", "playlist"}


def test_a_film_whose_sound_fails_loses_its_playlists_and_keeps_its_picture(town: Town) -> None:
    video_id = announced(town, is_heard=False)

    end(town.db, town.claims["b1", "new", StepKind.AUDIO], "source_damaged")

    assert live(town, video_id) == {"video_part"}


def test_a_film_made_again_whose_sound_fails_keeps_the_playlists_that_it_had(town: Town) -> None:
    video_id = town.videos["b1", "completed"]
    before = live(town, video_id)
    ledger.requeue(town.db, ids=[video_id], from_scratch=True, now=NOW)
    found_out(town.db, town.claim("b1", "completed", StepKind.INSPECT))
    audio = town.claim("b1", "completed", StepKind.AUDIO)
    begun = output(audio, OutputKind.AUDIO_PART, name="begun")
    assert ledger.publish(town.db, audio, outputs=[begun], now=NOW)

    end(town.db, audio, "source_damaged")

    assert "hls" in before
    assert live(town, video_id) == before


def test_announce_is_due_again_only_for_more_of_its_own_film(town: Town) -> None:
    claim = town.claims["b1", "running", StepKind.ANNOUNCE]
    seen = {row["file_id"] for row in town.rows("outputs", f"video_id = {claim.video_id}")}
    other = town.claims["b2", "running", StepKind.AUDIO]
    assert ledger.publish(town.db, other, outputs=[output(other, OutputKind.AUDIO_PART, 1)], now=NOW)

    playlists = [output(claim, OutputKind.HLS), output(claim, OutputKind.PLAYLIST)]
    assert ledger.finish_announce(town.db, claim, outputs=playlists, listed=LISTED, seen=seen, now=NOW)

    assert town.step(claim.video_id, "announce")["status"] == "completed"


def test_announce_is_due_again_for_what_has_the_number_of_a_row_that_is_gone(town: Town) -> None:
    announce, audio = (town.claims["b1", "running", kind] for kind in (StepKind.ANNOUNCE, StepKind.AUDIO))
    number = "SELECT max(id) FROM outputs"
    ledger.publish(town.db, audio, outputs=[output(audio, OutputKind.AUDIO_PART, 1)], now=NOW)
    (last,) = town.rows("outputs", f"id = ({number})")
    seen = {row["file_id"] for row in town.rows("outputs", f"video_id = {audio.video_id}")}
    with town.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE outputs SET obsolete_at = published_at WHERE id = {last['id']}")
    forget_output(town.db, last)
    again = [output(audio, OutputKind.AUDIO_PART, 1, name="again")]
    assert ledger.publish(town.db, audio, outputs=again, now=NOW)
    assert town.rows("outputs", f"id = ({number})")[0]["id"] == last["id"]  # or this proves nothing

    assert ledger.finish_announce(town.db, announce, outputs=[], listed=LISTED, seen=seen, now=NOW)

    assert town.step(audio.video_id, "announce")["status"] == "pending"


def test_an_announcement_retires_no_playlist_of_another_film(town: Town) -> None:
    other = announced(town, is_heard=True)
    announce = town.claims["b1", "running", StepKind.ANNOUNCE]
    listed = {"running.mov/playlist"}

    assert ledger.finish_announce(town.db, announce, outputs=[], listed=listed, seen=set(), now=NOW)

    assert "playlist" in live(town, other)


@pytest.mark.parametrize("change", ["run = run - 1", "obsolete_at = published_at"])
def test_announce_is_not_due_again_for_what_is_void_or_of_an_earlier_run(town: Town, change: str) -> None:
    audio, announce = (town.claims["b1", "running", kind] for kind in (StepKind.AUDIO, StepKind.ANNOUNCE))
    mine = f"video_id = {audio.video_id}"
    seen = {row["file_id"] for row in town.rows("outputs", mine)}
    new = output(audio, OutputKind.AUDIO_PART, 1)
    with town.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE outputs SET run = 2 WHERE {mine}")
        connection.exec_driver_sql(f"UPDATE videos SET run = 2 WHERE id = {audio.video_id}")
    assert ledger.publish(town.db, audio, outputs=[new], now=NOW)
    with town.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE outputs SET {change} WHERE file_id = '{new.file_id}'")

    assert ledger.finish_announce(town.db, announce, outputs=[], listed=LISTED, seen=seen, now=NOW)

    assert town.step(audio.video_id, "announce")["status"] == "completed"


def test_a_name_is_one_buckets(town: Town) -> None:
    for bucket in BUCKETS:
        audio = town.claims[bucket, "running", StepKind.AUDIO]
        assert ledger.publish(town.db, audio, outputs=[output(audio, OutputKind.AUDIO_PART, 7)], now=NOW)
    rows = town.rows("outputs", "name = 'running.mov/audio_part-7' AND obsolete_at IS NULL")
    assert sorted(row["bucket"] for row in rows) == sorted(BUCKETS)


def test_a_row_that_took_the_number_of_one_that_is_gone_is_not_forgotten_in_its_place(town: Town) -> None:
    (row, *_) = town.rows("outputs", "obsolete_at IS NOT NULL")
    ledger.forget_output(town.db, row["id"], file_id="another")
    assert row in town.rows("outputs")


def test_debris_that_was_noted_anew_while_it_was_looked_for_is_looked_for_again(town: Town) -> None:
    (old, *_) = town.rows("debris", "look_after IS NULL")
    with town.db.begin() as connection:
        video_id, token = old["video_id"], old["token"]
        _steps.note_debris(connection, video_id, token, LATER)
    forget_debris(town.db, old)
    (new,) = town.rows("debris", f"token = '{token}'")
    forget_debris(town.db, new)
    assert not town.rows("debris", f"token = '{token}'")


def test_what_a_worker_may_have_left_of_a_cancelled_video_is_looked_for_when_it_died(town: Town) -> None:
    begun = town.rows("events", f"video_id = {town.videos['b1', 'cancelled']} AND what = 'started'")
    tokens = {json.loads(row["detail"])["token"] for row in begun}
    for row in town.rows("debris"):
        forget_debris(town.db, row)
    void = town.rows("outputs", "obsolete_at IS NOT NULL")

    ledger.release_worker(town.db, "b1-cancelled", now=NOW, max_attempts=3, hint="")

    assert {row["token"] for row in town.rows("debris")} == tokens
    assert town.rows("outputs", "obsolete_at IS NOT NULL") == void
    for row in town.rows("debris"):
        forget_debris(town.db, row)
    for worker in ("b1-completed", "another"):
        ledger.release_worker(town.db, worker, now=NOW, max_attempts=3, hint="")
    assert not town.rows("debris")


def test_package_waits_for_content_and_not_for_announce(town: Town) -> None:
    video_id = town.videos["b1", "new"] = town.upload("b1", "new.mov")
    found_out(town.db, town.claim("b1", "new", StepKind.INSPECT))
    for kind in (StepKind.VIDEO, StepKind.VIDEO, StepKind.AUDIO, StepKind.STILLS):
        assert town.step(video_id, "package")["status"] == "blocked"
        assert ledger.finish(town.db, town.claim("b1", "new", kind), outputs=[], now=NOW)
    assert town.step(video_id, "announce")["status"] == "blocked"  # there is nothing to announce
    assert town.step(video_id, "package")["status"] == "pending"


def test_what_is_live_is_never_forgotten(town: Town) -> None:
    live = town.rows("outputs", "obsolete_at IS NULL")
    for row in live:
        forget_output(town.db, row)
    assert live
    assert town.rows("outputs", "obsolete_at IS NULL") == live


def test_a_cancelled_video_adopts_nothing(town: Town) -> None:
    assert not adopt(town, "cancelled")


def test_what_is_adopted_takes_the_place_of_what_was_there_before_and_forgets_none_of_it(town: Town) -> None:
    video_id = town.videos["b1", "completed"]
    before = {row["file_id"] for row in town.rows("outputs", f"video_id = {video_id}")}

    assert adopt(town, "completed")
    assert not adopt(town, "completed")  # these are its outputs already

    rows = town.rows("outputs", f"video_id = {video_id}")
    assert before < {row["file_id"] for row in rows}  # or nobody would delete the objects
    assert [row["token"] for row in rows if row["obsolete_at"] is None] == ["found"]
    ledger.requeue(town.db, ids=[video_id], from_scratch=True, now=NOW)
    assert adopt(town, "completed")


def test_outputs_that_were_retired_are_adopted_again(town: Town) -> None:
    assert adopt(town, "completed")
    with town.db.begin() as connection:
        connection.exec_driver_sql("UPDATE outputs SET obsolete_at = published_at WHERE token = 'found'")
    assert adopt(town, "completed")


def test_a_stray_is_noted_once_and_not_while_its_attempt_is_at_work(town: Town) -> None:
    at_work = town.claims["b1", "running", StepKind.AUDIO].token
    for token in (at_work, "stray", "stray"):
        ledger.note_stray(town.db, "b1", "running.mov", token=token, now=NOW)
    assert [row["token"] for row in town.rows("debris", "token = 'stray'")] == ["stray"]
    assert not town.rows("debris", f"token = '{at_work}'")


def test_a_video_was_started_when_its_first_step_was(town: Town) -> None:
    before = town.rows("videos", f"id = {town.videos['b1', 'running']}")
    video = ledger.claim(
        town.db,
        worker="w",
        now=LATER,
        lease=LEASE,
        only=(town.videos["b1", "running"], StepKind.VIDEO),
    )
    assert video is not None
    assert town.rows("videos", f"id = {video.video_id}") == before


def test_only_a_step_of_the_video_that_was_asked_for_is_claimed(town: Town) -> None:
    only = (town.videos["b1", "waiting"], StepKind.PACKAGE)
    assert ledger.claim(town.db, worker="w", now=LATER, lease=LEASE, only=only) is None


def test_an_outage_holds_back_what_waits_and_the_end_of_it_lets_go_of_that_only(town: Town) -> None:
    video_id = town.videos["b1", "new"] = town.upload("b1", "new.mov")
    found_out(town.db, town.claim("b1", "new", StepKind.INSPECT))
    assert ledger.finish(town.db, town.claim("b1", "new", StepKind.STILLS), outputs=[], now=NOW)
    done = town.step(video_id, "stills")
    audio = town.claim("b1", "new", StepKind.AUDIO)
    late = NOW + timedelta(hours=1)
    hand_back(town.db, town.claim("b1", "new", StepKind.VIDEO), until=late)
    hand_back(town.db, ledger_claim(town, video_id, StepKind.VIDEO, late), until=late)  # twice in a row
    twice = town.step(video_id, "video")

    hand_back(town.db, audio)

    assert town.step(video_id, "stills") == done
    assert town.step(video_id, "video") == twice  # waits as long as before, and remembers as much
    running = ledger_claim(town, video_id, StepKind.VIDEO, late)
    second = ledger_claim(town, video_id, StepKind.VIDEO, late)
    held = [town.step(video_id, "video", ordinal) for ordinal in (0, 1)]
    assert min(row["outages"] for row in held) > 0
    with town.db.begin() as connection:  # one that waits for another reason
        connection.exec_driver_sql(
            f"UPDATE steps SET outages = 0, error_code = 'worker_lost' WHERE video_id = {video_id} AND kind = 'package'"
        )
    assert ledger.finish(town.db, running, outputs=[], now=late)
    assert town.step(video_id, "audio")["outages"] == 0
    assert town.step(video_id, "package")["error_code"] == "worker_lost"
    assert town.step(video_id, "video", second.ordinal)["outages"] == second.outages


def ledger_claim(town: Town, video_id: int, kind: StepKind, now: datetime) -> ledger.Claim:
    made = ledger.claim(town.db, worker="w", now=now, lease=LEASE, only=(video_id, kind))
    assert made is not None
    return made


def test_each_bucket_and_prefix_is_listed_for_itself(town: Town) -> None:
    for bucket, prefix, cursor in (("b1", "", "one"), ("b1", "p/", "two"), ("b2", "", "three")):
        town.page(bucket, prefix=prefix, cursor=cursor)
    rows = town.rows("scans")
    assert {(row["bucket_id"], row["prefix"]): row["cursor"] for row in rows} == {
        ("b1", ""): "one",
        ("b1", "p/"): "two",
        ("b2", ""): "three",
    }


def test_an_entry_that_cannot_be_read_is_kept_once_for_each_bucket(town: Town) -> None:
    for bucket, raw in (("b1", "one"), ("b1", "two"), ("b2", "one"), ("b1", "one")):
        town.page(bucket, unread=[(None, None, raw, "odd")])
    kept = [(row["bucket_id"], row["raw"]) for row in town.rows("quarantine")]
    assert sorted(kept) == [("b1", "one"), ("b1", "two"), ("b2", "one")]


def test_calls_of_each_day_and_class_are_counted_for_themselves(town: Town) -> None:
    for at, counted in ((NOW, {"A": 1, "C": 2}), (NOW + timedelta(days=1), {"A": 4}), (NOW, {"A": 8})):
        ledger.count_transactions(town.db, counted, now=at)
    rows = town.rows("transactions")
    assert {(row["day"][-2:], row["transaction_class"]): row["count"] for row in rows} == {
        ("02", "A"): 9,
        ("02", "C"): 2,
        ("03", "A"): 4,
    }


def test_a_pause_is_one_daemons_and_of_one_kind(town: Town) -> None:
    def shown() -> set[tuple[str, str, str]]:
        return {(row["worker"], row["what"], row["code"]) for row in town.rows("pauses")}

    for worker, what in (("w1", "work"), ("w1", "listing"), ("w2", "work")):
        ledger.pause(town.db, worker=worker, what=what, code="old", detail="", until=NOW, now=NOW)
    ledger.pause(town.db, worker="w1", what="work", code="new", detail="", until=NOW, now=NOW)
    assert shown() == {("w1", "work", "new"), ("w1", "listing", "old"), ("w2", "work", "old")}
    ledger.resume(town.db, worker="w1", what="work")
    assert shown() == {("w1", "listing", "old"), ("w2", "work", "old")}
    ledger.resume(town.db, worker="w1")
    assert shown() == {("w2", "work", "old")}


def test_a_clock_set_back_ends_the_waits_and_changes_nothing_else(town: Town) -> None:
    moved = ledger.end_waits(town.db, now=NOW - timedelta(seconds=1))
    assert moved == len(town.rows("steps", "status IN ('blocked', 'pending')"))
    before = town.rows("steps")
    assert ledger.end_waits(town.db, now=NOW) == 0
    assert town.rows("steps") == before


def test_a_dead_worker_voids_nothing_that_it_finished(town: Town) -> None:
    running = town.claims["b1", "running", StepKind.VIDEO]
    done = town.rows("outputs", "kind = 'video_part' AND obsolete_at IS NULL")
    ledger.release_worker(town.db, "b1-running", now=NOW, max_attempts=3, hint="")
    assert any(row["video_id"] == running.video_id for row in done)
    assert town.rows("outputs", "kind = 'video_part' AND obsolete_at IS NULL") == done


def test_an_attempt_that_begins_anew_voids_only_its_own_and_what_is_up_stays(town: Town) -> None:
    audio = town.claims["b1", "running", StepKind.AUDIO]
    kept = town.rows("outputs", f"token != '{audio.token}'")
    mine = town.rows("outputs", f"token = '{audio.token}'")
    assert ledger.retract(town.db, audio, now=NOW)
    assert kept
    assert town.rows("outputs", f"token != '{audio.token}'") == kept
    assert town.rows("outputs", f"token = '{audio.token}'") == [{**row, "run": NO_RUN} for row in mine] != []


def aside(town: Town, bucket: str) -> str:
    """Have sound of a running film published and then set aside; return its file id."""
    audio = town.claims[bucket, "running", StepKind.AUDIO]
    made = output(audio, OutputKind.AUDIO_PART, 9)
    assert ledger.publish(town.db, audio, outputs=[made], now=NOW)
    assert ledger.retract(town.db, audio, now=NOW)
    return made.file_id


def void(town: Town) -> set[str]:
    return {row["file_id"] for row in town.rows("outputs", "obsolete_at IS NOT NULL")}


def test_what_was_set_aside_goes_when_playlists_without_it_are_up(town: Town) -> None:
    gone, others = aside(town, "b1"), aside(town, "b2")
    announce = town.claims["b1", "running", StepKind.ANNOUNCE]
    picture = {row["file_id"] for row in town.rows("outputs", f"video_id = {announce.video_id} AND run != 0")}
    before = void(town)

    ended = ledger.finish_announce(town.db, announce, outputs=[], listed=LISTED, seen=picture, now=NOW)

    assert ended
    mine = {row["file_id"] for row in town.rows("outputs", f"video_id = {announce.video_id} AND run = 0")}
    assert gone in mine
    assert void(town) - before == mine
    assert others not in void(town)


@pytest.mark.parametrize("listed", [LISTED, frozenset()])
def test_what_was_set_aside_stays_while_the_newest_playlists_name_it(town: Town, listed: set[str]) -> None:
    aside(town, "b1")
    announce = town.claims["b1", "running", StepKind.ANNOUNCE]
    seen = {row["file_id"] for row in town.rows("outputs")} if listed else set()
    before = void(town)

    assert ledger.finish_announce(town.db, announce, outputs=[], listed=listed, seen=seen, now=NOW)

    assert void(town) == before
    told = town.rows("videos", f"id = {announce.video_id}")[0]["playable_at"]
    assert (told is not None) == bool(listed)


def test_playlists_that_the_master_names_no_more_go(town: Town) -> None:
    video_id = announced(town, is_heard=True)
    town.videos["b2", "new"] = town.upload("b2", "new.mov")
    found_out(town.db, town.claim("b2", "new", StepKind.INSPECT))
    video = town.claim("b2", "new", StepKind.VIDEO)
    other = output(video, OutputKind.PLAYLIST, name="other")
    assert ledger.finish(town.db, video, outputs=[other, output(video, OutputKind.VIDEO_PART)], now=NOW)
    second = town.claim("b1", "new", StepKind.VIDEO)
    assert ledger.finish(town.db, second, outputs=[output(second, OutputKind.VIDEO_PART, 1)], now=NOW)
    announce = town.claim("b1", "new", StepKind.ANNOUNCE)
    earlier = output(announce, OutputKind.PLAYLIST, name="earlier")
    assert ledger.publish(town.db, announce, outputs=[earlier], now=NOW)
    with town.db.begin() as connection:
        connection.exec_driver_sql(f"UPDATE outputs SET run = 2 WHERE video_id = {video_id}")
        connection.exec_driver_sql(f"UPDATE outputs SET run = 1 WHERE file_id = '{earlier.file_id}'")
        connection.exec_driver_sql(f"UPDATE videos SET run = 2 WHERE id = {video_id}")
    seen = {row["file_id"] for row in town.rows("outputs")}
    before = void(town)
    fresh = output(announce, OutputKind.PLAYLIST, name="fresh")

    assert ledger.finish_announce(town.db, announce, outputs=[fresh], listed={fresh.name}, seen=seen, now=NOW)

    (gone,) = town.rows("outputs", f"video_id = {video_id} AND name = 'new.mov/playlist-0'")
    assert void(town) - before == {gone["file_id"]}


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_film_that_ends_takes_what_was_set_aside_of_it_along(town: Town, is_gone: bool) -> None:
    others = aside(town, "b2")
    video_id = announced(town, is_heard=False)
    audio = town.claims["b1", "new", StepKind.AUDIO]
    assert ledger.retract(town.db, audio, now=NOW)

    if is_gone:
        assert ledger.cancel_gone(town.db, audio, now=NOW)
    else:
        end(town.db, audio, "source_damaged")

    assert live(town, video_id) == (set() if is_gone else {"video_part"})
    assert others not in void(town)


def test_what_was_set_aside_of_another_film_and_is_gone_already_ends_no_playlists(town: Town) -> None:
    aside(town, "b2")
    video_id = announced(town, is_heard=False)
    audio = town.claims["b1", "new", StepKind.AUDIO]
    assert ledger.retract(town.db, audio, now=NOW)
    again = output(audio, OutputKind.AUDIO_PART, name="again")
    assert ledger.finish(town.db, audio, outputs=[again], now=NOW)
    announce = town.claim("b1", "new", StepKind.ANNOUNCE)
    seen = {part.file_id for part in stats.parts(town.db, video_id)}
    assert ledger.finish_announce(town.db, announce, outputs=[], listed=LISTED, seen=seen, now=NOW)

    end(town.db, town.claim("b1", "new", StepKind.VIDEO), "source_damaged")

    assert live(town, video_id) == {"video_part", "audio_part", "hls", "playlist"}


def test_an_older_version_that_failed_is_not_called_replaced(town: Town) -> None:
    for state in ("failed", "completed"):
        name = f"{state}.mov"
        town.videos["b1", "new"] = town.upload("b1", name, f"newer-{state}")
        found_out(town.db, town.claim("b1", "new", StepKind.INSPECT))
        for kind in (StepKind.VIDEO, StepKind.VIDEO, StepKind.AUDIO, StepKind.STILLS):
            assert ledger.finish(town.db, town.claim("b1", "new", kind), outputs=[], now=NOW)
        package = town.claim("b1", "new", StepKind.PACKAGE)
        assert ledger.finish(town.db, package, outputs=[output(package, OutputKind.MP4)], now=NOW)
        (old,) = town.rows("videos", f"id = {town.videos['b1', state]}")
        assert (old["status"], old["reason"]) == (state, "superseded" if state == "completed" else None)


def test_all_that_failed_is_requeued_and_nothing_else(town: Town) -> None:
    done = ledger.requeue(town.db, all_failed=True, now=NOW)
    assert set(done.requeued) == {
        video_id for (_, state), video_id in town.videos.items() if state in ("failed", "stalled")
    }
    assert not done.refused
