"""One attempt at a step, and how each way in which it can end is recorded. Real B2 over HTTP, ffmpeg, SQLite."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from b2sdk import v3
from house import House, clip
from sqlalchemy.engine import Row

from watcher import config, discovery, encode, ledger, localb2, names, publish, stats, steps, workshop
from watcher.beat import Beat
from watcher.errors import Failure, Outage, Stopped
from watcher.models import StepKind

LEASE = timedelta(seconds=60)
READ, UPLOAD, DELETE = "b2_download_file_by_id", "b2_upload_file", "b2_delete_file_version"
DOWN = {"status": 503, "headers": {"Retry-After": "900"}}  # longer than anyone waits inside a call
CAP = {
    "status": 403,
    "body": b'{"status": 403, "code": "download_cap_exceeded", "message": "a cap is spent"}',
}


class Floor:
    """A workshop and a clock, with nobody at work but the test."""

    def __init__(self, house: House, shop: workshop.Workshop) -> None:
        self.house, self.shop = house, shop
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def sweep(self) -> int:
        shop = self.shop
        return discovery.sweep(
            shop.db, shop.readings, shop.watched, clock=lambda: self.now, go_on=lambda: True
        )

    def claim(self, kind: str | None = None, video_id: int = 1) -> ledger.Claim:
        if kind == "package":  # which waits for what is still to be announced
            while announce := self._claim((video_id, StepKind.ANNOUNCE)):
                self.perform(announce)
        claim = self._claim((video_id, StepKind(kind)) if kind else None)
        assert claim is not None
        return claim

    def _claim(self, only: tuple[int, StepKind] | None = None) -> ledger.Claim | None:
        return ledger.claim(self.shop.db, worker="other", now=self.now, lease=LEASE, only=only)

    def perform(self, claim: ledger.Claim, beat: Beat | None = None) -> None:
        steps.perform(claim, self.shop, beat or Beat(), clock=lambda: self.now)

    def work(self, *kinds: str) -> None:
        for kind in kinds:
            self.perform(self.claim(kind))

    def work_to_the_end(self) -> None:
        while claim := ledger.claim(self.shop.db, worker="other", now=self.now, lease=LEASE):
            self.perform(claim)

    def clear_away(self) -> None:
        steps.clear_away(self.shop, now=self.now, go_on=lambda: True)

    def video(self, video_id: int = 1) -> Row[tuple[object, ...]]:
        row = stats.video(self.shop.readings, video_id)
        assert row is not None
        return row

    def step(self, kind: str, video_id: int = 1) -> Row[tuple[object, ...]]:
        return next(row for row in stats.steps(self.shop.readings, video_id) if row.kind == kind)

    def last_event(self, video_id: int = 1) -> tuple[str | None, str, dict[str, object] | None]:
        event = stats.events(self.shop.readings, video_id)[-1]
        return event.step, event.what, event.detail

    def objects_of(self, token: str) -> list[str]:
        """Return what an attempt left in the bucket, finished or not."""
        entries = [*self.house.bucket.list_versions(""), *self.house.bucket.list_unfinished("")]
        return [entry.name for entry in entries if entry.info.get(names.TOKEN_KEY) == token]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of one second that has to be encoded."""
    folder = tmp_path_factory.mktemp("film")
    return clip(folder / "film.mov", "-c:v", "mpeg4", "-c:a", "pcm_s16le", seconds=1, size="160x90")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def floor(tmp_path: Path, b2: localb2.LocalB2, film: Path, stack: ExitStack) -> Floor:
    """A floor with one film that was discovered."""
    floor = open_floor(tmp_path, b2, stack)
    floor.house.upload(film)
    floor.sweep()
    return floor


def open_floor(folder: Path, b2: localb2.LocalB2, stack: ExitStack, **settings: str) -> Floor:
    house = House(folder, b2, **settings)
    return Floor(house, stack.enter_context(workshop.opened(config.load(house.environment))))


@pytest.mark.parametrize(
    ("fault", "code", "at_least"),
    [
        (localb2.Fault(READ, **DOWN, times=-1), "b2_unavailable", timedelta(seconds=900)),
        (localb2.Fault(READ, **CAP, times=-1), "b2_cap_exceeded", timedelta(seconds=2)),
        (localb2.Fault(UPLOAD, **CAP), "b2_cap_exceeded", timedelta(seconds=2)),
    ],
    ids=["reading", "reading-cap", "uploading-cap"],
)
def test_an_outage_hands_the_attempt_back_and_the_step_is_done_later(
    floor: Floor, b2: localb2.LocalB2, fault: localb2.Fault, code: str, at_least: timedelta
) -> None:
    floor.work("inspect")
    floor.shop.forget_video(1)  # so that the bytes must be fetched again
    claim = floor.claim("video")
    b2.faults.append(fault)

    floor.perform(claim)

    step = floor.step("video")
    assert (step.status, step.attempts, step.outages, floor.video().status) == ("pending", 0, 1, "running")
    assert floor.now + at_least <= step.run_after <= floor.now + timedelta(seconds=901)
    label, what, detail = floor.last_event()
    assert (label, what, detail["code"]) == ("video", "handed_back", code)
    b2.faults.clear()
    floor.now = step.run_after
    floor.work_to_the_end()
    assert (floor.video().status, floor.step("video").attempts) == ("completed", 1)
    floor.clear_away()
    assert floor.objects_of(claim.token) == []


def test_an_outage_while_inspecting_is_not_taken_for_a_broken_film(floor: Floor, b2: localb2.LocalB2) -> None:
    b2.faults.append(localb2.Fault(READ, **CAP, times=-1))
    floor.work("inspect")
    assert (floor.step("inspect").status, floor.step("inspect").attempts) == ("pending", 0)


def test_an_expired_token_in_the_middle_is_no_failure(floor: Floor, b2: localb2.LocalB2) -> None:
    for kind in ("inspect", "video", "stills", "audio", "storyboard", "package"):
        b2.expire_tokens()
        floor.shop.forget_video(1)
        floor.work(kind)
    assert floor.video().status == "completed"
    assert {row.attempts for row in stats.steps(floor.shop.readings, 1)} == {1}
    assert "handed_back" not in [what for _, what in floor.house.events()]


def test_a_failure_is_tried_again_with_growing_waits_and_then_ends_the_video_with_code_and_hint(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, stack: ExitStack
) -> None:
    broken = tmp_path / "ffmpeg"
    says = '[ "$*" = -version ] && echo ffmpeg version 0 && exit'
    broken.write_text(f"#!/bin/sh\n{says}\necho no such luck >&2\nexit 7\n")
    broken.chmod(0o755)
    floor = open_floor(tmp_path, b2, stack, FFMPEG=str(broken), CONFINE="no", MAX_ATTEMPTS="3")
    floor.house.upload(film)
    floor.sweep()
    floor.work("inspect")
    waits = []
    for attempt in (1, 2):
        claim = floor.claim("video")
        floor.perform(claim)
        step = floor.step("video")
        assert (claim.attempt, step.status, step.error_code) == (attempt, "pending", "encode_failed")
        waits.append(step.run_after - floor.now)
        floor.now = step.run_after
    assert timedelta(seconds=2.5) <= waits[0] < waits[1] <= timedelta(seconds=10)
    floor.perform(floor.claim("video"))
    video = floor.video()
    assert (video.status, video.error_code) == ("failed", "encode_failed")
    assert "no such luck" in video.error
    assert "requeue" in video.hint
    assert floor.last_event()[1] == "failed"
    assert ledger.claim(floor.shop.db, worker="other", now=floor.now + LEASE, lease=LEASE) is None


def test_a_permanent_failure_ends_the_video_at_once(floor: Floor, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film " * 100)
    floor.house.upload(tmp_path / "text.mp4")
    floor.sweep()
    floor.perform(floor.claim("inspect", 2))
    assert floor.house.rows()["text.mp4"]["error_code"] == "unreadable"
    assert floor.step("inspect", 2).attempts == 1


def test_a_file_that_is_no_video_is_skipped(floor: Floor, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no film " * 100)
    floor.house.upload(tmp_path / "notes.txt")
    floor.sweep()
    floor.perform(floor.claim("inspect", 2))
    row = floor.house.rows()["notes.txt"]
    assert (row["status"], row["reason"]) == ("skipped", "not_a_video")


def test_a_bug_ends_its_own_step_and_no_other(
    floor: Floor, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> encode.Made:
        raise ValueError("a bug")

    floor.house.upload(film, "other.mov")
    floor.sweep()
    with monkeypatch.context() as patched:
        patched.setattr(encode, "video_chunk", bug)
        floor.work("inspect", "video")
    assert (floor.step("video").status, floor.step("video").error_code) == ("pending", "bug")
    assert floor.step("video").error == "ValueError: a bug"
    floor.work_to_the_end()
    assert floor.video(2).status == "completed"
    assert {floor.step(kind).status for kind in ("audio", "stills")} == {"completed"}
    floor.now = floor.step("video").run_after
    floor.work_to_the_end()
    assert floor.video(1).status == "completed"


def test_a_full_disk_is_never_one_videos_fault(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> encode.Made:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encode, "video_chunk", no_space)
    floor.work("inspect", "video")
    assert (floor.step("video").status, floor.step("video").attempts) == ("pending", 0)
    assert floor.last_event()[2]["code"] == "disk_full"


def test_a_bucket_that_is_gone_is_never_one_videos_fault(floor: Floor, b2: localb2.LocalB2) -> None:
    body = b'{"status": 400, "code": "bad_bucket_id", "message": "Bucket id does not exist"}'
    floor.work("inspect")
    b2.faults.append(localb2.Fault("b2_get_upload_url", 400, body, times=-1))
    floor.work("video")
    assert (floor.step("video").status, floor.step("video").attempts) == ("pending", 0)
    assert floor.last_event()[1] == "handed_back"


def test_a_source_that_was_deleted_while_it_waited_ends_cancelled(floor: Floor) -> None:
    floor.house.bucket.delete(floor.video().file_id, "film.mov")
    floor.work("inspect")
    assert (floor.video().status, floor.video().reason) == ("cancelled", "source_deleted")


def test_a_source_that_is_deleted_between_two_steps_leaves_nothing_behind(floor: Floor) -> None:
    floor.work("inspect", "video", "stills")
    floor.shop.forget_video(1)
    floor.house.bucket.delete(floor.video().file_id, "film.mov")
    floor.work("audio")
    assert (floor.video().status, floor.video().reason) == ("cancelled", "source_deleted")
    floor.clear_away()
    assert floor.house.objects() == {}


def test_an_intermediate_that_somebody_deleted_is_not_taken_for_a_deleted_source(floor: Floor) -> None:
    floor.work("inspect", "video", "stills", "audio", "storyboard")
    floor.shop.forget_video(1)
    for name, ids in floor.house.objects().items():
        if name != "film.mov":
            floor.house.bucket.delete(ids[0], name)
    floor.work("package")
    video = floor.video()
    assert (video.status, video.error_code) == ("failed", "part_lost")
    assert ledger.requeue(floor.shop.db, ids=[1], from_scratch=True, now=floor.now).requeued == (1,)
    floor.work_to_the_end()
    assert floor.video().status == "completed"


@pytest.mark.parametrize("changed", ["prefix", "bucket"])
def test_parts_that_lie_elsewhere_since_the_settings_were_changed_make_no_playlist(
    floor: Floor, changed: str
) -> None:
    floor.work("inspect", "video", "stills", "audio", "storyboard")
    claim = floor.claim("package")
    other = (
        replace(floor.shop, output_prefix="other/")
        if changed == "prefix"
        else replace(floor.shop, target=replace(floor.shop.target, name="another"))
    )
    steps.perform(claim, other, Beat(), clock=lambda: floor.now)
    video = floor.video()
    assert (video.status, video.error_code) == ("failed", "part_lost")
    assert "OUTPUT_PREFIX or OUTPUT_BUCKET_NAME was changed" in video.error
    assert "requeue" in video.hint


def test_a_stop_hands_the_step_back_at_once_and_does_not_count(floor: Floor) -> None:
    floor.work("inspect")
    beat = Beat()
    beat.stop(Stopped())
    floor.perform(floor.claim("video"), beat)
    step = floor.step("video")
    assert (step.status, step.attempts, step.outages, step.run_after) == ("pending", 0, 0, floor.now)


def test_a_step_that_stalled_counts_as_an_attempt_and_is_tried_again(floor: Floor) -> None:
    floor.work("inspect")
    beat = Beat()
    beat.stop(Failure("stalled", "no progress"))
    floor.perform(floor.claim("video"), beat)
    step = floor.step("video")
    assert (step.status, step.attempts, step.error_code) == ("pending", 1, "stalled")


def release(floor: Floor, worker: str = "other") -> None:
    ledger.release_worker(floor.shop.db, worker, now=floor.now, max_attempts=4, hint="")


def test_a_step_that_was_lost_while_it_worked_publishes_nothing_that_stays(floor: Floor) -> None:
    floor.work("inspect")
    lost = floor.claim("video")
    release(floor)
    floor.perform(lost)
    assert floor.step("video").status == "pending"
    floor.clear_away()
    assert floor.objects_of(lost.token) == []
    floor.work_to_the_end()
    assert (floor.video().status, floor.step("video").attempts) == ("completed", 2)


def test_a_lost_step_is_cleared_away_even_if_it_ends_after_the_clean_up_and_cannot_delete(
    floor: Floor, b2: localb2.LocalB2
) -> None:
    floor.work("inspect")
    lost = floor.claim("video")
    release(floor)
    floor.clear_away()  # finds nothing yet
    b2.faults.append(localb2.Fault(DELETE, **CAP))
    floor.perform(lost)
    assert len(floor.objects_of(lost.token)) == 1
    floor.clear_away()
    assert floor.objects_of(lost.token) == []


@pytest.mark.parametrize("kind", ["video", "package"])
def test_a_newer_version_takes_the_step_away_and_only_its_own_outputs_stay(
    floor: Floor, film: Path, kind: str
) -> None:
    floor.work("inspect")
    while (lost := floor.claim()).kind != kind:
        floor.perform(lost)
    floor.house.upload(film)
    assert floor.sweep() == 1

    floor.perform(lost)

    assert floor.video(1).reason == "superseded"
    floor.work_to_the_end()
    floor.clear_away()
    assert floor.video(2).status == "completed"
    assert floor.objects_of(lost.token) == []
    assert floor.house.unaccounted() == set()
    objects = floor.house.objects()
    assert (
        len(objects["transcoded/film.mov/video.mp4"]) == len(objects["transcoded/film.mov/master.m3u8"]) == 1
    )
    assert stats.list_videos(floor.shop.readings)[0]["mp4"] in objects


def test_a_beat_that_says_lost_ends_the_work_early_and_changes_nothing(floor: Floor) -> None:
    floor.work("inspect")
    lost, beat = floor.claim("video"), Beat()
    release(floor)
    fresh = floor.claim("video")
    beat.stop(Stopped())
    floor.perform(lost, beat)
    assert (floor.step("video").status, floor.step("video").token) == ("running", fresh.token)
    floor.perform(fresh)
    assert floor.step("video").status == "completed"


def test_what_is_obsolete_is_deleted_once_and_an_outage_only_delays_it(
    floor: Floor, b2: localb2.LocalB2
) -> None:
    floor.work_to_the_end()
    obsolete = stats.obsolete_outputs(floor.shop.readings, bucket="watcher-demo", limit=99)
    assert len(obsolete) >= 4
    b2.calls.clear()
    b2.faults.append(localb2.Fault(DELETE, **CAP))
    with pytest.raises(Outage):
        floor.clear_away()
    assert b2.calls[DELETE] == 1
    floor.clear_away()
    floor.clear_away()
    # The poster's part, the playlists of the announcements, and the one that failed at first.
    assert b2.calls[DELETE] == 1 + len(obsolete)
    assert floor.house.unaccounted() == set()


def upload_part(floor: Floor, claim: ledger.Claim) -> str:
    """Leave an object behind, as an attempt does that ends between its upload and the table; return its name."""
    path = floor.house.folder / "part"
    path.write_bytes(b"part")
    name = names.part(names.folder("transcoded/", "film.mov"), "video", 0, claim.token)
    info = names.info(claim.file_id, claim.token)
    floor.shop.target.upload(path, name, content_type="video/mp4", info=info, beat=Beat())
    return name


def test_debris_is_looked_for_once_and_an_outage_only_delays_it(floor: Floor, b2: localb2.LocalB2) -> None:
    floor.work("inspect")
    claim = floor.claim("video")
    name = upload_part(floor, claim)
    release(floor)
    floor.now += ledger.IN_FLIGHT
    b2.faults.append(localb2.Fault("b2_list_file_versions", **CAP))
    with pytest.raises(Outage):
        floor.clear_away()
    assert floor.objects_of(claim.token) == [name]
    floor.clear_away()
    assert floor.objects_of(claim.token) == []
    b2.calls.clear()
    floor.clear_away()
    assert not b2.calls


def test_what_a_killed_worker_had_sent_is_found_although_it_arrives_late(floor: Floor) -> None:
    floor.work("inspect")
    claim = floor.claim("video")
    release(floor)  # by the next daemon, at once
    floor.clear_away()
    upload_part(floor, claim)
    assert stats.awaits_debris(floor.shop.readings, now=floor.now)

    floor.now += ledger.IN_FLIGHT
    floor.clear_away()

    assert floor.objects_of(claim.token) == []
    assert not stats.awaits_debris(floor.shop.readings, now=floor.now)


def test_what_a_cancelled_attempt_uploads_before_it_knows_is_found_when_its_lease_is_over(
    floor: Floor, film: Path
) -> None:
    floor.work("inspect")
    claim = floor.claim("video")
    floor.house.upload(film)
    floor.sweep()
    floor.clear_away()
    upload_part(floor, claim)
    assert stats.awaits_debris(floor.shop.readings, now=floor.now)  # it is killed now, and so never says more

    floor.now += LEASE
    floor.clear_away()

    assert floor.objects_of(claim.token) == []
    assert not stats.awaits_debris(floor.shop.readings, now=floor.now)


@pytest.mark.parametrize("fault", [DELETE, "b2_list_file_versions"])
def test_an_object_that_is_there_twice_is_removed_later_when_that_fails_at_once(
    floor: Floor, b2: localb2.LocalB2, fault: str
) -> None:
    floor.work("inspect")
    claim = floor.claim("video")
    b2.faults.append(localb2.Fault(UPLOAD, cut_after=3))  # after it took effect
    b2.faults.append(localb2.Fault(fault, **CAP))

    floor.perform(claim)

    assert floor.step("video").status == "completed"
    assert len(floor.objects_of(claim.token)) == 2
    floor.clear_away()
    assert len(floor.objects_of(claim.token)) == 1
    floor.work_to_the_end()
    floor.clear_away()
    assert floor.video().status == "completed"
    assert floor.house.unaccounted() == set()


def test_debris_of_one_attempt_is_no_reason_to_touch_another(floor: Floor) -> None:
    floor.work("inspect", "video")
    lost = floor.claim("stills")
    release(floor)
    before = floor.house.objects()
    cleared = publish.clear_debris(floor.shop.target, "", token=lost.token, recorded=set())
    assert (cleared, floor.house.objects()) == (0, before)


def test_a_key_that_may_not_delete_only_leaves_things_lying(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    api = v3.B2Api(v3.InMemoryAccountInfo())
    api.authorize_account(b2.key_id, b2.key, b2.realm)
    key = api.create_key(["listBuckets", "listFiles", "readFiles", "writeFiles"], "no-delete")
    floor = open_floor(
        tmp_path, b2, stack, B2_APPLICATION_KEY_ID=key.id_, B2_APPLICATION_KEY=key.application_key
    )
    floor.house.upload(film)
    floor.sweep()
    floor.work("inspect")
    lost = floor.claim("video")
    release(floor)
    floor.perform(lost)  # cannot withdraw what it uploaded
    floor.work_to_the_end()
    assert floor.video().status == "completed"
    obsolete = stats.obsolete_outputs(floor.shop.readings, bucket="watcher-demo", limit=99)
    b2.calls.clear()
    caplog.clear()

    floor.clear_away()

    (warning,) = caplog.records
    assert "not_cleared_away" in warning.getMessage()
    # Each is tried: one that cannot be deleted does not keep the others.
    assert b2.calls[DELETE] == len(obsolete) + len(floor.objects_of(lost.token))
    assert len(floor.objects_of(lost.token)) == 1
    assert (floor.video().status, floor.video().error_code) == ("completed", None)


def test_a_large_file_that_a_killed_worker_left_unfinished_is_cancelled(
    floor: Floor, b2: localb2.LocalB2
) -> None:
    floor.work("inspect")
    claim = floor.claim("video")
    api = v3.B2Api(v3.InMemoryAccountInfo())
    api.authorize_account(b2.key_id, b2.key, b2.realm)
    place = names.folder("transcoded/", "film.mov")
    for token, name in ((claim.token, "parts/dead"), ("f" * 32, "parts/somebody-elses")):
        info = names.info(claim.file_id, token)
        api.session.start_large_file(floor.shop.target.id, place + name, "video/mp4", info)
    release(floor)
    floor.now += ledger.IN_FLIGHT
    floor.clear_away()
    left = [unfinished.name for unfinished in floor.house.bucket.list_unfinished("")]
    assert left == [f"{place}parts/somebody-elses"]
