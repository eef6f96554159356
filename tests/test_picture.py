"""Pictures that are easily shown wrong: HDR, transparent, mirrored, combed, and of two sizes; looked at, decoded.

The most telling of the awkward files in `tests/awkward`, without the daemon.
"""

import itertools
import subprocess
from pathlib import Path

import av
import pytest
from clips import BINARY, H264, PROFILE, bench, inspect_file, run

from watcher import command, encode, plan

HALVES = "color=0xc02020:size=320x180:rate=25:duration=0.4,format=gbrp,drawbox=160:0:160:180:0x2020c0:fill"
TO_LIGHT = "setparams=colorspace=gbr:color_primaries=bt709:color_trc=bt709:range=pc,zscale=t=linear:npl=100"
HEVC = (
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-x265-params",
    "log-level=error",
    "-pix_fmt",
    "yuv420p10le",
)
# How far the film may be from the reference on average, of 255: what x264 at CRF 23 does to flat colours.
MEAN_WITHIN = 2.0


def film(source: Path) -> tuple[plan.Plan, encode.Made]:
    """Make the top rung as the steps do."""
    found = inspect_file(source, source.parent)
    made = plan.make(found, PROFILE)
    return made, encode.video(source, found, made.video, bench(source.parent))


def first(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def luma(frame: av.VideoFrame, x: int, y: int) -> int:
    return memoryview(frame.planes[0])[y * frame.planes[0].line_size + x]


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_comes_out_as_the_reference_conversion_shows_it(tmp_path: Path, transfer: str) -> None:
    source = tmp_path / "hdr.mkv"
    to_hdr = f"{TO_LIGHT},format=gbrpf32le,zscale=p=bt2020,zscale=t={transfer}:m=bt2020nc:r=tv:npl=203"
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", transfer)
    run("-f", "lavfi", "-i", HALVES, "-vf", to_hdr, *HEVC, *tags, str(source))

    _, made = film(source)

    chain = (
        "scale=320:180:flags=bicubic,zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"
        "tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
    )
    options = ["-loglevel", "error", "-i", str(source), "-vf", chain, "-frames:v", "1", "-f", "rawvideo", "-"]
    reference = subprocess.run([str(BINARY), *options], check=True, capture_output=True).stdout
    frame = first(made.path)
    ours = b"".join(_plane(plane) for plane in frame.planes)
    assert len(ours) == len(reference)
    assert sum(abs(a - b) for a, b in zip(ours, reference, strict=True)) / len(ours) <= MEAN_WITHIN
    tagged = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    assert tuple(map(int, tagged)) == (1, 1, 1, 1)


@pytest.mark.parametrize(("size", "matrix", "tag"), [("320x180", "smpte170m", 6), ("1280x720", "bt709", 1)])
def test_a_picture_that_is_falsely_said_to_be_rgb_is_taken_for_an_untagged_one(
    tmp_path: Path, size: str, matrix: str, tag: int
) -> None:
    red = f"color=c=0xc02020:size={size}:duration=1,scale=out_color_matrix={matrix},format=yuv420p"
    run("-f", "lavfi", "-i", red, *H264, str(tmp_path / "red.mp4"))
    said = ("-c", "copy", "-bsf:v", "h264_metadata=matrix_coefficients=0")
    run("-i", str(tmp_path / "red.mp4"), *said, str(tmp_path / "said.mp4"))

    _, made = film(tmp_path / "said.mp4")

    before, after = first(tmp_path / "said.mp4"), first(made.path)
    assert (int(before.colorspace), int(after.colorspace)) == (0, tag)
    for ours, theirs in zip(after.planes, before.planes, strict=True):
        assert abs(bytes(ours)[0] - bytes(theirs)[0]) <= 2


def test_what_is_transparent_shows_black(tmp_path: Path) -> None:
    source = tmp_path / "alpha.mov"
    holes = f"{HALVES},format=gbrap,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(X,160)'"
    run("-f", "lavfi", "-i", holes, "-c:v", "qtrle", "-pix_fmt", "argb", str(source))

    _, made = film(source)

    frame = first(made.path)
    assert luma(frame, 80, 90) > 60
    assert luma(frame, 240, 90) <= 20


def test_a_mirrored_clip_is_never_copied_and_comes_out_mirrored(tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", HALVES, *H264, str(tmp_path / "flat.mp4"))
    turned = ("-display_vflip", "-display_rotation", "180", "-i", str(tmp_path / "flat.mp4"))
    run(*turned, "-c", "copy", str(tmp_path / "mirrored.mp4"))

    planned, made = film(tmp_path / "mirrored.mp4")

    assert planned.video.mode == "encode"
    frame = first(made.path)
    assert luma(frame, 80, 90) < luma(first(tmp_path / "flat.mp4"), 80, 90) - 10


def test_a_clip_that_is_turned_by_no_quarter_looks_the_same_in_every_size(tmp_path: Path) -> None:
    run("-f", "lavfi", "-i", HALVES, *H264, str(tmp_path / "flat.mp4"))
    turned = ("-display_rotation", "45", "-i", str(tmp_path / "flat.mp4"))
    run(*turned, "-c", "copy", str(tmp_path / "tilted.mp4"))

    planned, made = film(tmp_path / "tilted.mp4")

    assert planned.video.mode == "encode"  # as the smaller sizes are; a copy would keep its matrix
    assert first(made.path).rotation == 0


def test_combed_pictures_that_nobody_called_interlaced_are_found_and_mended(tmp_path: Path) -> None:
    bar = "color=0x202020:size=320x180:rate=50:duration=1[a];color=0x909090:size=40x180:rate=50:duration=1[b]"
    graph = f"{bar};[a][b]overlay=x='mod(n*7\\,280)',interlace=lowpass=0,setfield=prog"
    run("-f", "lavfi", "-i", graph, "-c:v", "mpeg4", "-q:v", "2", str(tmp_path / "tape.mkv"))

    planned, made = film(tmp_path / "tape.mkv")

    assert planned.video.deinterlace
    assert _combs(tmp_path / "tape.mkv") > 0.5
    assert _combs(made.path) < 0.1


def test_a_picture_that_becomes_narrow_gets_bars_and_is_not_copied(tmp_path: Path) -> None:
    with (tmp_path / "both.h264").open("wb") as both:
        for size in ("320x180", "240x180"):
            colour = f"color=white:size={size}:rate=25:duration=0.4"
            run("-f", "lavfi", "-i", colour, *H264, str(tmp_path / f"{size}.h264"))
            both.write((tmp_path / f"{size}.h264").read_bytes())
    joined = tmp_path / "joined.mkv"
    run("-framerate", "25", "-i", str(tmp_path / "both.h264"), "-c", "copy", str(joined))

    planned, made = film(joined)

    assert planned.video.mode == "copy"
    assert not made.is_copy
    with av.open(str(made.path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 20
    assert luma(frames[0], 5, 90) > 200
    assert [luma(frames[-1], x, 90) > 200 for x in (5, 160, 315)] == [False, True, False]


def test_of_two_programmes_picture_and_sound_of_the_same_one_are_chosen(tmp_path: Path) -> None:
    source = tmp_path / "two.ts"
    inputs = []
    for size, tone in (("160x90", "300"), ("320x180", "600")):
        inputs += ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=1"]
        inputs += ["-f", "lavfi", "-i", f"sine={tone}:duration=1"]
    maps = [argument for number in range(4) for argument in ("-map", f"{number}:0")]
    programmes = ("-program", "program_num=1:st=0:st=1", "-program", "program_num=2:st=2:st=3")
    run(*inputs, *maps, *programmes, *H264, "-c:a", "mp2", str(source))

    found = inspect_file(source, tmp_path)

    assert found.video is not None
    assert found.audio is not None
    assert (found.video.width, found.video.index, found.audio.index) == (320, 2, 3)


def test_the_sound_of_a_radio_programme_is_not_taken_for_that_of_the_film_beside_it(tmp_path: Path) -> None:
    source = tmp_path / "radio.ts"
    inputs = ["-f", "lavfi", "-i", "sine=300:duration=1"]
    inputs += ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=1"]
    inputs += ["-f", "lavfi", "-i", "sine=600:duration=1"]
    maps = [argument for number in range(3) for argument in ("-map", f"{number}:0")]
    programmes = ("-program", "program_num=1:st=0", "-program", "program_num=2:st=1:st=2")
    run(*inputs, *maps, *programmes, *H264, "-c:a", "mp2", str(source))

    found = inspect_file(source, tmp_path)

    assert found.audio is not None
    assert found.audio.index == 2


def test_transparent_vp9_is_read_with_the_decoder_that_sees_it(tmp_path: Path) -> None:
    source = tmp_path / "alpha.webm"
    options = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuva420p")
    run("-f", "lavfi", "-i", HALVES, *options, str(source))

    found = inspect_file(source, tmp_path)

    arguments = command.video(source, found, plan.make(found, PROFILE).video)
    assert arguments[: arguments.index("-i")][:2] == ["-c:v", "libvpx-vp9"]


def _plane(plane: av.video.plane.VideoPlane) -> bytes:
    data = bytes(plane)
    rows = (data[y * plane.line_size : y * plane.line_size + plane.width] for y in range(plane.height))
    return b"".join(rows)


def _combs(path: Path) -> float:
    """Return the share of lines that jump from the one above, in the worst column of all pictures."""
    worst = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            for x in range(0, frame.width, 4):
                column = [luma(frame, x, y) for y in range(45, 135)]
                worst = max(worst, sum(abs(a - b) > 50 for a, b in itertools.pairwise(column)) / 90)
    return worst
