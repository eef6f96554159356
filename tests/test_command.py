"""The argument lists for ffmpeg, without running it."""

import dataclasses
from pathlib import Path

from test_plan import AUDIO, MEDIA, VIDEO

from watcher import command, media, plan

URL = "http://127.0.0.1:9/secret"
# What would let a source name other files or addresses.
FORBIDDEN = {"hls", "concat", "dash", "sdp", "rtsp", "rtp", "image2", "tty", "lavfi", "webvtt", "srt", "ass"}


def value(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def before_input(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("-i")]


def all_commands(facts: media.Media) -> list[list[str]]:
    made = plan.make(facts, plan.Profile())
    assert made.audio is not None
    return [
        command.video(URL, facts, made.video),
        command.audio(URL, facts, made.audio),
        command.poster(URL, facts, made.stills, seconds=30, decoded="firsts", is_bright=True),
        command.tiles(URL, facts, made.storyboard, decoded="firsts"),
        command.keyframes(URL, facts, made.storyboard),
    ]


def test_every_command_opens_the_source_with_one_forced_demuxer_and_nothing_but_http() -> None:
    for arguments in all_commands(MEDIA):
        before = before_input(arguments)
        assert value(before, "-f") == "mov"
        assert value(before, "-protocol_whitelist") == "http,tcp"
        assert value(before, "-format_whitelist") == ",".join(command.VIDEO_FORMATS)
        assert value(before, "-enable_drefs") == "0"
        assert value(before, "-use_absolute_path") == "0"


def test_no_demuxer_that_can_open_other_files_is_allowed() -> None:
    assert not FORBIDDEN & {*command.VIDEO_FORMATS, *command.AUDIO_FORMATS}
    assert not [name for name in command.VIDEO_FORMATS if name.endswith("_pipe")]


def test_our_own_parts_are_opened_as_files_only_whatever_their_path_looks_like() -> None:
    arguments = command.package(Path("-i"), Path("a:b.mp4"), video_shift=0.08, video_end=2)

    assert "file:-i" in arguments
    assert "file:a:b.mp4" in arguments
    assert value(before_input(arguments), "-protocol_whitelist") == "file"
    assert value(before_input(arguments), "-itsoffset") == "-0.080000"


def test_no_output_keeps_the_sources_tags_or_chapters() -> None:
    commands = [*all_commands(MEDIA)[:2], command.package(Path("v"), Path("a"), video_shift=0, video_end=2)]
    for arguments in commands:
        assert value(arguments, "-map_metadata") == "-1"
        assert value(arguments, "-map_chapters") == "-1"


def test_a_copy_has_no_filters_and_an_encode_has_them() -> None:
    copied = all_commands(MEDIA)[0]
    encoded = all_commands(dataclasses.replace(MEDIA, video=dataclasses.replace(VIDEO, codec="hevc")))[0]

    assert "-vf" not in copied
    assert value(copied, "-c:v") == "copy"
    assert value(encoded, "-filter_complex").endswith("setsar=1,format=yuv420p[v0]")
    assert value(encoded, "-c:v") == "libx264"


def test_only_an_interlaced_source_is_deinterlaced() -> None:
    def filters(*, interlaced: bool) -> str:
        track = dataclasses.replace(VIDEO, codec="mpeg2video", interlaced=interlaced)
        return value(all_commands(dataclasses.replace(MEDIA, video=track))[0], "-filter_complex")

    assert "bwdif" in filters(interlaced=True)
    assert "bwdif" not in filters(interlaced=False)


def test_a_tape_format_is_read_with_both_tracks_so_that_sound_and_picture_share_their_zero() -> None:
    tape = dataclasses.replace(MEDIA, container="mpegts")
    video, audio, *_ = all_commands(tape)

    assert video[-7:] == ["-map", f"0:{AUDIO.index}", "-c", "copy", "-f", "null", "-"]
    assert audio[-7:] == ["-map", f"0:{VIDEO.index}", "-c", "copy", "-f", "null", "-"]
    assert all_commands(MEDIA)[0][-1] == command.VIDEO
