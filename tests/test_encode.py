"""From a source to verified files: real ffmpeg, real containers, everything measured again with PyAV."""

import dataclasses
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import iscc_samples
import pytest
from clips import H264, PROFILE, bench, cut, inspect, inspect_file, make, run, served, set_back

from watcher import encode, plan
from watcher.errors import Failure, Stopped
from watcher.media import Media

TS_PACKET_BYTES = 188


@dataclass(frozen=True)
class Film:
    media: Media
    plan: plan.Plan
    video: encode.Made
    audio: encode.Made | None
    poster: encode.Made
    mp4: encode.Made


def film(source: str | Path, folder: Path, *, name: str, size_bytes: int) -> Film:
    """Do what the five steps do, each in a folder of its own."""
    found = inspect(source, folder, name=name, size_bytes=size_bytes)
    made = plan.make(found, PROFILE)
    video = encode.video(source, found, made.video, bench(folder))
    audio = encode.audio(source, found, made.audio, bench(folder)) if made.audio else None
    poster = encode.poster(source, found, made.stills, bench(folder))
    mp4 = encode.package([video.path], audio.path if audio else None, found, made.video, bench(folder))
    return Film(found, made, video, audio, poster, mp4)


def film_of(path: Path) -> Film:
    return film(path, path.parent, name=path.name, size_bytes=path.stat().st_size)


def packets(path: Path, kind: str) -> list[tuple[float, float]]:
    """Return start and length in seconds of the shown packets of a track, in the order of showing."""
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        zero = (container.start_time or 0) / av.time_base
        return sorted(
            (float(p.pts * p.time_base) - zero, float((p.duration or 0) * p.time_base))
            for p in container.demux(streams[0])
            if p.size and p.pts is not None
        )


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def boxes(path: Path) -> list[bytes]:
    names, data, place = [], path.read_bytes(), 0
    while place < len(data):
        names.append(data[place + 4 : place + 8])
        place += int.from_bytes(data[place : place + 4], "big")
    return names


@pytest.mark.parametrize("ending", ["avi", "flv", "gif", "m1v", "mpg", "swf"])
def test_a_real_clip_keeps_its_frames_its_length_and_its_sync(tmp_path: Path, ending: str) -> None:
    sample = next(path for path in iscc_samples.videos() if path.suffix == f".{ending}")

    with served(sample.parent) as url:
        made = film(f"{url}{sample.name}", tmp_path, name=sample.name, size_bytes=sample.stat().st_size)

    assert len(list(decoded(made.mp4.path))) == (120 if ending == "gif" else 1441)
    pictures, source = packets(made.mp4.path, "video"), packets(sample, "video")
    length = pictures[-1][0] - pictures[0][0]
    if ending != "m1v":  # has no times of its own
        assert length == pytest.approx(source[-1][0] - source[0][0], abs=0.05)
    assert pictures[-1][0] + pictures[-1][1] == pytest.approx(5.0 if ending == "gif" else 60.1, abs=0.1)
    if made.audio is not None:
        sounds, heard = packets(made.mp4.path, "audio"), packets(sample, "audio")
        assert sounds[-1][0] + sounds[-1][1] == pytest.approx(heard[-1][0] + heard[-1][1], abs=0.1)
        distance = pictures[0][0] - max(sounds[0][0], 0.0)
        assert distance == pytest.approx(source[0][0] - max(heard[0][0], 0.0), abs=0.05)
    with av.open(str(made.mp4.path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert [one.codec_context.name for one in container.streams.audio] == (["aac"] if made.audio else [])
    assert boxes(made.mp4.path).index(b"moov") < boxes(made.mp4.path).index(b"mdat")
    assert boxes(made.video.path).count(b"moof") >= 3


def test_a_source_that_already_plays_is_copied_packet_by_packet(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "clip.mp4",
        "-c:v",
        "libx264",
        "-crf",
        "35",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        seconds=10,
    )

    made = film_of(clip)

    assert made.audio is not None
    assert made.video.is_copy
    assert made.audio.is_copy
    for kind in ("video", "audio"):
        ours, theirs = packets(made.mp4.path, kind), packets(clip, kind)
        assert [start for start, _ in ours] == pytest.approx([start for start, _ in theirs], abs=0.0001)
    with av.open(str(made.mp4.path)) as copy, av.open(str(clip)) as source:
        copied = [bytes(packet) for packet in copy.demux(video=0) if packet.size]
        original = [bytes(packet) for packet in source.demux(video=0) if packet.size]
    assert copied == original


@pytest.mark.parametrize(
    ("name", "arguments", "size", "shown"),
    [
        ("portrait.mp4", (), "1080x1920", (720, 1280)),
        ("landscape.mp4", (), "1920x1080", (1280, 720)),
        ("small.mkv", ("-c:v", "ffv1"), "64x48", (64, 48)),
        ("odd.mkv", ("-vf", "scale=65:49", "-c:v", "ffv1", "-pix_fmt", "yuv444p"), "64x48", (64, 48)),
        ("pal.mpg", ("-vf", "setsar=16/11", "-c:v", "mpeg2video"), "720x576", (1024, 576)),
        ("rgb.avi", ("-c:v", "png"), "320x180", (320, 180)),
        ("ten-bit.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), "320x180", (320, 180)),
    ],
)
def test_the_picture_has_the_size_that_a_viewer_of_the_source_sees(
    tmp_path: Path, name: str, arguments: tuple[str, ...], size: str, shown: tuple[int, int]
) -> None:
    made = film_of(make(tmp_path / name, *arguments, size=size, seconds=0.4, sound=False))

    first = next(decoded(made.mp4.path))
    assert (first.width, first.height, first.format.name) == (*shown, "yuv420p")
    poster = next(decoded(made.poster.path))
    assert (poster.width, poster.height) == shown


def test_a_turned_phone_clip_comes_out_upright(tmp_path: Path) -> None:
    # A white left half; turned clockwise it is on top.
    half = "color=black:size=320x180:duration=0.4,drawbox=0:0:160:180:white:fill"
    run("-f", "lavfi", "-i", half, *H264, str(tmp_path / "flat.mp4"))
    run(
        "-display_rotation",
        "-90",
        "-i",
        str(tmp_path / "flat.mp4"),
        "-c",
        "copy",
        str(tmp_path / "turned.mp4"),
    )

    made = film_of(tmp_path / "turned.mp4")

    for path in (made.mp4.path, made.poster.path):
        first = next(decoded(path))
        assert (first.width, first.height, first.rotation) == (180, 320, 0)
        luma = bytes(first.planes[0])
        stride = first.planes[0].line_size
        assert luma[20 * stride + 90] > 200
        assert luma[300 * stride + 90] < 50


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_sound_that_begins_late_stays_late(tmp_path: Path, name: str) -> None:
    codecs = ("-c:v", "mpeg4", "-c:a", "aac" if name.endswith("mp4") else "libmp3lame")
    made = film_of(make(tmp_path / name, *codecs, sound_late=1.0, seconds=2))

    with av.open(str(made.mp4.path)) as container:
        loud = [
            frame.time
            for frame in container.decode(audio=0)
            if frame.time is not None and max(array("f", bytes(frame.planes[0]))) > 0.05
        ]
    assert min(loud) == pytest.approx(1.0, abs=0.06)
    assert max(loud) == pytest.approx(3.0, abs=0.06)
    assert packets(made.mp4.path, "video")[0][0] <= 0.05


@pytest.mark.parametrize("sound_late", [0.0, 0.5])
@pytest.mark.parametrize(("mode", "pixels"), [("copy", "yuv420p"), ("encode", "yuv444p")])
def test_fragments_that_show_pictures_before_they_are_decoded_keep_their_times(
    tmp_path: Path, mode: str, pixels: str, sound_late: float
) -> None:
    # libavformat shows all of such a track later, by two pictures here, and counts from what is then first.
    codecs = (*H264, "-bf", "3", "-pix_fmt", pixels, "-c:a", "flac")
    whole = make(tmp_path / "whole.mp4", *codecs, seconds=1, sound_late=sound_late)
    flags = "negative_cts_offsets+frag_keyframe+frag_discont+empty_moov+default_base_moof"
    run("-i", str(whole), "-c", "copy", "-movflags", flags, str(tmp_path / "early.mp4"))

    made = film_of(tmp_path / "early.mp4")

    assert made.plan.video.mode == mode
    pictures = [start for start, _ in packets(made.mp4.path, "video")]
    assert pictures == pytest.approx([number / 25 for number in range(25)], abs=0.001)
    with av.open(str(made.mp4.path)) as container:
        loud = [f.time for f in container.decode(audio=0) if max(array("f", bytes(f.planes[0]))) > 0.05]
    assert min(loud) == pytest.approx(sound_late, abs=0.06)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("name", ["tiny.mp4", "tiny.avi", "tiny.mkv"])
def test_a_clip_of_hardly_any_frames_has_a_film_and_a_poster(tmp_path: Path, name: str, frames: int) -> None:
    codec = ("-c:v", "mpeg4", "-frames:v", str(frames))
    made = film_of(make(tmp_path / name, *codec, seconds=1, sound=False))

    assert made.mp4.frames == frames
    assert made.poster.path.stat().st_size > 0


def test_frames_keep_their_own_times_where_they_are_uneven(tmp_path: Path) -> None:
    uneven = "testsrc2=size=320x180:rate=25:duration=3,select='not(mod(n,7))+gt(n,50)'"
    run(
        *("-f", "lavfi", "-i", uneven, "-fps_mode", "vfr", "-enc_time_base", "1:1000"),
        *("-c:v", "libvpx", "-deadline", "realtime", str(tmp_path / "uneven.webm")),
    )

    made = film_of(tmp_path / "uneven.webm")

    ours = [start for start, _ in packets(made.mp4.path, "video")]
    theirs = [start for start, _ in packets(tmp_path / "uneven.webm", "video")]
    assert ours == pytest.approx(theirs, abs=0.002)


@pytest.mark.parametrize("name", ["coarse.mkv", "coarse.mp4"])
def test_frames_that_share_a_time_are_spread_and_whole(tmp_path: Path, name: str) -> None:
    sharp = make(tmp_path / "sharp.mkv", "-c:v", "mpeg4", "-q:v", "2", "-bf", "0", sound=False)
    # Two frames for each 80 ms; MP4 lets no two share a time, and puts them a thousandth apart.
    clock = ("-bsf:v", "setts=ts=floor(TS/80)*80", "-video_track_timescale", "1000")
    run("-i", str(sharp), "-c", "copy", *clock, str(tmp_path / name))

    made = film_of(tmp_path / name)

    times = [start for start, _ in packets(made.mp4.path, "video")]
    assert [round(time * 25, 1) for time in times] == list(range(50))
    differences = [
        abs(a - b)
        for one, other in zip(decoded(sharp), decoded(made.mp4.path), strict=True)
        for a, b in zip(bytes(one.planes[0])[::97], bytes(other.planes[0])[::97], strict=True)
    ]
    assert sum(differences) / len(differences) < 4  # 20 and more where every other frame got no bits


def test_a_copy_whose_frames_share_their_times_is_encoded_instead(tmp_path: Path) -> None:
    make(tmp_path / "sharp.mkv", *H264, sound=False)
    clock = ("-bsf:v", "setts=ts=floor(TS/80)*80")
    run("-i", str(tmp_path / "sharp.mkv"), "-c", "copy", *clock, str(tmp_path / "coarse.mkv"))

    made = film_of(tmp_path / "coarse.mkv")

    assert made.plan.video.mode == "copy"
    assert not made.video.is_copy
    times = [start for start, _ in packets(made.mp4.path, "video")]
    assert [round(time * 25, 1) for time in times] == list(range(50))


def with_times(folder: Path, times: str) -> Path:
    """Make a clip without B-frames whose frames have these times: an expression of the filter `setts`."""
    sharp = make(folder / "sharp.mkv", "-c:v", "mpeg4", "-q:v", "2", "-bf", "0", sound=False)
    run("-i", str(sharp), "-c", "copy", "-bsf:v", f"setts=ts={times}", str(folder / "timed.mkv"))
    return folder / "timed.mkv"


def test_frames_of_a_burst_that_share_a_time_do_not_make_the_rest_late(tmp_path: Path) -> None:
    # Frames 10 to 12 come at once, when the last of them is due, and those after them at their own times.
    made = film_of(with_times(tmp_path, "if(between(N\\,10\\,12)\\,480\\,TS)"))

    times = [round(start * 25, 1) for start, _ in packets(made.mp4.path, "video")]
    assert times == [*range(10), *range(12, 50)]


def test_the_last_frame_may_be_shown_for_much_less_than_the_others(tmp_path: Path) -> None:
    sparse = "select=between(n\\,0\\,4)*not(mod(n\\,2))+eq(n\\,200)+eq(n\\,205)"
    arguments = ("-vf", sparse, "-fps_mode", "vfr", *H264)  # as a screen recorder writes only what changes
    make(tmp_path / "screen.mp4", *arguments, seconds=9, sound=False)

    made = film_of(tmp_path / "screen.mp4")

    times = [round(start * 25, 1) for start, _ in packets(made.mp4.path, "video")]
    assert times == [0, 2, 4, 200, 205]


def test_the_last_frame_may_be_one_that_shares_its_time(tmp_path: Path) -> None:
    made = film_of(with_times(tmp_path, "if(gte(N\\,45)\\,1800\\,TS)"))

    times = [round(start * 25, 1) for start, _ in packets(made.mp4.path, "video")]
    assert times[:46] == list(range(46))
    assert made.mp4.frames == len(times)


def test_a_film_most_of_whose_frames_share_a_time_is_refused(tmp_path: Path) -> None:
    coarse = with_times(tmp_path, "if(lt(N\\,49)\\,floor(TS/500)*500\\,1960)")

    with pytest.raises(Failure, match="frames have the time of others") as failure:
        film_of(coarse)

    assert failure.value.code == "source_damaged"


def test_a_frame_rate_above_the_cap_is_lowered_without_changing_the_length(tmp_path: Path) -> None:
    made = film_of(make(tmp_path / "fast.mp4", rate=120, seconds=1, sound=False))

    assert made.mp4.frames == 60
    assert made.mp4.duration_seconds == pytest.approx(1.0, abs=0.02)


def test_an_interlaced_source_comes_out_progressive_with_every_frame(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "tape.mpg",
        *("-vf", "interlace", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
        rate=50,
        seconds=2,
        sound=False,
    )

    made = film_of(clip)

    assert made.plan.video.deinterlace
    assert made.mp4.frames == 50
    assert not next(decoded(made.mp4.path)).interlaced_frame


def test_a_trimmed_phone_clip_shows_only_what_was_kept(tmp_path: Path) -> None:
    make(tmp_path / "whole.mp4", *H264, "-g", "250", "-c:a", "aac")
    run("-ss", "1", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", str(tmp_path / "trimmed.mp4"))

    made = film_of(tmp_path / "trimmed.mp4")

    assert made.mp4.duration_seconds == pytest.approx(1.0, abs=0.06)
    assert made.mp4.frames == pytest.approx(25, abs=1)


def test_subtitles_that_outlast_the_picture_are_no_sign_of_a_cut_file(tmp_path: Path) -> None:
    (tmp_path / "words.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nhello\n")
    make(tmp_path / "bare.mkv")
    run(
        *("-i", str(tmp_path / "bare.mkv"), "-i", str(tmp_path / "words.srt"), "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-c:a", "copy", str(tmp_path / "with-words.mkv")),
    )

    made = film_of(tmp_path / "with-words.mkv")

    assert made.media.duration_seconds == pytest.approx(9.0, abs=0.1)
    assert made.mp4.duration_seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("ending", ["mkv", "avi", "flv", "rm"])
def test_a_source_whose_upload_broke_off_is_truncated_whatever_ffmpeg_says(
    tmp_path: Path, ending: str
) -> None:
    sample = next(path for path in iscc_samples.videos() if path.suffix == f".{ending}")
    half = cut(sample, tmp_path / f"half.{ending}", share=0.5)

    with pytest.raises(Failure) as caught:
        film_of(half)

    assert caught.value.code == "source_truncated"


def test_a_recording_that_ends_in_the_middle_of_a_sound_packet_loses_no_picture(tmp_path: Path) -> None:
    source = make(tmp_path / "recording.ts", *H264, "-c:a", "mp2")  # a receiver stops wherever it is
    source.write_bytes(source.read_bytes()[:-TS_PACKET_BYTES])

    made = film_of(source)

    assert made.mp4.frames == 50
    assert made.mp4.duration_seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "encoding", "rate"),
    [
        ("copied.mkv", H264, 25),
        ("encoded.mkv", ("-c:v", "mpeg4"), 25),
        ("slowed-down.mkv", H264, 120),
        ("fragmented.mp4", (*H264, "-movflags", "frag_keyframe+empty_moov+default_base_moof"), 25),
    ],
)
def test_a_recording_behind_another_one_is_not_left_out_in_silence(
    tmp_path: Path, name: str, encoding: Sequence[str], rate: int
) -> None:
    source = make(tmp_path / name, *encoding, "-g", "25", "-c:a", "aac", rate=rate)
    source.write_bytes(source.read_bytes() * 2)

    with pytest.raises(Failure) as caught:
        film_of(source)

    assert caught.value.code == "source_damaged"
    assert "its clock goes back by " in caught.value.detail
    assert "readable: 2.0 of " in caught.value.detail


def test_a_recording_behind_another_one_that_is_passed_over_is_missed(tmp_path: Path) -> None:
    source = make(tmp_path / "film.flv", *H264, "-g", "25", "-c:a", "aac")
    source.write_bytes(source.read_bytes() * 2)

    with pytest.raises(Failure) as caught:
        film_of(source)

    assert caught.value.code == "source_damaged"
    assert "readable: 2.0 s" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "encoding", "start"),
    [
        ("film.ts", (*H264, "-c:a", "mp2"), "2"),
        ("film.ogv", ("-c:v", "libtheora", "-c:a", "libvorbis"), "0"),
        ("of-its-own.ogv", ("-c:v", "libtheora", "-c:a", "libvorbis"), "2"),
    ],
)
def test_recordings_whose_join_is_damaged_are_told_as_such(
    tmp_path: Path, name: str, encoding: Sequence[str], start: str
) -> None:
    source = make(tmp_path / name, *encoding)
    follower = tmp_path / f"follower-{name}"
    serial = (
        () if name == "film.ts" else ("-serial_offset", start)
    )  # the tracks of an Ogg have random numbers
    run("-i", str(source), "-c", "copy", "-output_ts_offset", start, *serial, str(follower))
    source.write_bytes(source.read_bytes() + follower.read_bytes())

    with pytest.raises(Failure) as caught:
        film_of(source)

    assert caught.value.code == "source_damaged"
    first = caught.value.detail.splitlines()[0]
    assert "one after the other" in first
    assert "readable: 100 of 100 frames" not in first


@pytest.mark.parametrize("back", [1, 3], ids=["by-one-second", "by-three-seconds"])
def test_recordings_on_a_clock_that_goes_back_follow_on_without_a_hole(tmp_path: Path, back: int) -> None:
    part = make(tmp_path / "part.ts", *H264, "-g", "25", "-c:a", "mp2", seconds=3)
    source = tmp_path / "film.ts"
    with source.open("wb") as whole:
        for start in (20, 23 - back):
            shifted = tmp_path / f"from-{start}.ts"
            run("-i", str(part), "-c", "copy", "-output_ts_offset", str(start), str(shifted))
            whole.write(shifted.read_bytes())
    found = inspect_file(source, tmp_path)
    made = plan.make(found, PROFILE)
    assert made.audio is not None

    [(picture, *_)] = [
        parts
        for chunk in made.chunks
        if isinstance(parts := encode.video_chunk(source, found, made, chunk, bench(tmp_path)), tuple)
    ]
    sound = encode.audio(source, found, made.audio, bench(tmp_path))

    assert isinstance(sound, encode.Made)
    assert picture.frames == 150
    assert (picture.end_seconds, sound.end_seconds) == pytest.approx((6.0, 6.0), abs=0.1)


@pytest.mark.parametrize("ladder", [(720, 480, 360), (720,)], ids=["decoded", "not-decoded"])
def test_a_copy_of_packets_whose_clock_goes_back_is_damaged(tmp_path: Path, ladder: tuple[int, ...]) -> None:
    source = make(tmp_path / "film.mkv", *H264, "-g", "25", "-c:a", "aac", seconds=3)
    source = set_back(source, tmp_path / "set-back.mkv", at=2, by=1)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, plan.Profile(ladder=ladder, quality="fast")).video
    assert made.mode == "copy"

    with pytest.raises(Failure) as caught:
        encode.video(source, found, made, bench(tmp_path))

    assert caught.value.code == "source_damaged"
    assert "its clock goes back by 1.0 s" in caught.value.detail


def test_sound_whose_clock_goes_back_is_damaged(tmp_path: Path) -> None:
    source = make(tmp_path / "film.mkv", *H264, "-g", "25", "-c:a", "aac", seconds=3)
    source = set_back(source, tmp_path / "set-back.mkv", at=2, by=1)
    found = inspect_file(source, tmp_path)
    made = plan.make(found, PROFILE).audio
    assert made is not None

    for mode in ("copy", "encode"):
        with pytest.raises(Failure) as caught:
            encode.audio(source, found, dataclasses.replace(made, mode=mode), bench(tmp_path))

        assert "its clock goes back by 1.0 s" in caught.value.detail


def test_a_source_with_bytes_turned_over_is_damaged(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", "-c:v", "mpeg4", "-b:v", "2M", seconds=2, sound=False)
    data = bytearray(clip.read_bytes())
    for place in range(4000, len(data) - 4000, 997):
        data[place] ^= 0x55
    clip.write_bytes(data)

    with pytest.raises(Failure) as caught:
        film_of(clip)

    assert caught.value.code == "source_damaged"


def test_a_copy_that_does_not_verify_is_encoded_instead(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", *H264, "-g", "25", "-crf", "40", sound=False)
    found = inspect_file(clip, tmp_path)
    made = plan.make(found, PROFILE).video
    wrong = dataclasses.replace(made, mode="copy", width=160, height=90)

    part = encode.video(clip, found, wrong, bench(tmp_path))

    assert not part.is_copy
    assert (part.width, part.height) == (160, 90)


def test_damage_between_the_keyframes_of_a_copy_is_noticed_without_decoding_it(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", *H264, "-g", "25", "-bf", "0", "-crf", "40", seconds=3, sound=False)
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    assert places[30] is not None
    data[places[30] : places[30] + 8] = b"\x55" * 8
    clip.write_bytes(data)
    found = inspect_file(clip, tmp_path)
    made = plan.make(found, plan.Profile(ladder=(720,), quality="fast")).video
    assert (made.mode, made.is_decoded) == ("copy", False)

    with pytest.raises(Failure) as caught:
        encode.video(clip, found, made, bench(tmp_path))

    assert caught.value.code == "source_damaged"
    assert "readable: " in caught.value.detail


def test_damage_within_a_keyframe_of_a_copy_is_noticed_without_decoding_the_rest(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", *H264, "-g", "25", "-bf", "0", "-crf", "40", seconds=3, sound=False)
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size and packet.is_keyframe][1]
    assert packet.pos is not None
    for place in range(packet.pos + packet.size // 3, packet.pos + packet.size, packet.size // 6):
        data[place] ^= 0x10
    clip.write_bytes(data)
    found = inspect_file(clip, tmp_path)
    made = plan.make(found, plan.Profile(ladder=(720,), quality="fast")).video
    assert (made.mode, made.is_decoded) == ("copy", False)

    with pytest.raises(Failure) as caught:
        encode.video(clip, found, made, bench(tmp_path))

    assert caught.value.code == "source_damaged"


def test_a_stopped_step_leaves_with_the_reason(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", seconds=1)
    found = inspect_file(clip, tmp_path)
    table = bench(tmp_path)
    table.beat.stop(Stopped("shutting down"))

    with pytest.raises(Stopped):
        encode.video(clip, found, plan.make(found, PROFILE).video, table)
