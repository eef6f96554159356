"""What a viewer waits for is made and published before the rest, however long the film."""

import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import crowd
import pytest
from house import clip, wait_for
from test_steps import LEASE, Floor, open_floor

from watcher import ledger, localb2, stats, steps
from watcher.beat import Beat
from watcher.errors import Stopped
from watcher.models import OutputKind, StepKind, StepStatus
from watcher.source import blocks
from watcher.steps import Seat, behind
from watcher.steps.growing import fragments_of_part

H264 = (
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-crf",
    "35",
    "-pix_fmt",
    "yuv420p",
    "-g",
    "30",
    "-c:a",
    "aac",
)
MPEG4 = ("-c:v", "mpeg4", "-q:v", "3", "-c:a", "aac")
SLOW = 8_000_000  # bits per second
BLOCK = 64 * 1024


def copied_film(folder: Path, b2: localb2.LocalB2, stack: ExitStack, *, seconds: float) -> Floor:
    """Return a floor where one film was discovered that is copied, in one size."""
    floor = open_floor(folder, b2, stack, LADDER="720")
    floor.house.upload(clip(folder / "film.mp4", *H264, seconds=seconds))
    floor.sweep()
    return floor


def seconds_of(floor: Floor, kind: OutputKind) -> list[float]:
    parts = stats.parts(floor.shop.readings, 1)
    return [part.duration_seconds or 0.0 for part in parts if part.kind == kind]


def test_the_first_part_of_a_copy_is_short_however_fast_the_film_is_copied(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=60)

        floor.work("inspect", "copy")

        lengths = seconds_of(floor, OutputKind.VIDEO_PART)
    assert lengths[0] == pytest.approx(4, abs=1.1)  # a keyframe each second
    assert sum(lengths) == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    ("seconds", "number", "wanted"),
    [
        ([], 0, None),
        ([1.9], 0, None),
        ([2.01], 0, 1),  # over a slow line a viewer waits for no more
        ([2.01, 2.01], 0, 2),
        ([2.01] * 100, 0, 2),  # what is far ahead is not uploaded first
        ([10.0, 10.0], 0, 1),
        ([2.01], 1, None),
        ([2.01, 2.01, 2.01], 1, 3),
        ([2.01] * 20, 2, 20),
        ([10.0] * 5, 9, None),
        ([10.0] * 6, 9, 6),
    ],
)
def test_a_part_has_as_many_fragments_as_a_viewer_needs(
    seconds: list[float], number: int, wanted: int | None
) -> None:
    assert fragments_of_part(seconds, number) == wanted


@pytest.mark.parametrize(
    ("encoding", "first"),
    [(H264, ["copy", "audio", "video"]), (MPEG4, ["video", "audio", "video"])],
    ids=["copied", "encoded"],
)
def test_what_plays_first_is_made_first(
    tmp_path: Path, b2: localb2.LocalB2, encoding: tuple[str, ...], first: list[str]
) -> None:
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="720,144")
        floor.house.upload(clip(tmp_path / "film.mp4", *encoding, seconds=10))
        floor.sweep()
        floor.work("inspect")

        assert [floor.claim().kind for _ in first] == first


def slow_film(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, *, block_bytes: int = BLOCK
) -> Floor:
    """Inspect a film of 12 s that comes over a slow line in blocks of at most `BLOCK`."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(blocks, "SMALL_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 1000)
    b2 = stack.enter_context(localb2.serve(tmp_path / "b2", bandwidth=SLOW))
    floor = open_floor(tmp_path, b2, stack)
    floor.house.upload(clip(tmp_path / "film.mp4", *MPEG4, seconds=12))
    floor.sweep()
    floor.work("inspect")
    return floor


def keep_back(monkeypatch: pytest.MonkeyPatch, *, speed: float) -> None:
    """Have sound made `speed` times as fast as it is heard, and no more ahead, while the first chunks are made."""
    monkeypatch.setattr(behind, "EARLY_LEAD_SECONDS", 0.0)
    monkeypatch.setattr(behind, "EARLY_SPEED", speed)


def release(floor: Floor, claim: ledger.Claim) -> None:
    """Have nobody work on a step any more."""
    code, detail = "disk_full", "as an example of what ends a step"
    ledger.hand_back(floor.shop.db, claim, code=code, detail=detail, run_after=floor.now, now=floor.now)


def test_sound_that_is_heard_already_waits_until_the_first_picture_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        picture, sound = floor.claim("video"), floor.claim("audio")
        heard = stack.enter_context(crowd.listened_to(floor.shop.readings))
        thread = threading.Thread(target=floor.perform, args=(sound,))

        thread.start()
        wait_for(lambda: len(asked_after(picture, 1, heard)) > 2, "the sound to wait for the picture")

        assert seconds_of(floor, OutputKind.AUDIO_PART)
        assert floor.step("audio").status == StepStatus.RUNNING
        release(floor, picture)
        thread.join()
        assert floor.step("audio").status == StepStatus.COMPLETED
        assert sum(seconds_of(floor, OutputKind.AUDIO_PART)) == pytest.approx(12, abs=0.1)


def test_sound_far_ahead_of_its_hearers_waits_while_the_first_chunks_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_back(monkeypatch, speed=0.0)
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        pictures, sound = [floor.claim("video"), floor.claim("video")], floor.claim("audio")
        heard = stack.enter_context(crowd.listened_to(floor.shop.readings))
        thread = threading.Thread(target=floor.perform, args=(sound,))
        release(floor, pictures[0])

        thread.start()
        early = behind.EARLY_CHUNKS
        wait_for(lambda: len(asked_after(pictures[1], early, heard)) > 1, "the sound to wait for the chunk")

        assert floor.step("audio").status == StepStatus.RUNNING
        release(floor, pictures[1])
        thread.join()
        assert floor.step("audio").status == StepStatus.COMPLETED
        assert sum(seconds_of(floor, OutputKind.AUDIO_PART)) == pytest.approx(12, abs=0.1)


@pytest.mark.parametrize(("speed", "leaves"), [(0.0, False), (1000.0, True)])
def test_sound_that_only_waits_for_a_slow_line_leaves_its_seat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: float, leaves: bool
) -> None:
    keep_back(monkeypatch, speed=speed)
    left: list[str] = []
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        floor.work("video")
        sound = floor.claim("audio")
        seat = Seat(leave=lambda: left.append(floor.step("audio").status))

        steps.perform(sound, floor.shop, Beat(), clock=lambda: floor.now, seat=seat)

        assert floor.step("audio").status == StepStatus.COMPLETED
        assert set(left) == ({StepStatus.RUNNING} if leaves else set())


def is_sound_made(floor: Floor, sound: ledger.Claim) -> bool:
    """Make the sound; whether that ended by itself."""
    beat = Beat()
    thread = threading.Thread(target=floor.perform, args=(sound, beat))
    thread.start()
    thread.join(30)
    is_made = not thread.is_alive()
    beat.stop(Stopped())
    thread.join()
    return is_made


@pytest.mark.parametrize("number", [0, 1])
def test_sound_does_not_wait_for_a_chunk_that_waits_to_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    keep_back(monkeypatch, speed=0.0)
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        if number == 1:
            floor.work("video")
        floor.claim("video")
        floor.now += 2 * LEASE
        ledger.rescue(floor.shop.db, now=floor.now, max_attempts=3, hint="")
        picture = floor.claim("video")

        assert (picture.ordinal, picture.is_suspect) == (number, True)
        assert is_sound_made(floor, floor.claim("audio"))
        assert floor.step("audio").status == StepStatus.COMPLETED


def test_sound_that_begins_anew_hurries_to_where_its_hearers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_back(monkeypatch, speed=0.1)
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        floor.work("video")
        sound = floor.claim("audio")
        assert ledger.publish(floor.shop.db, sound, outputs=[part_of(sound)], now=floor.now)
        floor.work("announce")
        release(floor, sound)
        floor.claim("video")
        floor.now += timedelta(minutes=20)

        assert is_sound_made(floor, floor.claim("audio"))
        assert floor.step("audio").status == StepStatus.COMPLETED


def test_sound_stands_back_for_no_longer_than_its_step_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)
        floor.shop = replace(floor.shop, limits=replace(floor.shop.limits, clock=timedelta(seconds=12)))
        floor.claim("video")

        assert is_sound_made(floor, floor.claim("audio"))
        step = floor.step("audio")
        assert (step.status, step.error) == (StepStatus.COMPLETED, None)


def test_sound_that_the_picture_does_not_bring_along_is_made_all_the_same_on_a_slow_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Readers of pictures wait all the time.
    monkeypatch.setattr(blocks.Blocks, "is_short_of", lambda *_: True)
    monkeypatch.setattr(behind, "MOST_BEHIND_SECONDS", 0.2)
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch)

        assert is_sound_made(floor, floor.claim("audio"))
        assert floor.step("audio").status == StepStatus.COMPLETED


@pytest.mark.parametrize(("block_bytes", "turns"), [(BLOCK, 4), (BLOCK // 4, 1)])
def test_sound_stands_back_for_as_much_less_before_smaller_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, turns: int
) -> None:
    asked: Counter[int] = Counter()

    def is_short_of(_: blocks.Blocks, number: int) -> bool:
        asked[number] += 1
        return True

    monkeypatch.setattr(blocks.Blocks, "is_short_of", is_short_of)
    monkeypatch.setattr(behind, "MOST_BEHIND_SECONDS", 0.08)
    monkeypatch.setattr(behind, "_TURN_SECONDS", 0.02)
    with ExitStack() as stack:
        floor = slow_film(tmp_path, stack, monkeypatch, block_bytes=block_bytes)

        assert is_sound_made(floor, floor.claim("audio"))
        assert set(asked.values()) == {turns}


@pytest.mark.parametrize("growing", ["copy", "audio"])
def test_no_playlist_of_a_failed_film_names_what_went_with_its_failed_step(
    tmp_path: Path, b2: localb2.LocalB2, growing: str
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=1)
        floor.work("inspect", "audio" if growing == "copy" else "copy")
        claim = floor.claim(growing)
        assert ledger.publish(floor.shop.db, claim, outputs=[part_of(claim)], now=floor.now)
        floor.work("announce")
        before = floor.house.rows()["film.mp4"]["hls"]

        ledger.fail(
            floor.shop.db, claim, code="source_damaged", detail="", hint="", retry_at=None, now=floor.now
        )
        floor.clear_away()

        assert before is not None
        assert floor.house.rows()["film.mp4"]["hls"] is None
        assert not [name for name in floor.house.objects() if name.endswith(".m3u8")]


def test_a_film_that_failed_elsewhere_plays_as_far_as_it_is_made(tmp_path: Path, b2: localb2.LocalB2) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=1)
        floor.work("inspect", "copy", "audio", "announce")
        before = floor.house.rows()["film.mp4"]["hls"]

        claim = floor.claim("stills")
        ledger.fail(floor.shop.db, claim, code="bug", detail="", hint="", retry_at=None, now=floor.now)

        assert before is not None
        assert floor.house.rows()["film.mp4"]["hls"] == before


def test_what_an_earlier_run_made_plays_on_when_a_later_one_fails(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    with ExitStack() as stack:
        floor = copied_film(tmp_path, b2, stack, seconds=1)
        floor.work_to_the_end()
        before = floor.house.rows()["film.mp4"]["hls"]
        ledger.requeue(floor.shop.db, ids=[1], from_scratch=True, now=floor.now)
        floor.work("inspect")
        claim = floor.claim("copy")

        ledger.fail(floor.shop.db, claim, code="bug", detail="", hint="", retry_at=None, now=floor.now)

        assert before is not None
        assert floor.house.rows()["film.mp4"]["hls"] == before


def part_of(claim: ledger.Claim) -> ledger.NewOutput:
    """Return the first part of a growing step, as it would be recorded."""
    is_sound = claim.kind == StepKind.AUDIO
    return ledger.NewOutput(
        kind=OutputKind.AUDIO_PART if is_sound else OutputKind.VIDEO_PART,
        ordinal=0,
        rung=None if is_sound else 180,
        bucket="watcher-demo",
        name=f"transcoded/film.mp4/parts/{claim.token}.mp4",
        file_id=f"id-{claim.token}",
        size_bytes=1100,
        sha1="0" * 40,
        content_type="video/mp4",
        width=None if is_sound else 320,
        height=None if is_sound else 180,
        duration_seconds=1.0,
        frames=None,
        byte_ranges={
            "codec": "mp4a.40.2" if is_sound else "avc1.42c00c",
            "init_size": 100,
            "init_digest": "0",
            "starts_at_seconds": 0.0,
            "segments": [[100, 1000, 1.0]],
        },
    )


def asked_after(claim: ledger.Claim, count: int, heard: list[tuple[str, object]]) -> list[object]:
    """Return the questions whether somebody works on one of the first steps of that kind."""
    wanted = {claim.video_id, str(claim.kind), count, str(StepStatus.RUNNING), "worker_lost"}
    return [asked for _, asked in heard if isinstance(asked, tuple) and wanted == set(map(_plain, asked))]


def _plain(value: object) -> object:
    return value if isinstance(value, int) else str(value)
