"""What may be believed of a source that was read and of an output that was made.

Pure: it compares what ffmpeg reported with what the prober measured, and raises Failure. A source is judged
before the output made from it, so that the blame falls where it belongs.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import Chunk
from watcher.transcript import Read, Report, Wrote

# Two clocks that round to milliseconds, and an AAC frame of 23 to 46 ms that is kept whole or not.
TOLERANCE_SECONDS = 0.1
# A container's declared duration covers tracks that are not read here, and some muxers add a preroll: a clip
# of 60.1 s was seen declared as 60.6 s. Below this much nothing is said.
CUT_SECONDS = 1.0
# An index, or a notice by the demuxer, tells when these end too early. Their declared duration may be that of
# subtitles which go on after the picture.
SELF_CHECKING_FORMATS = ("mov", "matroska")
# Sound decoders stumble over half a frame where a recording was cut, and go on; silence fills the gap. More
# than this share is damage that one hears.
AUDIO_ERRORS_SHARE = 0.01
AUDIO_ERRORS_FREE = 2


# Frames at the very start of a source that need earlier ones, which were cut off, are not shown by any player.
MOST_REORDERED = 16


@dataclass(frozen=True)
class Found:
    """One track of an output as the prober measured it; times in seconds."""

    packets: int
    keyframes: int
    pictures: int  # keyframes that decoded with nothing before them
    first: float
    first_decode: float
    last: float
    end: float
    key_times: tuple[float, ...]

    @property
    def length(self) -> float:
        """From the first packet's start to the last one's end, as long as the others are on average.

        Containers round or invent the last packet's own duration.
        """
        return (self.last - self.first) * self.packets / (self.packets - 1) if self.packets > 1 else 0.0


def tracks(scan: dict[str, Any], kind: str) -> list[Found]:
    """Return the tracks of one kind ("video", "audio") from a prober's scan; those without times are left out."""
    found = [dict(one) for _, one in sorted(scan.items()) if one["type"] == kind and one["first"] is not None]
    names = ("packets", "keyframes", "pictures", "first", "first_decode", "last", "end")
    return [
        Found(**{name: one[name] or 0 for name in names}, key_times=tuple(one["key_times"])) for one in found
    ]


def video_source(media: Media, report: Report, *, end: float) -> None:
    """Raise unless the picture was read whole and undamaged; `end` is where the output's picture ends."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to verify")
    _check_arrived(report)
    read = report.read.get((0, track.index))
    if report.is_cut or _is_short(read, track.frames):
        raise Failure("source_truncated", _cut(read, track.frames, report))
    is_damaged = bool(report.corrupt_packets or report.corrupt_frames or (read and read.errors))
    declared = _declared_end(media, track.frames, track.start_seconds, track.duration_seconds)
    if declared is None and media.container not in SELF_CHECKING_FORMATS:
        # The container's duration may be that of the sound alone; `package` knows how long that is.
        declared = _declared(media) if media.audio is None or is_damaged else None
    if declared is not None and end < declared - CUT_SECONDS:
        raise Failure(
            "source_truncated", f"the picture ends after {end:.1f} of {declared:.1f} declared seconds"
        )
    if is_damaged:
        errors = (read.errors or 0) if read else 0
        raise Failure(
            "source_damaged",
            f"{errors} frames cannot be decoded, {report.corrupt_frames} are corrupt, "
            f"{report.corrupt_packets} packets are incomplete: {report.text}",
        )
    if read and read.frames == 0:
        raise Failure("no_picture", f"none of {read.packets} packets gave a picture: {report.text}")


def audio_source(media: Media, report: Report, *, end: float) -> None:
    """Raise unless the sound was read whole, and nearly all of it was decoded; `end` as for `video_source`."""
    track = media.audio
    if track is None:
        raise ValueError("there is no sound to verify")
    _check_arrived(report)
    read = report.read.get((0, track.index))
    if report.is_cut or _is_short(read, track.packets):
        raise Failure("source_truncated", _cut(read, track.packets, report))
    declared = _declared_end(media, track.packets, track.start_seconds, track.duration_seconds)
    if declared is not None and end < declared - CUT_SECONDS:
        raise Failure(
            "source_truncated", f"the sound ends after {end:.1f} of {declared:.1f} declared seconds"
        )
    if read is None:
        return
    allowed = max(AUDIO_ERRORS_FREE, read.packets * AUDIO_ERRORS_SHARE)
    if (read.errors or 0) > allowed or read.frames == 0:
        raise Failure(
            "source_damaged",
            f"{read.errors or 0} of {read.packets} packets of sound cannot be decoded: {report.text}",
        )


def video_output(media: Media, report: Report, found: Found | None, *, is_copy: bool, is_paced: bool) -> None:
    """Raise unless the made picture has every frame of the source; `is_paced`: the frame rate was changed."""
    track = media.video
    if found is None or track is None:
        raise Failure("output_invalid", "the output has no picture")
    wrote, read = report.wrote.get((0, 0)), report.read.get((0, track.index))
    _check_written(wrote, found)
    # What x264 marks as a keyframe is one; that the first decodes shows that the head fits the pictures.
    if found.keyframes == 0 or found.pictures < (found.keyframes if is_copy else 1):
        raise Failure(
            "output_invalid", f"{found.pictures} of {found.keyframes} keyframes can be decoded alone"
        )
    expected = None
    if is_copy:
        expected = read.packets if read else track.frames
    elif read and read.frames is not None and not is_paced:
        expected = read.frames - report.dropped + report.duplicated
    if expected is not None and found.packets != expected:
        raise Failure("output_invalid", f"the output has {found.packets} frames, not {expected}")
    if track.frames is not None and track.duration_seconds and found.packets > 1:
        frame = float(1 / track.frame_rate) if track.frame_rate else 0.0
        if abs(found.length - track.duration_seconds) > max(TOLERANCE_SECONDS, frame):
            lengths = f"{found.length:.3f} s of picture, the source {track.duration_seconds:.3f} s"
            raise Failure("output_invalid", f"the output has {lengths}")


def has_errors(media: Media, report: Report) -> bool:
    """Tell whether anything could not be decoded."""
    read = report.read.get((0, media.video.index)) if media.video else None
    return bool(report.corrupt_packets or report.corrupt_frames or (read and read.errors))


def without(report: Report, before: Report) -> Report:
    """Return `report` less the errors of `before`, a run that went the same way as far as the chunk's start."""
    read = {
        key: dataclasses.replace(one, errors=max(0, (one.errors or 0) - (before.read[key].errors or 0)))
        if key in before.read
        else one
        for key, one in report.read.items()
    }
    return dataclasses.replace(
        report,
        read=read,
        corrupt_packets=max(0, report.corrupt_packets - before.corrupt_packets),
        corrupt_frames=max(0, report.corrupt_frames - before.corrupt_frames),
    )


def chunk_source(media: Media, report: Report, chunk: Chunk, found: Found | None) -> None:
    """Raise unless the source was read undamaged over the whole of `chunk`."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to verify")
    end = found.end - (found.first - found.first_decode) if found is not None else 0.0
    if chunk.is_whole:
        video_source(media, report, end=end)
        return
    _check_arrived(report)
    if report.is_cut or (found is None and chunk.start_seconds > 0):
        raise Failure("source_truncated", f"the file ends too early: {report.text}")
    if chunk.end_seconds is None:
        declared = _declared_end(media, track.frames, track.start_seconds, track.duration_seconds)
        if declared is not None and end < declared - CUT_SECONDS:
            raise Failure(
                "source_truncated", f"the picture ends after {end:.1f} of {declared:.1f} declared seconds"
            )
    if has_errors(media, report):
        read = report.read.get((0, track.index))
        raise Failure(
            "source_damaged",
            f"{(read.errors or 0) if read else 0} frames of the {chunk.start_seconds:.1f} s and after cannot be "
            f"decoded, {report.corrupt_frames} are corrupt: {report.text}",
        )
    if found is None:
        raise Failure("no_picture", f"no picture comes of the first seconds: {report.text}")


def chunk_output(
    media: Media, report: Report, chunk: Chunk, found: Sequence[Found | None], *, is_paced: bool
) -> None:
    """Raise unless all rungs of a chunk have all of its frames, at the same times and with the same keyframes."""
    first = found[0]
    for number, one in enumerate(found):
        if first is None or one is None:
            raise Failure("output_invalid", f"rung {number} has no picture")
        _check_written(report.wrote.get((number, 0)), one)
        if one.keyframes == 0 or one.pictures == 0:
            raise Failure("output_invalid", f"rung {number} has no keyframe that can be decoded alone")
        if (one.packets, one.key_times) != (first.packets, first.key_times):
            raise Failure(
                "output_invalid",
                f"rung {number} has {one.packets} frames and keyframes at {one.key_times}, "
                f"the first one {first.packets} and {first.key_times}",
            )
    if first is None:
        raise Failure("output_invalid", "there is no picture")
    if chunk.is_whole:
        video_output(media, report, first, is_copy=False, is_paced=is_paced)
        return
    late = first.first_decode - chunk.start_seconds
    frame = (
        1.0 / float(media.video.frame_rate) if media.video and media.video.frame_rate else TOLERANCE_SECONDS
    )
    if chunk.start_seconds > 0 and abs(late) > (frame if is_paced else TOLERANCE_SECONDS / 10):
        raise Failure("output_invalid", f"its first frame is shown {late:.3f} s after it begins")
    if chunk.frames is not None and not is_paced:
        missing = chunk.frames - report.dropped - first.packets
        if missing < 0 or missing > (MOST_REORDERED if chunk.start_seconds == 0 else 0):
            raise Failure("output_invalid", f"the chunk has {first.packets} frames, not {chunk.frames}")


def stitched(media: Media, found: Found | None, *, is_paced: bool) -> None:
    """Raise unless the parts together have as many frames as the source's index."""
    track = media.video
    if found is None or track is None or track.frames is None or is_paced:
        return
    # Frames that share their time with another one are dropped; a second of them would hide a lost chunk.
    second = int(track.frame_rate or MOST_REORDERED)
    missing = track.frames - track.hidden - found.packets
    if missing > min(second, max(MOST_REORDERED, track.frames // 1000)):
        raise Failure("output_invalid", f"the parts have {found.packets} frames, not {track.frames}")


def audio_output(media: Media, report: Report, found: Found | None) -> None:
    """Raise unless the made sound is as long as the source's, and ends when it does."""
    track = media.audio
    if found is None or track is None:
        raise Failure("output_invalid", "the output has no sound")
    _check_written(report.wrote.get((0, 0)), found)
    declared = _declared_end(media, track.packets, track.start_seconds, track.duration_seconds)
    if track.packets is not None and declared is not None and abs(found.end - declared) > TOLERANCE_SECONDS:
        raise Failure(
            "output_invalid", f"the sound ends at {found.end:.3f} s, the source's at {declared:.3f} s"
        )


def package(
    media: Media, made: dict[str, Any], video: Found, audio: Found | None, *, is_index_first: bool
) -> tuple[Found, Found | None]:
    """Raise unless the stitched file `made` (a scan) holds all of both parts, in time; return its tracks."""
    pictures, sounds = tracks(made, "video"), tracks(made, "audio")
    if len(pictures) != 1 or len(sounds) != (audio is not None) or len(made) != len(pictures) + len(sounds):
        raise Failure("output_invalid", f"the MP4 has {len(pictures)} pictures and {len(sounds)} sounds")
    if not is_index_first:
        raise Failure("output_invalid", "the MP4 has its index at the end, so it cannot play while it loads")
    picture, sound = pictures[0], sounds[0] if sounds else None
    if picture.packets != video.packets or picture.keyframes != video.keyframes:
        raise Failure("output_invalid", f"the MP4 has {picture.packets} frames, its parts {video.packets}")
    _check_time("picture", picture.first - video.first_decode)
    _check_time("picture", picture.length - video.length)
    if sound is not None and audio is not None:
        if sound.packets != audio.packets:
            raise Failure("output_invalid", f"the MP4 has {sound.packets} sounds, its part {audio.packets}")
        _check_time("sound", sound.first - audio.first)
        _check_time("sound", sound.end - audio.end)
    end = max(picture.end, sound.end if sound is not None else 0)
    declared = None if media.container in SELF_CHECKING_FORMATS else _declared(media)
    if declared is not None and end < declared - CUT_SECONDS:
        raise Failure("source_truncated", f"it ends after {end:.1f} of {declared:.1f} declared seconds")
    return picture, sound


def _check_arrived(report: Report) -> None:
    if report.is_unread:
        raise Failure("encode_failed", f"not all of the source could be read: {report.text}")


def _check_written(wrote: Wrote | None, found: Found) -> None:
    if wrote is not None and wrote.packets != found.packets:
        raise Failure("output_invalid", f"ffmpeg wrote {wrote.packets} packets, the file has {found.packets}")


def _check_time(what: str, distance: float) -> None:
    if abs(distance) > TOLERANCE_SECONDS / 10:  # copied times may only change by rounding
        raise Failure("output_invalid", f"stitching moved the {what} by {distance:.3f} s")


def _is_short(read: Read | None, indexed: int | None) -> bool:
    return read is not None and indexed is not None and read.packets < indexed


def _cut(read: Read | None, indexed: int | None, report: Report) -> str:
    if read is not None and indexed is not None:
        return f"{read.packets} of {indexed} packets could be read"
    return f"the file ends in the middle: {report.text}"


def _declared(media: Media) -> float | None:
    return media.duration_seconds if media.is_duration_trusted else None


def _declared_end(
    media: Media, indexed: int | None, start: float | None, duration: float | None
) -> float | None:
    """Where a track ends on the output's clock, if its container says so for the track itself."""
    if duration is None or not media.is_duration_trusted:
        return None
    return (start or 0.0) - media.start_seconds + duration
