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


BITS = 10  # of a frame's number, as black and white bars from left to right
BARS = (
    r"geq=lum='if(mod(floor(N/pow(2\,X))\,2)\,220\,30)',scale=320:180:flags=neighbor,setsar=1,format=yuv420p"
)
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params")
MPEG2 = ("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-q:v", "3", "-c:a", "mp2")


def numbered(path: Path, *encoding: str, seconds: float, rate: int) -> Path:
    """Make a clip whose frames have their numbers drawn into them."""
    run(
        "-f",
        "lavfi",
        "-i",
        f"color=size={BITS}x2:rate={rate}:duration={seconds},format=gray,{BARS}",
        *encoding,
        str(path),
    )
    return path


def number(
    picture: av.VideoFrame, left: int, top: int, width: int, height: int, *, is_upright: bool = True
) -> int:
    """Read the number of the frame that a part of a picture shows."""
    plane = picture.reformat(format="gray").planes[0]
    found = 0
    for bit in range(BITS):
        along = (bit + 0.5) / BITS
        # Turned clockwise by a quarter, what was on the left is at the top.
        x, y = (along * width, height / 2) if is_upright else (width / 2, along * height)
        brightness = memoryview(plane)[(top + int(y)) * plane.line_size + left + int(x)]
        assert not 90 < brightness < 160, "neither black nor white"
        found |= (brightness > 125) << bit
    return found


def numbers(source: Path, *, is_upright: bool = True) -> list[int]:
    """Return which frame each tile of a source's storyboard shows."""
    facts = inspect_file(source, source.parent)
    planned = plan.make(facts, PROFILE).storyboard
    [sheet] = encode.storyboard(source, facts, planned, bench(source.parent))
    size = planned.tile_width, planned.tile_height
    with av.open(str(sheet.path)) as container:
        picture = next(container.decode(video=0))
    places = [divmod(tile, planned.columns) for tile in range(planned.tiles)]
    return [
        number(picture, column * size[0], row * size[1], *size, is_upright=is_upright)
        for row, column in places
    ]


def keyframes(source: Path) -> list[int]:
    """Return the numbers of the keyframes of a clip, of whose frames each is decoded."""
    with av.open(str(source)) as container:
        return [number(frame, 0, 0, 320, 180) for frame in container.decode(video=0) if frame.key_frame]


def due(source: Path, *, rate: int, tiles: int, late: float = 0.0, cut: int = 0) -> list[int]:
    """Return which frame is due in each tile of two seconds: the first keyframe there, or the last one before.

    The picture begins `late` seconds after the sound; the first `cut` frames are not shown.
    """
    keys = [one for one in keyframes(source) if one >= cut]
    found, last = [], cut
    for tile in range(tiles):
        inside = [one for one in keys if 2 * tile <= round((one - cut) / rate + late, 3) < 2 * tile + 2]
        found.append(inside[0] if inside else last)
        last = found[-1]
    return found


OPEN_GOPS = "log-level=error:open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=3:b-adapt=0"


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_h264_with_open_gops_shows_the_first_keyframe_of_each_tile(tmp_path: Path, ending: str) -> None:
    options = OPEN_GOPS.removeprefix("log-level=error:")
    source = numbered(tmp_path / f"open.{ending}", *X264, options, seconds=24, rate=10)

    shown = numbers(source)

    assert shown == due(source, rate=10, tiles=12)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_hevc_with_open_gops_shows_the_first_keyframe_of_each_tile(tmp_path: Path, ending: str) -> None:
    source = numbered(tmp_path / f"open.{ending}", *X265, OPEN_GOPS, seconds=24, rate=10)

    shown = numbers(source)

    assert shown == due(source, rate=10, tiles=12)


def test_hevc_as_x265_makes_it_loses_no_keyframe(tmp_path: Path) -> None:
    # Its pictures are counted modulo 256: 250 frames on, a keyframe looks like one that another one refers to.
    options = "log-level=error:keyint=250:scenecut=0"
    source = numbered(tmp_path / "usual.mp4", *X265, options, "-tag:v", "hvc1", seconds=33, rate=25)

    shown = numbers(source)

    assert shown == [0] * 5 + [250] * 5 + [500] * 5 + [750] * 2


@pytest.mark.parametrize("ending", ["mpg", "ts"])
@pytest.mark.parametrize("late", [0.0, 1.4])
def test_mpeg_shows_each_tile_at_its_time_beside_the_sound(tmp_path: Path, ending: str, late: float) -> None:
    picture = numbered(tmp_path / "picture.mkv", *MPEG2, "-sc_threshold", "1000000000", seconds=10, rate=25)
    source = tmp_path / f"both.{ending}"
    sound = ("-f", "lavfi", "-i", "sine=sample_rate=48000:duration=11")
    run(*sound, "-itsoffset", str(late), "-i", str(picture), "-c:v", "copy", "-c:a", "mp2", str(source))
    facts = inspect_file(source, tmp_path)
    assert facts.video is not None
    assert facts.video.start_seconds is not None

    shown = numbers(source)

    behind = facts.video.start_seconds - facts.start_seconds
    assert behind == pytest.approx(late, abs=0.1)
    assert shown[:5] == due(source, rate=25, tiles=5, late=behind)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_an_edit_list_hides_is_on_no_tile(tmp_path: Path, codec: str) -> None:
    encoding = (*X265, OPEN_GOPS, "-tag:v", "hvc1") if codec == "hevc" else (*X264, "keyint=15:bframes=3")
    whole = numbered(tmp_path / "whole.mp4", *encoding, seconds=10, rate=25)
    source = tmp_path / "cut.mp4"
    run("-ss", "1.9", "-i", str(whole), "-c", "copy", str(source))

    shown = numbers(source)

    assert shown == due(whole, rate=25, tiles=4, cut=48)


def test_a_film_that_begins_between_keyframes_shows_its_beginning(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "whole.mp4", *X264, "keyint=120:scenecut=0:bframes=3", seconds=10, rate=25)
    source = tmp_path / "cut.mp4"
    run("-ss", "0.48", "-i", str(whole), "-c", "copy", str(source))

    shown = numbers(source)

    # The next keyframe is shown at 4.3 s: before it, what is first in each stretch of two seconds.
    assert shown[0] in (12, 13)
    assert shown[1] - shown[0] in (49, 50, 51)
    assert shown[2:] == [120, 120, 240]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_where_a_tile_has_no_keyframe_it_shows_the_last_one_before(tmp_path: Path, codec: str) -> None:
    options = "log-level=error:keyint=250:scenecut=0" if codec == "hevc" else "keyint=250:scenecut=0"
    encoding = (*(X265 if codec == "hevc" else X264), options, "-force_key_frames", "0,1.2")
    source = numbered(tmp_path / "scenes.mp4", *encoding, seconds=9, rate=10)
    assert keyframes(source) == [0, 12]

    shown = numbers(source)

    assert shown == [0, 12, 12, 12, 12]


def test_xvid_with_two_pictures_in_a_packet_shows_each_tile(tmp_path: Path) -> None:
    encoding = ("-c:v", "libxvid", "-bf", "2", "-g", "8", "-q:v", "4")
    source = numbered(tmp_path / "packed.avi", *encoding, seconds=8, rate=25)

    shown = numbers(source)

    # When a picture is shown is not told: each may be some frames too early.
    assert set(shown) <= set(keyframes(source))
    assert all(-4 <= frame - 50 * tile <= 8 for tile, frame in enumerate(shown)), shown


@pytest.mark.parametrize(("ending", "encoding"), [("h264", (*X264, "keyint=40")), ("m2v", MPEG2[:-2])])
def test_a_film_without_any_times_shows_each_tile(
    tmp_path: Path, ending: str, encoding: tuple[str, ...]
) -> None:
    source = numbered(tmp_path / f"bare.{ending}", *encoding, seconds=8, rate=25)

    shown = numbers(source)

    assert shown[0] == 0
    assert 150 <= shown[1] < 200  # six seconds on: for all that is known it lasts ten minutes


def test_tiles_of_a_turned_film_of_wide_pixels_are_upright(tmp_path: Path) -> None:
    whole = numbered(
        tmp_path / "whole.mp4", *X264, "keyint=20:scenecut=0", "-vf", "setsar=4/3", seconds=4, rate=10
    )
    source = tmp_path / "turned.mp4"
    run("-display_rotation", "270", "-i", str(whole), "-c", "copy", str(source))
    planned = plan.make(inspect_file(source, tmp_path), PROFILE).storyboard

    shown = numbers(source, is_upright=False)

    assert (planned.tile_width, planned.tile_height) == (68, 160)
    assert shown == [0, 20]


def test_a_poster_of_a_film_with_open_gops_is_not_taken_from_the_dark_beginning(tmp_path: Path) -> None:
    source = tmp_path / "open.mp4"
    dark = f"color=black:size=320x180:rate=10:duration=20,format=yuv420p,{GREY.format('if(lt(T,12),16,180)')}"
    run("-f", "lavfi", "-i", dark, *X264, OPEN_GOPS.removeprefix("log-level=error:"), str(source))
    facts = inspect_file(source, tmp_path)

    made = encode.poster(source, facts, plan.make(facts, PROFILE).stills, bench(tmp_path))

    assert luma(made.path, 160, 90) > 150


def tiles(source: Path) -> list[int]:
    """Return the grey of each tile of a source's storyboard, as the clip was made with it."""
    facts = inspect_file(source, source.parent)
    planned = plan.make(facts, PROFILE).storyboard
    [sheet] = encode.storyboard(source, facts, planned, bench(source.parent))
    places = [divmod(number, planned.columns) for number in range(planned.tiles)]
    across, down = planned.tile_width, planned.tile_height
    full = [luma(sheet.path, column * across + across // 2, row * down + down // 2) for row, column in places]
    return [round(16 + grey * 219 / 255) for grey in full]  # JPEG has the full range


def test_no_more_keyframes_of_hevc_are_decoded_than_there_are_tiles(tmp_path: Path) -> None:
    source = numbered(tmp_path / "often.mp4", *X265, "log-level=error:keyint=5", seconds=10, rate=10)
    facts = inspect_file(source, tmp_path)
    planned = plan.make(facts, PROFILE).storyboard
    table = bench(tmp_path)

    copied = workbench.run(command.keyframes(source, facts, planned), facts, table)
    report = workbench.run(
        command.tiles_of(table.folder / command.KEYFRAMES, facts, planned, but=[3]), facts, table
    )

    assert copied.wrote[0, 0].packets == planned.tiles == 5
    [read] = report.read.values()
    assert read.frames == 4


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi"])
def test_no_more_keyframes_are_decoded_than_there_are_tiles(tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"stairs.{ending}"
    facts = greys(source, STAIRS, seconds=10, keyframe_every=5)
    planned = plan.make(facts, PROFILE).storyboard
    arguments = command.tiles(source, facts, planned, decoded="firsts")
    table = bench(tmp_path)

    report = workbench.run(arguments, facts, table)

    [read] = report.read.values()
    assert read.frames == planned.tiles
    assert len(list(table.folder.iterdir())) == planned.tiles


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
    [
        (0.5, 1, 2.0, 1),
        (8.4, 4, 2.0, 1),
        (8.6, 5, 2.0, 1),
        (60, 30, 2.0, 1),
        (600, 100, 6.0, 1),
        (1800, 300, 6.0, 3),
        (3600, 300, 12.0, 3),
    ],
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
