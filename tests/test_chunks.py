"""Chunks put together are the film: numbered frames go in, are encoded apart, and are read back from the picture."""

import dataclasses
import io
import math
import re
import sys
from pathlib import Path

import av
import pytest
from clips import BINARY, bench, cut, inspect_file, make, run, set_back

from watcher import command, encode, fragments, plan
from watcher.errors import Failure, Outage
from watcher.media import Media

BITS, BLOCK = 10, 16  # each frame's number is drawn as ten black or white squares along the upper edge
LADDER = plan.Profile(ladder=(180, 144, 90), quality="fast")
B_FRAMES = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", "-bf", "3")


def numbered(path: Path, *encoding: str, seconds: float = 14, rate: str = "30", select: str = "1") -> Path:
    """Make a clip whose frames show their numbers; `select` drops frames after they were numbered."""
    number = f"geq=lum='if(mod(floor(N/pow(2,floor(X/{BLOCK}))),2),235,16)'"
    digits = f"color=black:size={BITS * BLOCK}x{BLOCK}:rate={rate}:duration={seconds},format=gray,{number}"
    picture = f"testsrc2=size=320x180:rate={rate}:duration={seconds}"
    graph = f"{digits}[n];{picture}[p];[p][n]overlay=0:0:format=yuv420,select='{select}'[out]"
    run(
        *("-filter_complex", graph, "-map", "[out]", "-fps_mode", "vfr", "-enc_time_base", "1:30000"),
        *(encoding or (*B_FRAMES, "-g", "60")),
        str(path),
    )
    return path


def numbers(path: Path) -> list[int]:
    """Read the numbers that the frames of a 320x180 picture show, in the order of showing."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            luma, stride = bytes(frame.planes[0]), frame.planes[0].line_size
            row = stride * (BLOCK // 2) + BLOCK // 2
            found.append(sum((luma[row + bit * BLOCK] > 125) << bit for bit in range(BITS)))
    return found


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size and packet.pts is not None]
        return sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


def encoded_plan(media: Media, quality: plan.Quality = "fast") -> plan.Plan:
    """Return the plan of `media`, encoded in chunks even where it could be copied."""
    made = plan.make(media, dataclasses.replace(LADDER, quality=quality))
    video = dataclasses.replace(made.video, mode="encode", has_source_keyframes=False)
    return dataclasses.replace(made, video=video, chunks=plan.chunks(media))


def chunked(
    source: Path, folder: Path, quality: plan.Quality = "fast"
) -> tuple[list[tuple[encode.Made, ...]], encode.Made]:
    """Encode `source` chunk by chunk and stitch the top rung."""
    found = inspect_file(source, folder)
    made = encoded_plan(found, quality)
    assert len(made.chunks) > 1
    parts = [encode.video_chunk(source, found, made, chunk, bench(folder)) for chunk in made.chunks]
    return parts, encode.package([part[0].path for part in parts], None, found, made.video, bench(folder))


@pytest.mark.parametrize(
    "clip",
    [
        {"encoding": (*B_FRAMES, "-g", "60")},
        {"encoding": (*B_FRAMES, "-g", "60"), "rate": "30000/1001"},
        {"encoding": (*B_FRAMES, "-x264-params", "keyint=60:open-gop=1")},
        {"encoding": (*B_FRAMES, "-g", "60"), "select": "not(mod(n,7))+between(n,90,200)+gt(n,290)"},
        {"encoding": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=60:log-level=none")},
        {"encoding": ("-c:v", "mpeg4", "-q:v", "3", "-bf", "2", "-g", "50")},
        {"encoding": ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"), "rate": "50"},
        {"name": "clip.mkv", "encoding": (*B_FRAMES, "-x264-params", "keyint=60:open-gop=1")},
        {
            "name": "clip.webm",
            "encoding": (
                "-c:v",
                "libvpx",
                "-b:v",
                "2M",
                "-deadline",
                "realtime",
                "-auto-alt-ref",
                "0",
                "-g",
                "60",
            ),
            "select": "not(mod(n,7))+between(n,90,200)+gt(n,290)",
        },
    ],
    ids=["b-frames", "29.97", "open-gop", "uneven", "hevc", "mpeg4", "all-keyframes", "matroska", "webm"],
)
def test_the_chunks_of_a_film_hold_each_of_its_frames_once_and_in_order(
    tmp_path: Path, clip: dict[str, object]
) -> None:
    name = str(clip.get("name", "clip.mp4"))
    options = {key: value for key, value in clip.items() if key not in ("name", "encoding")}
    source = numbered(tmp_path / name, *clip["encoding"], **options)  # type: ignore[arg-type, misc]

    parts, film = chunked(source, tmp_path)

    assert numbers(film.path) == numbers(source)
    assert times(film.path) == pytest.approx(times(source), abs=0.0001)
    starts = [[made.start_seconds for made in part] for part in parts]
    assert all(len(set(part)) == 1 for part in starts)


def test_all_rungs_of_a_chunk_have_their_keyframes_at_the_same_times(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mp4")

    parts, _ = chunked(source, tmp_path)

    end = 0.0
    for part in parts:
        layouts = [fragments.read(io.BytesIO(made.path.read_bytes())) for made in part]
        places = [
            [(one.start_seconds, one.duration_seconds) for one in layout.fragments] for layout in layouts
        ]
        assert places[0] == places[1] == places[2]
        assert places[0][0][0] == pytest.approx(end, abs=0.0001)
        assert all(1 < length < 3 for _, length in places[0])
        end = sum(places[0][-1])
        assert end == pytest.approx((part[0].start_seconds or 0) + (part[0].duration_seconds or 0), abs=0.001)
    assert end == pytest.approx(14, abs=0.001)


@pytest.mark.parametrize("quality", ["fast", "balanced", "small"])
def test_the_heads_of_all_chunks_of_a_rung_are_the_same(tmp_path: Path, quality: plan.Quality) -> None:
    parts, _ = chunked(numbered(tmp_path / "clip.mp4", seconds=8), tmp_path, quality)

    for rung in zip(*parts, strict=True):
        heads = set()
        for made in rung:
            data = made.path.read_bytes()
            heads.add(data[: fragments.read(io.BytesIO(data)).init_size])
        assert len(heads) == 1


@pytest.mark.parametrize("quality", ["fast", "balanced"])  # the first chunk of the latter is made in haste
def test_the_picture_is_as_good_at_the_joins_as_in_one_piece(tmp_path: Path, quality: plan.Quality) -> None:
    source = numbered(tmp_path / "clip.mp4")
    found = inspect_file(source, tmp_path)
    made = encoded_plan(found, quality)

    parts, film = chunked(source, tmp_path, quality)

    whole = encode.video(source, found, made.video, bench(tmp_path))
    apart, together = _quality(film.path, source), _quality(whole.path, source)
    for part in parts[1:]:
        join = round((part[0].start_seconds or 0) * 30)
        assert min(apart[join - 15 : join + 15]) > min(together) - 1
    assert sum(apart) / len(apart) > sum(together) / len(together) - 0.3


def _quality(path: Path, source: Path) -> list[float]:
    """Return the PSNR of each frame, in dB; less than 60 even where nothing differs."""
    table = path.with_suffix(".psnr")
    run("-i", str(path), "-i", str(source), "-lavfi", f"[0:v][1:v]psnr=stats_file={table}", "-f", "null", "-")
    errors = [float(error) for error in re.findall(r"mse_y:([\d.]+)", table.read_text(encoding="utf-8"))]
    return [10 * math.log10(255**2 / max(error, 0.1)) for error in errors]


def test_a_film_with_two_keyframes_has_two_chunks_at_most(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mp4", *B_FRAMES, "-g", "1000", "-force_key_frames", "9")

    parts, film = chunked(source, tmp_path)

    assert [part[0].start_seconds for part in parts] == pytest.approx([0, 9], abs=0.001)
    assert numbers(film.path) == list(range(420))


def test_a_film_says_itself_how_long_it_is_where_a_picture_stood_still(tmp_path: Path) -> None:
    # It stands from 18 s to 28 s, and is the first one of the last chunk.
    stands = "lt(n,30)+between(n,120,540)+gt(n,840)"
    source = numbered(tmp_path / "clip.mp4", *B_FRAMES, "-g", "30", seconds=30, select=stands)

    _, film = chunked(source, tmp_path)

    assert times(film.path) == pytest.approx(times(source), abs=0.0001)
    assert film.duration_seconds == pytest.approx(30, abs=0.05)
    with av.open(str(film.path)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(30, abs=0.05)


def test_a_picture_that_begins_late_shows_its_first_frame_until_then(tmp_path: Path) -> None:
    numbered(tmp_path / "bare.mp4")
    tone = ("-f", "lavfi", "-i", "sine=duration=16")
    run(
        *(*tone, "-itsoffset", "1.5", "-i", str(tmp_path / "bare.mp4"), "-map", "1:v", "-map", "0:a"),
        *("-c:v", "copy", "-c:a", "aac", str(tmp_path / "late.mov")),
    )
    found = inspect_file(tmp_path / "late.mov", tmp_path)

    parts, _ = chunked(tmp_path / "late.mov", tmp_path)

    assert found.start_seconds == 0
    assert parts[0][0].start_seconds == 0
    assert sum(part[0].frames or 0 for part in parts) == 420


@pytest.mark.parametrize(
    "encoding",
    [
        ("-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-g", "25"),
        ("-c:v", "mpeg4", "-g", "100"),
    ],
    ids=["interlaced", "too-fast"],
)
def test_pictures_that_depend_on_their_neighbours_are_not_lost_between_chunks(
    tmp_path: Path, encoding: tuple[str, ...]
) -> None:
    rate = 50 if "interlace" in encoding else 120
    source = make(tmp_path / "clip.mov", *encoding, rate=rate, seconds=8, sound=False)
    found = inspect_file(source, tmp_path)
    made = encoded_plan(found)

    _, film = chunked(source, tmp_path)

    whole = encode.video(source, found, made.video, bench(tmp_path))
    assert made.video.deinterlace or made.video.frame_rate == 60
    assert film.frames == whole.frames
    assert times(film.path) == pytest.approx(
        [time - times(whole.path)[0] for time in times(whole.path)], abs=0.001
    )


def test_the_rungs_below_a_copied_one_have_its_keyframes(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mp4", *B_FRAMES, "-g", "1000", "-force_key_frames", "0,1.5,5,9,10.2")
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LADDER)
    assert made.video.mode == "copy"
    assert [rung.name for rung in made.chunked_rungs] == ["144p", "90p"]

    top = encode.video(source, found, made.video, bench(tmp_path))
    parts = [encode.video_chunk(source, found, made, chunk, bench(tmp_path)) for chunk in made.chunks]

    assert top.is_copy
    copied = [one.start_seconds for one in fragments.read(io.BytesIO(top.path.read_bytes())).fragments]
    for rung in zip(*parts, strict=True):
        below: list[float] = []
        for part in rung:
            layout = fragments.read(io.BytesIO(part.path.read_bytes()))
            below += [one.start_seconds for one in layout.fragments]
        assert below == pytest.approx(copied, abs=0.001)


def test_damage_before_a_chunk_is_not_held_against_it(tmp_path: Path) -> None:
    # Lowering the rate needs the frames before, so that the way to the chunk leads through the damage.
    source = make(tmp_path / "clip.mp4", "-c:v", "mpeg4", "-q:v", "3", "-g", "120", rate=120, seconds=8)
    found = inspect_file(source, tmp_path)
    made = encoded_plan(found)
    with av.open(str(source)) as container:
        places = {packet.pts: packet.pos for packet in container.demux(video=0) if packet.size and packet.pts}
        unit = container.streams.video[0].time_base
    assert unit is not None
    second = made.chunks[1]
    border = round(second.start_seconds / unit)
    data = bytearray(source.read_bytes())
    for pts, pos in places.items():
        if pos is not None and border - round(0.7 / unit) < pts < border:
            data[pos + 60 : pos + 200] = b"\x55" * 140
    source.write_bytes(data)

    with pytest.raises(Failure) as caught:
        encode.video_chunk(source, found, made, made.chunks[0], bench(tmp_path))
    part = encode.video_chunk(source, found, made, second, bench(tmp_path))

    assert caught.value.code == "source_damaged"
    assert part[0].frames == 240


@pytest.mark.parametrize(("at", "by"), [(9, 1), (9, 6)], ids=["within-a-chunk", "past-its-start"])
def test_a_clock_that_goes_back_is_noticed_in_a_chunk(tmp_path: Path, at: float, by: float) -> None:
    source = set_back(numbered(tmp_path / "clip.mkv"), tmp_path / "set-back.mkv", at=at, by=by)

    with pytest.raises(Failure) as caught:
        chunked(source, tmp_path)

    assert caught.value.code == "source_damaged"
    assert f"its clock goes back by {by}.0 s" in caught.value.detail


def test_a_recording_behind_another_one_is_noticed_in_a_chunk(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mkv")
    source.write_bytes(source.read_bytes() * 2)

    with pytest.raises(Failure) as caught:
        chunked(source, tmp_path)

    assert caught.value.code == "source_damaged"
    assert "its clock goes back by 14.0 s" in caught.value.detail


def test_a_source_that_ends_early_is_truncated_in_its_last_chunk(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mp4", *B_FRAMES, "-g", "60", "-movflags", "+faststart")
    found = inspect_file(source, tmp_path)
    made = encoded_plan(found)
    short = cut(source, tmp_path / "short.mp4", share=0.9)

    with pytest.raises(Failure) as caught:
        encode.video_chunk(short, found, made, made.chunks[-1], bench(tmp_path))

    assert caught.value.code == "source_truncated"


def test_an_output_that_lost_its_end_is_not_blamed_on_the_source(tmp_path: Path) -> None:
    """The source is cut short for good; an encoder's file that was not written to its end is made again."""
    source = numbered(tmp_path / "film.mp4", seconds=14)
    media = inspect_file(source, tmp_path)
    made = encoded_plan(media)
    encoder = tmp_path / "ffmpeg"
    half = "path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])"
    encoder.write_text(
        f"#!{sys.executable} -IS\n"
        "import pathlib, subprocess, sys\n"
        f"code = subprocess.call([{str(BINARY)!r}, *sys.argv[1:]])\n"
        f"for path in pathlib.Path().glob('*.mp4'): {half}\n"
        "sys.exit(code)\n"
    )
    encoder.chmod(0o755)
    table = bench(tmp_path)
    table = dataclasses.replace(
        table, binary=encoder, limits=dataclasses.replace(table.limits, is_confined=False)
    )
    with pytest.raises(Failure) as caught:
        encode.video_chunk(source, media, made, made.chunks[-1], table)
    assert caught.value.code == "output_invalid"


def test_a_missing_chunk_is_noticed_when_the_film_is_stitched(tmp_path: Path) -> None:
    source = numbered(tmp_path / "clip.mp4", seconds=20)
    found = inspect_file(source, tmp_path)
    parts, _ = chunked(source, tmp_path)
    made = encoded_plan(found)

    with pytest.raises(Failure) as caught:
        encode.package([parts[0][0].path, parts[2][0].path], None, found, made.video, bench(tmp_path))

    assert caught.value.code == "output_invalid"


def test_a_source_without_an_index_is_one_chunk_with_all_rungs(tmp_path: Path) -> None:
    source = make(tmp_path / "clip.ts", "-c:v", "mpeg2video", "-c:a", "mp2", seconds=6)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LADDER)

    [chunk] = made.chunks
    parts = encode.video_chunk(source, found, made, chunk, bench(tmp_path))

    assert chunk.is_whole
    assert [(part.width, part.height, part.frames) for part in parts] == [
        (320, 180, 150),
        (256, 144, 150),
        (160, 90, 150),
    ]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_sound_grows_by_whole_fragments_while_it_is_made(tmp_path: Path, codec: str) -> None:
    source = make(tmp_path / "clip.mov", "-c:v", "mpeg4", "-c:a", codec, seconds=1, sound_seconds=300)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LADDER)
    assert made.audio is not None
    seen: list[tuple[Path, int]] = []

    def look(path: Path) -> None:
        layout = fragments.read(io.BytesIO(path.read_bytes()))
        seen.append((path, len(layout.fragments)))

    part = encode.audio(source, found, made.audio, bench(tmp_path), look)

    layout = fragments.read(io.BytesIO(part.path.read_bytes()))
    assert {path for path, _ in seen} == {part.path}
    assert len(layout.fragments) == pytest.approx(150, abs=2)
    assert all(one.duration_seconds < 2.5 for one in layout.fragments)
    if codec != "aac":
        assert 0 < seen[0][1] < 150


@pytest.mark.parametrize(
    ("name", "hole", "is_copy"), [("clip.mp4", 7, False), ("clip.mkv", 7, False), ("clip.mp4", 0.5, True)]
)
def test_copied_sound_with_a_long_hole_is_encoded_which_fills_it(
    tmp_path: Path, name: str, hole: float, is_copy: bool
) -> None:
    filters = ("-af", f"aselect='lt(t,9)+gt(t,{9 + hole})'")
    source = make(tmp_path / name, "-c:v", "mpeg4", *filters, "-c:a", "aac", seconds=30)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LADDER)
    assert made.audio is not None
    assert made.audio.mode == "copy"
    seen: list[float] = []

    def look(path: Path) -> None:
        layout = fragments.read(io.BytesIO(path.read_bytes()))
        seen.extend(one.duration_seconds for one in layout.fragments)

    part = encode.audio(source, found, made.audio, bench(tmp_path), look)

    assert isinstance(part, encode.Made)
    assert part.is_copy == is_copy
    assert part.end_seconds == pytest.approx(30, abs=0.1)
    assert max(seen) < 3


def test_what_the_watcher_of_a_growing_file_raises_ends_the_step(tmp_path: Path) -> None:
    source = make(tmp_path / "clip.mov", "-c:v", "mpeg4", "-c:a", "pcm_s16le", seconds=1, sound_seconds=60)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, LADDER)
    assert made.audio is not None

    def refuse(path: Path) -> None:
        raise Outage("b2_unavailable", f"cannot upload {path.name}")

    with pytest.raises(Outage):
        encode.audio(source, found, made.audio, bench(tmp_path), refuse)


def test_a_copy_that_is_given_up_grows_under_another_name(tmp_path: Path) -> None:
    source = make(tmp_path / "clip.mp4", *B_FRAMES, seconds=3, sound=False)
    found = inspect_file(source, tmp_path)
    wrong = dataclasses.replace(plan.make(found, LADDER).video, mode="copy", width=160, height=90)
    seen: list[str] = []

    part = encode.video(source, found, wrong, bench(tmp_path), lambda path: seen.append(path.name))

    assert part.path.name == command.AGAIN + command.VIDEO
    assert seen[-1] == part.path.name
