"""The poster and the storyboard: the right pictures, at the right times, read back from the pixels."""

import itertools
from pathlib import Path

import av
import pytest
import webvtt
from clips import H264, PROFILE, bench, inspect_file, make, run
from house import House, clip

from watcher import command, encode, localb2, plan
from watcher.encode import workbench
from watcher.media import Media

GREY = "geq=lum='{}':cb=128:cr=128"
STAIRS = GREY.format("40+40*floor(T/2)")  # brighter every two seconds


def luma(path: Path, x: int, y: int) -> int:
    """Return the brightness of one pixel of a JPEG, 0 to 255."""
    with av.open(str(path)) as container:
        plane = next(container.decode(video=0)).reformat(format="gray").planes[0]
    return bytes(plane)[y * plane.line_size + x]


def greys(path: Path, picture: str, *, seconds: float, keyframe_every: int) -> Media:
    """Make a clip of a grey that changes as `picture` says, and inspect it."""
    source = f"color=black:size=320x180:rate=10:duration={seconds},format=yuv420p,{picture}"
    run("-f", "lavfi", "-i", source, *H264, "-g", str(keyframe_every), str(path))
    return inspect_file(path, path.parent)


def test_each_tile_shows_the_picture_of_its_time(tmp_path: Path) -> None:
    source = tmp_path / "stairs.mp4"
    facts = greys(source, STAIRS, seconds=10, keyframe_every=5)
    planned = plan.make(facts, PROFILE).storyboard

    [sheet] = encode.storyboard(source, facts, planned, bench(tmp_path))

    assert (planned.tiles, planned.interval_seconds, planned.columns, planned.rows) == (5, 2.0, 5, 1)
    shown = [luma(sheet.path, number * planned.tile_width + 80, 45) for number in range(5)]
    steps = [later - earlier for earlier, later in itertools.pairwise(shown)]
    assert all(40 <= step <= 53 for step in steps), shown  # 40, in the full range that JPEG has


REORDERED = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-pix_fmt", "yuv420p")
SLOW_STAIRS = GREY.format("30+16*floor(T/2)")


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_pictures_that_are_stored_out_of_order_are_shown_at_their_times(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"stairs.{ending}"
    picture = f"color=black:size=320x180:rate=10:duration=20,format=yuv420p,{SLOW_STAIRS}"
    run("-f", "lavfi", "-i", picture, *REORDERED, "-g", "5", str(source))

    shown = tiles(source)

    # AVI says when a picture is decoded, not when it is shown: that is a little later.
    assert shown[1:10] == pytest.approx([30 + 16 * number for number in range(1, 10)], abs=3)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_keyframes_that_a_decoder_turns_round_do_not_go_back_in_time(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"open.{ending}"
    picture = f"color=black:size=320x180:rate=10:duration=24,format=yuv420p,{SLOW_STAIRS}"
    open_gop = ("-x264-params", "open-gop=1:keyint=15:bframes=3")
    run("-f", "lavfi", "-i", picture, *REORDERED, *open_gop, str(source))

    shown = tiles(source)

    assert shown == sorted(shown)
    # Never more than one tile behind, nor ahead but for the first.
    behind = [number - round((grey - 30) / 16) for number, grey in enumerate(shown[1:12], start=1)]
    assert set(behind) <= {0, 1}, shown


def tiles(source: Path) -> list[int]:
    """Return the grey of each tile of a source's storyboard, as the clip was made with it."""
    facts = inspect_file(source, source.parent)
    planned = plan.make(facts, PROFILE).storyboard
    [sheet] = encode.storyboard(source, facts, planned, bench(source.parent))
    places = [divmod(number, planned.columns) for number in range(planned.tiles)]
    across, down = planned.tile_width, planned.tile_height
    full = [luma(sheet.path, column * across + across // 2, row * down + down // 2) for row, column in places]
    return [round(16 + grey * 219 / 255) for grey in full]  # JPEG has the full range


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_no_more_keyframes_are_decoded_than_there_are_tiles(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"stairs.{ending}"
    facts = greys(source, STAIRS, seconds=10, keyframe_every=5)
    planned = plan.make(facts, PROFILE).storyboard
    arguments = command.storyboard(source, facts, planned, decoded="firsts")
    table = bench(tmp_path)

    report = workbench.run(arguments, facts, table)

    [read] = report.read.values()
    assert read.frames == planned.tiles
    assert (table.folder / (command.SHEETS % 0)).stat().st_size > 0


def test_where_keyframes_are_rare_the_last_one_is_shown_again(tmp_path: Path) -> None:
    source = tmp_path / "one-keyframe.mp4"
    facts = greys(source, GREY.format(150), seconds=7, keyframe_every=999)
    planned = plan.make(facts, PROFILE).storyboard

    [sheet] = encode.storyboard(source, facts, planned, bench(tmp_path))

    assert planned.tiles == 4
    assert all(luma(sheet.path, number * 160 + 80, 45) > 130 for number in range(4))


def test_a_clip_much_shorter_than_a_tile_has_one_tile(tmp_path: Path) -> None:
    clip = make(tmp_path / "blink.mp4", seconds=0.2, size="160x90", sound=False)
    facts = inspect_file(clip, tmp_path)

    sheets = encode.storyboard(clip, facts, plan.make(facts, PROFILE).storyboard, bench(tmp_path))

    assert [(sheet.width, sheet.height) for sheet in sheets] == [(160, 90)]


def test_a_poster_is_not_taken_from_the_dark_beginning(tmp_path: Path) -> None:
    source = tmp_path / "fade-in.mp4"
    facts = greys(source, GREY.format("if(lt(T,6),16,180)"), seconds=8, keyframe_every=5)

    made = encode.poster(source, facts, plan.make(facts, PROFILE).stills, bench(tmp_path))

    assert luma(made.path, 160, 90) > 150


def test_a_film_that_is_dark_all_through_has_a_poster_all_the_same(tmp_path: Path) -> None:
    source = tmp_path / "night.mp4"
    facts = greys(source, GREY.format(20), seconds=2, keyframe_every=5)

    made = encode.poster(source, facts, plan.make(facts, PROFILE).stills, bench(tmp_path))

    assert luma(made.path, 160, 90) < 20


@pytest.mark.parametrize(
    ("seconds", "tiles", "interval", "sheets"),
    [(0.5, 1, 2.0, 1), (60, 30, 2.0, 1), (600, 100, 6.0, 1), (1800, 300, 6.0, 3), (3600, 300, 12.0, 3)],
)
def test_the_tiles_of_a_storyboard_lie_two_to_six_seconds_apart_until_there_are_three_sheets(
    tmp_path: Path, seconds: float, tiles: int, interval: float, sheets: int
) -> None:
    source = make(tmp_path / "clip.mkv", seconds=0.5, sound=False, size="180x320")
    facts = inspect_file(source, tmp_path)
    assert facts.video is not None
    longer = {**facts.__dict__, "duration_seconds": seconds}
    longer["video"] = {**facts.video.__dict__, "duration_seconds": seconds}

    made = plan.make(Media(**longer), PROFILE).storyboard

    assert (made.tiles, made.interval_seconds, made.sheets) == (tiles, interval, sheets)
    assert (made.tile_width, made.tile_height) == (90, 160)


def test_the_published_storyboard_covers_the_video_and_names_what_is_there(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    house = House(tmp_path, b2)
    house.upload(clip(tmp_path / "clip.mov", "-c:v", "mpeg4", "-c:a", "pcm_s16le", seconds=5), "a b/é.mov")

    house.run_until_idle()

    row = house.rows()["a b/é.mov"]
    assert row["storyboard"] == "transcoded/a b/é.mov/storyboard.vtt"
    cues = list(webvtt.read(str(house.download(row["storyboard"], tmp_path / "storyboard.vtt"))))
    assert [cue.start for cue in cues] == ["00:00:00.000", "00:00:02.000", "00:00:04.000"]
    assert cues[-1].end_in_seconds == pytest.approx(row["duration_seconds"], abs=0.001)
    [sheet] = {cue.text.partition("#")[0] for cue in cues}
    path = house.download(f"transcoded/a b/é.mov/{sheet}", tmp_path / "sheet.jpg")
    with av.open(str(path)) as container:
        picture = container.streams.video[0]
        assert (picture.width, picture.height) == (3 * 160, 90)
    assert [cue.text.partition("=")[2] for cue in cues] == ["0,0,160,90", "160,0,160,90", "320,0,160,90"]
    assert house.unaccounted() == set()
