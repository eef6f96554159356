"""The beginning of the MP4, which goes up while the rest of a film is made. Real ffmpeg, real B2 over HTTP."""

import dataclasses
import errno
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from clips import bench, inspect_file, run
from house import House, clip
from test_chunks import B_FRAMES, encoded_plan, numbered
from test_steps import Floor, open_floor

from watcher import encode, localb2, publish, stats
from watcher.beat import Beat
from watcher.errors import Failure
from watcher.localb2 import Fault, operations, simulator
from watcher.models import OutputKind
from watcher.plan import ahead
from watcher.steps import film as stitching

PART = 10_000  # bytes; what B2 takes at least here
SINE = ("-f", "lavfi", "-i")


@pytest.mark.parametrize(
    ("sound", "select"),
    [
        ((*SINE, "sine=duration=30"), "1"),
        (("-itsoffset", "12", *SINE, "sine=duration=10"), "1"),
        ((*SINE, "sine=duration=5"), "1"),
        ((*SINE, "sine=duration=50"), "1"),
        ((*SINE, "sine=duration=30"), "not(mod(n,7))+between(n,90,200)+gt(n,290)"),
        ((*SINE, "sine=duration=30"), "lt(n,150)+gt(n,600)"),
        ((), "1"),
    ],
    ids=["as long", "late", "shorter", "longer", "uneven", "gap", "silent"],
)
def test_the_film_begins_with_the_samples_of_its_first_chunks(
    tmp_path: Path, sound: tuple[str, ...], select: str
) -> None:
    picture = numbered(tmp_path / "picture.mp4", *B_FRAMES, "-g", "60", seconds=30, select=select)
    source = tmp_path / "film.mp4"
    run(
        "-i",
        str(picture),
        *sound,
        "-map",
        "0",
        *(("-map", "1") if sound else ()),
        "-c:v",
        "copy",
        str(source),
    )
    found = inspect_file(source, tmp_path)
    made = encoded_plan(found)
    chunks = [encode.video_chunk(source, found, made, chunk, bench(tmp_path))[0] for chunk in made.chunks]
    audio = encode.audio(source, found, made.audio, bench(tmp_path)).path if made.audio else None  # type: ignore[union-attr]
    paths = [chunk.path for chunk in chunks]
    film = encode.package(paths, audio, found, made.video, bench(tmp_path)).path
    whole = samples_of(film)

    for count in range(1, len(paths)):
        beginning = samples_of(encode.begin(paths[:count], audio, found, bench(tmp_path)))
        sure = len(beginning) - 8_000  # of 0.3 Mbit/s: less than half of what UNSURE_BYTES are of 4.5
        assert sure > 0
        assert beginning[:sure] == whole[:sure]


def samples_of(path: Path) -> bytes:
    found = encode.samples(path)
    assert found is not None
    return path.read_bytes()[found.start : found.end]


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        (b"\0\0\0\x08ftyp\0\0\0\x08moov\0\0\0\x0cmdatabcd", (24, 28, True)),
        (b"\0\0\0\x08ftyp\0\0\0\x0cmdatabcd\0\0\0\x08moov", (16, 20, False)),
        (b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14abcd", (16, 20, False)),
        (b"\0\0\0\x08ftyp\0\0\0\x0dmdatabcd", None),
        (b"\0\0\0\x08ftyp\0\0\0\0mdatabcd", None),
        (b"\0\0\0\x08ftyp", None),
        (b"", None),
    ],
)
def test_where_samples_lie(tmp_path: Path, boxes: bytes, found: tuple[int, int, bool] | None) -> None:
    (tmp_path / "film").write_bytes(boxes)
    samples = encode.samples(tmp_path / "film")
    assert (dataclasses.astuple(samples) if samples else None) == found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of three chunks that has to be encoded."""
    folder = tmp_path_factory.mktemp("film")
    return clip(folder / "film.mov", "-c:v", "mpeg4", "-g", "25", "-c:a", "aac", seconds=14, size="320x180")


@pytest.fixture
def b2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[localb2.LocalB2]:
    """A B2 whose parts are so small that a small film has many."""
    for module in (operations, simulator):
        monkeypatch.setattr(module, "SMALLEST_PART_BYTES", PART)
    monkeypatch.setattr(ahead, "LEAST_BYTES", 0)
    monkeypatch.setattr(stitching, "UNSURE_BYTES", 20_000)
    with localb2.serve(tmp_path / "b2", part_bytes=4 * PART) as server:
        yield server


@pytest.fixture
def floor(tmp_path: Path, b2: localb2.LocalB2, film: Path) -> Iterator[Floor]:
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="180", QUALITY="fast")
        floor.house.upload(film)
        floor.sweep()
        yield floor


def pieces(house: House) -> list[str]:
    return sorted(name for name in house.objects() if "/parts/stitch-" in name)


def check_film(floor: Floor) -> None:
    """Check that the film is complete, is what was recorded, and that nothing is left of its beginning."""
    video = floor.video()
    assert (video.status, video.reason) == ("completed", None)
    [output] = [row for row in stats.outputs(floor.shop.readings, 1) if row.kind == OutputKind.MP4]
    path = floor.house.folder / "film.mp4"
    floor.shop.target.download(output.file_id, path, beat=Beat())
    assert hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest() == output.sha1
    assert output.frames == 14 * 30
    floor.clear_away()
    assert pieces(floor.house) == []
    # The workshop is still open.
    assert [one for one in floor.house.broken() if "scratch folder" not in one.what] == []


def test_what_is_there_of_the_mp4_goes_up_early_and_is_copied_into_it(
    floor: Floor, b2: localb2.LocalB2
) -> None:
    floor.work("inspect", "video", "video", "audio")
    assert floor.step("stitch").status == "pending"
    assert [step.status for step in stats.steps(floor.shop.readings, 1) if step.kind == "video"][2:] == [
        "pending"
    ]

    floor.work("stitch")
    early = pieces(floor.house)
    b2.calls.clear()
    floor.work_to_the_end()

    assert len(early) > 2
    assert b2.calls["b2_copy_part"] == len(early)
    check_film(floor)


def test_a_copied_picture_is_stitched_while_its_smaller_sizes_are_made(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    with ExitStack() as stack:
        floor = open_floor(tmp_path, b2, stack, LADDER="180,144", QUALITY="fast")
        floor.house.upload(clip(tmp_path / "film.mp4", "-g", "25", seconds=14, size="320x180"))
        floor.sweep()
        floor.work("inspect")
        assert floor.step("stitch").status == "blocked"
        floor.work("copy", "audio")
        assert (floor.step("stitch").status, floor.step("video").status) == ("pending", "pending")

        floor.work("stitch")
        floor.work_to_the_end()

        assert b2.calls["b2_copy_part"] > 2
        check_film(floor)


NO_USE = ("fails", "has a bug", "fills the disk", "stalls", "is refused", "is small")


@pytest.mark.parametrize("trouble", [*NO_USE, "is not there", "was changed", "cannot be copied"])
def test_a_film_whose_beginning_is_of_no_use_is_completed_all_the_same(
    floor: Floor, b2: localb2.LocalB2, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    troubles = {
        "fails": Failure("encode_failed", "a trial"),
        "has a bug": ValueError("a trial"),
        "fills the disk": OSError(errno.ENOSPC, "a trial"),
    }

    def fail(*_: object) -> Path:
        raise troubles[trouble]

    floor.work("inspect", "video", "video", "audio")
    beat = Beat()
    if trouble in troubles:
        monkeypatch.setattr(encode, "begin", fail)
    if trouble == "stalls":
        beat.stop(Failure("stalled", "a trial"))
    if trouble == "is refused":  # of several pieces the second
        b2.faults.extend([Fault("b2_upload_file"), Fault("b2_upload_file", 400, b'{"code": "bad_request"}')])
    if trouble == "is small":
        monkeypatch.setattr(stitching, "UNSURE_BYTES", 10**9)
    floor.perform(floor.claim("stitch"), beat)
    assert floor.step("stitch").status == "completed"
    floor.clear_away()
    early = pieces(floor.house)
    assert (early == []) == (trouble in NO_USE)
    if trouble == "is not there":
        for name in early:
            for file_id in floor.house.objects()[name]:
                floor.shop.target.delete(file_id, name)
    if trouble == "was changed":
        with floor.shop.db.begin() as connection:
            connection.exec_driver_sql("UPDATE outputs SET sha1 = 'ab' WHERE kind = 'mp4_part'")
    if trouble == "cannot be copied":
        b2.faults.append(Fault("b2_copy_part", 401, b'{"code": "unauthorized"}', times=-1))
    b2.calls.clear()
    floor.work_to_the_end()

    expected = len(early) if trouble in ("is not there", "cannot be copied") else 0
    assert b2.calls["b2_copy_part"] >= expected
    assert expected or "b2_copy_part" not in b2.calls
    check_film(floor)


def test_a_beginning_that_meets_an_outage_is_tried_again(floor: Floor, b2: localb2.LocalB2) -> None:
    floor.work("inspect", "video", "video", "audio")
    claim = floor.claim("stitch")
    b2.faults.append(Fault("b2_upload_file", 503, headers={"Retry-After": "900"}, times=3))
    floor.perform(claim)

    assert (floor.step("stitch").status, floor.step("stitch").attempts) == ("pending", 0)
    floor.clear_away()
    assert floor.objects_of(claim.token) == []
    b2.faults.clear()
    floor.now += timedelta(hours=1)
    floor.work_to_the_end()
    check_film(floor)


def test_a_beginning_that_lies_elsewhere_since_the_settings_were_changed_is_copied_from_there(
    floor: Floor, b2: localb2.LocalB2
) -> None:
    floor.work("inspect", "video", "video", "audio")
    right = floor.shop
    floor.shop = dataclasses.replace(right, output_prefix="elsewhere/")
    floor.work("stitch")
    floor.shop = right
    b2.calls.clear()
    floor.work_to_the_end()

    assert b2.calls["b2_copy_part"] > 2
    check_film(floor)


def test_the_beginning_comes_before_the_chunk_that_follows(floor: Floor) -> None:
    floor.work("inspect", "video", "video", "audio")
    assert [floor.claim().kind for _ in range(3)] == ["announce", "stitch", "video"]


def test_a_beginning_takes_no_more_of_the_disk_than_twice_its_size(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    cut = publish.cut

    def watched(path: Path, target: Path, start: int, end: int) -> None:
        cut(path, target, start, end)
        most.append(sum(file.stat().st_size for file in target.parent.iterdir()) - 2 * path.stat().st_size)

    monkeypatch.setattr(publish, "cut", watched)
    floor.work("inspect", "video", "video", "audio", "stitch")

    assert len(most) > 2
    assert max(most) < 0


def test_a_beginning_that_was_lost_to_another_worker_leaves_nothing(floor: Floor) -> None:
    floor.work("inspect", "video", "video", "audio")
    claim = floor.claim("stitch")
    with floor.shop.db.begin() as connection:
        connection.exec_driver_sql("UPDATE steps SET token = 'another' WHERE kind = 'stitch'")

    floor.perform(claim)

    assert floor.objects_of(claim.token) == []
