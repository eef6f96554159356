"""What is found out about a source: real clips, read by the real prober over HTTP."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import encrypted
import pytest
from clips import H264, cut, inspect, inspect_file, make, run, served

from watcher import media
from watcher.errors import Failure, Skip


def test_a_clip_over_http_gives_the_facts_that_the_plan_needs(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4")

    with served(tmp_path) as url:
        found = inspect(f"{url}clip.mp4", tmp_path, name="clip.mp4", size_bytes=clip.stat().st_size)

    assert found.container == "mov"
    assert found.duration_seconds == pytest.approx(2.0, abs=0.03)
    assert found.is_duration_trusted
    video, audio = found.video, found.audio
    assert video is not None
    assert audio is not None
    assert (video.codec, video.width, video.height, video.frames) == ("h264", 320, 180, 50)
    assert (video.frame_rate, video.sample_aspect, video.rotation) == (25, 1, 0)
    assert video.duration_seconds == pytest.approx(2.0, abs=0.001)
    assert (audio.codec, audio.profile, audio.sample_rate, audio.channels) == ("aac", "LC", 48_000, 1)
    assert media.load(media.dump(found)) == found


@pytest.mark.parametrize(
    ("name", "encoding", "container"),
    [
        ("clip.mkv", ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"), "matroska"),
        ("clip.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "avi"),
        ("clip.ts", ("-c:v", "mpeg2video", "-c:a", "mp2"), "mpegts"),
        ("clip.mpg", ("-c:v", "mpeg1video", "-c:a", "mp2"), "mpeg"),
        ("clip.flv", ("-c:v", "flv", "-ar", "44100", "-c:a", "libmp3lame"), "flv"),
        ("clip.wmv", ("-c:v", "wmv2", "-c:a", "wmav2"), "asf"),
    ],
)
def test_the_container_has_a_name_that_ffmpeg_can_be_forced_to(
    tmp_path: Path, name: str, encoding: tuple[str, ...], container: str
) -> None:
    found = inspect_file(make(tmp_path / name, *encoding, seconds=1), tmp_path)

    assert found.container == container
    run("-f", container, "-i", str(tmp_path / name), "-t", "0.1", "-f", "null", "-")


def shown(path: Path) -> tuple[list[float], list[float]]:
    """Return the times of all frames and of the keyframes, read packet by packet."""
    with av.open(str(path)) as container:
        read = [
            (float(packet.pts * packet.time_base), packet.is_keyframe)
            for packet in container.demux(video=0)
            if packet.size and packet.pts is not None
        ]
    return sorted(time for time, _ in read), sorted(time for time, is_key in read if is_key)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b-frames.mp4", ("-bf", "3", "-g", "50")),
        ("open-gop.mp4", ("-bf", "3", "-x264-params", "keyint=50:open-gop=1")),
        ("negative.mp4", ("-bf", "3", "-g", "50", "-movflags", "negative_cts_offsets")),
        ("late.mov", ("-bf", "3", "-g", "50", "-output_ts_offset", "1.5")),
        ("no-b-frames.mov", ("-bf", "0", "-g", "50", "-movflags", "+faststart")),
        ("uneven.mp4", ("-bf", "3", "-g", "30", "-vf", "select='mod(n,7)'", "-fps_mode", "vfr")),
    ],
)
def test_keyframes_are_told_to_the_tick_with_the_count_of_frames_before_them(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    clip = make(
        tmp_path / name, "-c:v", "libx264", "-preset", "veryfast", *options, "-c:a", "aac", seconds=9, rate=25
    )

    with served(tmp_path) as url:
        video = inspect(f"{url}{name}", tmp_path, name=name, size_bytes=clip.stat().st_size).video

    frames, keyframes = shown(clip)
    assert video is not None
    assert video.keyframes is not None
    told = [key.seconds for key in video.keyframes]
    assert told == pytest.approx(keyframes, abs=1e-6)
    assert [key.frames_before for key in video.keyframes] == [
        sum(time < key - 0.0001 for time in frames) for key in keyframes
    ]
    gaps = [after - before for before, after in zip(keyframes, [*keyframes[1:], frames[-1]], strict=True)]
    assert video.keyframe_gap == pytest.approx(max(gaps), abs=0.001)


@pytest.mark.parametrize(("ending", "gap"), [("mp4", 1.6), ("mkv", None)])
def test_how_long_a_picture_stands_is_known_from_a_complete_index(
    tmp_path: Path, ending: str, gap: float | None
) -> None:
    still = ("-vf", "select='not(between(t,0.45,1.95))'", "-fps_mode", "vfr")
    clip = make(tmp_path / f"still.{ending}", *H264, *still, rate=10, seconds=3, sound=False)

    video = inspect_file(clip, tmp_path).video

    assert video is not None
    assert video.frame_gap == (None if gap is None else pytest.approx(gap, abs=0.001))


def test_keyframes_that_are_told_lie_further_apart_as_the_film_goes_on(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "long.mp4", "-c:v", "mpeg4", "-g", "5", size="32x32", rate=10, seconds=1200, sound=False
    )

    video = inspect_file(clip, tmp_path).video

    assert video is not None
    assert video.keyframes is not None
    times = [key.seconds for key in video.keyframes]
    assert times[:3] == [0, 1, 2]
    assert times[-1] - times[-2] == 15
    assert len(times) < 250
    assert video.keyframe_gap == 0.5


def test_a_matroska_file_tells_its_keyframes_by_its_index(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mkv", "-c:v", "mpeg4", "-g", "50", seconds=7)

    whole = inspect_file(clip, tmp_path).video
    half = inspect_file(cut(clip, tmp_path / "half.mkv", share=0.6), tmp_path).video

    assert whole is not None
    assert whole.keyframes == ((0.0, None), (2.0, None), (4.0, None), (6.0, None))
    assert half is not None
    assert half.keyframes is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fragmented.mp4", ("-movflags", "frag_keyframe+empty_moov")),
        ("clip.ts", ()),
        ("clip.avi", ()),
    ],
)
def test_a_container_without_a_complete_index_has_no_keyframes_to_cut_at(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    video = inspect_file(make(tmp_path / name, *H264, *options, "-g", "25"), tmp_path).video

    assert video is not None
    assert video.keyframes is None


def test_a_turned_phone_clip_tells_how_to_turn_it(tmp_path: Path) -> None:
    make(tmp_path / "flat.mp4", seconds=1)
    run(
        "-display_rotation",
        "90",
        "-i",
        str(tmp_path / "flat.mp4"),
        "-c",
        "copy",
        str(tmp_path / "turned.mp4"),
    )

    video = inspect_file(tmp_path / "turned.mp4", tmp_path).video

    assert video is not None
    assert video.rotation == 270  # the option counts counter-clockwise


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    clip = make(tmp_path / "pal.mp4", "-vf", "setsar=16/11", *H264, size="720x576", seconds=0.2, sound=False)

    video = inspect_file(clip, tmp_path).video

    assert video is not None
    assert video.sample_aspect == Fraction(16, 11)


def test_the_pictures_of_a_songs_cover_are_no_video(tmp_path: Path) -> None:
    make(tmp_path / "cover.jpg", "-frames:v", "1", sound=False, seconds=1)
    song = tmp_path / "song.m4a"
    run(
        *(
            "-f",
            "lavfi",
            "-i",
            "sine=duration=1",
            "-i",
            str(tmp_path / "cover.jpg"),
            "-map",
            "0",
            "-map",
            "1",
        ),
        *("-c:a", "aac", "-c:v", "copy", "-disposition:v", "attached_pic", str(song)),
    )

    with pytest.raises(Skip) as caught:
        inspect_file(song, tmp_path)

    assert caught.value.reason == "audio_only"


def test_the_larger_of_two_pictures_is_the_main_one_when_none_is_the_default(tmp_path: Path) -> None:
    run(
        *(
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=64x64:duration=1",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:duration=1",
        ),
        *("-map", "0", "-map", "1", "-c:v", "mpeg2video", str(tmp_path / "two.ts")),
    )

    video = inspect_file(tmp_path / "two.ts", tmp_path).video

    assert video is not None
    assert (video.index, video.width) == (1, 320)


def test_what_an_edit_list_hides_is_counted(tmp_path: Path) -> None:
    make(tmp_path / "whole.mp4", *H264, "-g", "250", sound=False)
    run("-ss", "1", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", str(tmp_path / "trimmed.mp4"))

    video = inspect_file(tmp_path / "trimmed.mp4", tmp_path).video

    assert video is not None
    assert video.hidden > 20
    assert video.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_a_trimmed_film_is_as_long_as_its_shown_frames_where_hidden_ones_lie_between_them(
    tmp_path: Path,
) -> None:
    reordered = ("-c:v", "libx264", "-preset", "veryfast", "-g", "15", "-bf", "3", "-sc_threshold", "0")
    make(tmp_path / "whole.mp4", *reordered, rate=10, seconds=6, sound=False)
    run("-ss", "2.3", "-i", str(tmp_path / "whole.mp4"), "-c", "copy", str(tmp_path / "trimmed.mp4"))

    video = inspect_file(tmp_path / "trimmed.mp4", tmp_path).video

    assert video is not None
    assert video.frames is not None
    assert video.hidden > 0
    assert video.duration_seconds == pytest.approx((video.frames - video.hidden) / 10, abs=0.01)


def test_an_mp4_whose_upload_broke_off_is_truncated_whichever_end_its_index_is_at(tmp_path: Path) -> None:
    make(tmp_path / "first.mp4", *H264, "-c:a", "aac", "-movflags", "+faststart")
    make(tmp_path / "last.mp4")
    for name in ("first", "last"):
        half = cut(tmp_path / f"{name}.mp4", tmp_path / f"{name}-half.mp4", share=0.5)

        with pytest.raises(Failure) as caught:
            inspect_file(half, tmp_path)

        assert caught.value.code == "source_truncated"
        assert caught.value.permanent


@pytest.mark.parametrize("name", ["film.ts", "film.m2ts"])
def test_a_recording_that_goes_on_in_other_tracks_is_told(tmp_path: Path, name: str) -> None:
    one = make(tmp_path / f"one-{name}", *H264, "-c:a", "mp2")
    other, same = tmp_path / f"other-{name}", tmp_path / f"same-{name}"
    run("-i", str(one), "-c", "copy", "-streamid", "0:500", "-streamid", "1:501", str(other))
    same.write_bytes(one.read_bytes() * 2)
    inspect_file(same, tmp_path)
    larger = make(tmp_path / f"larger-{name}", *H264, "-c:a", "mp2", "-streamid", "0:500", size="480x270")
    joined = tmp_path / name
    for second in (other, larger):
        joined.write_bytes(one.read_bytes() + second.read_bytes())

        with pytest.raises(Failure) as caught:
            inspect_file(joined, tmp_path)

        assert caught.value.code == "source_damaged"
        assert "other tracks" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "encrypt", "track"),
    [
        ("film.mp4", encrypted.mp4, "h264"),
        ("film.mp4", encrypted.mp4_sound, "aac"),
        ("film.mkv", functools.partial(encrypted.mkv, kind=1), "h264"),
        ("film.mkv", functools.partial(encrypted.mkv, kind=2), "aac"),
    ],
    ids=["mp4", "sound-of-mp4", "picture-of-mkv", "sound-of-mkv"],
)
def test_an_encrypted_track_is_told(
    tmp_path: Path, name: str, encrypt: Callable[[Path, Path], Path], track: str
) -> None:
    clear = make(tmp_path / f"clear-{name}", *H264, "-c:a", "aac", seconds=1)
    inspect_file(clear, tmp_path)

    with pytest.raises(Failure) as caught:
        inspect_file(encrypt(clear, tmp_path / name), tmp_path)

    assert caught.value.code == "source_encrypted"
    assert f"its {track} track" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("film.mp4", (*H264, "-c:a", "aac")),
        ("film.mov", (*H264, "-c:a", "aac", "-movflags", "+faststart")),
        ("film.wmv", ("-c:v", "wmv2", "-c:a", "wmav2")),
        ("film.swf", ("-c:v", "flv1", "-an")),
    ],
)
def test_a_recording_behind_another_one_that_no_player_sees_is_told(
    tmp_path: Path, name: str, encoding: Sequence[str]
) -> None:
    source = make(tmp_path / name, *encoding, seconds=1)
    inspect_file(source, tmp_path)
    source.write_bytes(source.read_bytes() * 2)

    with pytest.raises(Failure) as caught:
        inspect_file(source, tmp_path)

    assert caught.value.code == "source_damaged"
    assert "behind it" in caught.value.detail


@pytest.mark.parametrize(
    ("name", "content_type", "data", "outcome"),
    [
        ("notes.txt", "text/plain", b"Buy milk.\n" * 500, "not_a_video"),
        ("notes", "", b"Buy milk.\n" * 500, "not_a_video"),
        ("data.bin", "application/octet-stream", bytes(range(256)) * 200, "not_a_video"),
        ("song.mp3", "audio/mpeg", b"not a song " * 500, "audio_only"),
        ("empty.txt", "", b"", "not_a_video"),
        ("empty.mp4", "", b"", "unreadable"),
        ("notes.mp4", "", b"Buy milk.\n" * 500, "unreadable"),
        ("notes", "video/mp4", b"Buy milk.\n" * 500, "unreadable"),
        ("list.mp4", "", b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile:///etc/passwd\n", "unreadable"),
        ("list.mkv", "", b"ffconcat version 1.0\nfile clip.mp4\n", "unreadable"),
        ("list.mp4", "", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "unreadable"),
        ("sub.mp4", "", b"1\n00:00:00,000 --> 00:00:09,000\nhello\n", "unreadable"),
    ],
)
def test_what_is_no_video_is_skipped_unless_it_claims_to_be_one(
    tmp_path: Path, name: str, content_type: str, data: bytes, outcome: str
) -> None:
    path = tmp_path / "object"
    path.write_bytes(data)

    with pytest.raises((Skip, Failure)) as caught:
        inspect(path, tmp_path, name=name, size_bytes=len(data), content_type=content_type)

    error = caught.value
    assert (error.code if isinstance(error, Failure) else error.reason) == outcome


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.gif", "photo.webp"])
def test_a_photograph_is_skipped(tmp_path: Path, name: str) -> None:
    photo = make(tmp_path / name, "-frames:v", "1", sound=False, seconds=1)

    with pytest.raises(Skip) as caught:
        inspect_file(photo, tmp_path)

    assert caught.value.reason == "image"


@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.m4a", "song.ogg", "song.mp4"])
def test_sound_without_a_picture_is_skipped(tmp_path: Path, name: str) -> None:
    run("-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / name))

    with pytest.raises(Skip) as caught:
        inspect_file(tmp_path / name, tmp_path)

    assert caught.value.reason == "audio_only"


def test_a_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "wall.avi", "-c:v", "mpeg4", "-frames:v", "1", size="8190x5000", seconds=0.1, sound=False
    )

    with pytest.raises(Failure) as caught:
        inspect_file(clip, tmp_path)

    assert caught.value.code == "source_too_large"


def test_a_server_that_is_gone_is_not_the_sources_fault(tmp_path: Path) -> None:
    with served(tmp_path) as url:
        pass

    with pytest.raises(Failure) as caught:
        inspect(f"{url}clip.mp4", tmp_path, name="clip.mp4", size_bytes=1000)

    assert caught.value.code == "encode_failed"
    assert not caught.value.permanent


def test_a_track_that_never_decodes_is_no_picture(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mkv", "-c:v", "ffv1", "-coder", "1", sound=False, seconds=0.4)
    data = bytearray(clip.read_bytes())
    middle = len(data) // 50
    data[middle:] = (b"\x5a" * 7 + b"\x01") * ((len(data) - middle) // 8)
    clip.write_bytes(data)

    with pytest.raises(Failure) as caught:
        inspect_file(clip, tmp_path)

    assert caught.value.code in {"no_picture", "unreadable"}
    assert caught.value.permanent


def test_an_index_of_empty_pictures_is_no_picture(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", *H264, sound=False, seconds=0.4)
    data = bytearray(clip.read_bytes())
    sizes = data.index(b"stsz") + 16
    data[sizes : sizes + 4 * 10] = bytes(4 * 10)
    clip.write_bytes(data)

    with pytest.raises(Failure) as caught:
        inspect_file(clip, tmp_path)

    assert caught.value.code == "no_picture"


def test_facts_can_be_changed_only_by_making_new_ones(tmp_path: Path) -> None:
    found = inspect_file(make(tmp_path / "clip.mp4", seconds=0.2), tmp_path)

    with pytest.raises(dataclasses.FrozenInstanceError):
        found.container = "avi"  # type: ignore[misc]
