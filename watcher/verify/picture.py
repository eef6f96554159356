"""Whether the picture of a source was read whole, and what was made of it is all there."""

import dataclasses
from collections.abc import Sequence

from watcher.errors import Failure
from watcher.media import Media, VideoTrack
from watcher.plan import Chunk
from watcher.transcript import Report
from watcher.verify import tracks

# Frames at the very start of a source that need earlier ones, which were cut off, are not shown by any player.
MOST_REORDERED = 16
# Of a copy's frames. One now and then is not missed; more make the motion jerk, and encoding spreads them.
MOST_CROWDED = 0.02
# Of a film that is encoded: frames for which there is no place, as they come at the time of others or before them.
MOST_DROPPED = 0.05


def video_source(media: Media, report: Report, *, end: float) -> None:
    """Raise unless the picture was read whole and undamaged; `end` is where the output's picture ends."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to verify")
    tracks.check_arrived(report)
    read = report.read.get((0, track.index))
    declared = tracks.declared_end(media, track.frames, track.start_seconds, track.duration_seconds)
    readable = tracks.readable(end, declared or tracks.declared(media))
    if report.is_cut or tracks.is_short(read, track.frames):
        raise Failure("source_truncated", f"{tracks.cut(read, track.frames)}; {readable}\n{report.text}")
    tracks.check_order(report, end=end)
    tracks.check_counted(media, report, end=end)
    is_damaged = has_errors(media, report)
    if declared is None:
        # The container's duration may be that of the sound alone; `package` knows how long that is.
        declared = tracks.promised(media) if media.audio is None or is_damaged else None
    if declared is not None and end < declared - _last_seconds(track) - tracks.CUT_SECONDS:
        raise Failure("source_truncated", f"the picture ends early; {readable}")
    if is_damaged:
        raise Failure("source_damaged", f"{_damage(track, report)}\n{report.text}")
    _check_dropped(report, (read.frames or 0) if read else 0)
    if read and read.frames == 0:
        raise Failure(
            "no_picture", f"none of {read.packets} packets gave a picture; readable: nothing\n{report.text}"
        )


def _last_seconds(track: VideoTrack) -> float:
    """Return how long the last frame was taken to last: as the others do on average, in what an index tells.

    A screen recorder's is often shorter than that by far, as a picture stands until the next one.
    """
    return (track.duration_seconds or 0.0) / track.frames if track.frames else 0.0


def _check_dropped(report: Report, frames: int) -> None:
    """Raise where too many of the frames that were decoded have no time of their own, and are not shown."""
    if report.dropped > max(MOST_REORDERED, MOST_DROPPED * frames):
        raise Failure(
            "source_damaged",
            f"{report.dropped} frames have the time of others, or an earlier one; "
            f"readable: {frames - report.dropped} of {frames} frames",
        )


def _damage(track: VideoTrack, report: Report) -> str:
    """Return what is wrong with the frames of a source, and how many are as they should be."""
    read = report.read.get((0, track.index))
    errors, frames = ((read.errors or 0), (read.frames or 0)) if read else (0, 0)
    incomplete = report.corrupt_packets_of(track.index)
    counts = {
        "frames cannot be decoded": errors,
        "frames are corrupt": report.corrupt_frames,
        "packets are incomplete": incomplete,
    }
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count > 0)
    if report.jumps:
        said += ", and its clock jumps, as where recordings were put one after the other"
    elif incomplete and not (errors or report.corrupt_frames):
        said += ", as where bytes were lost, or recordings were put one after the other"
    whole = max(0, frames - max(report.corrupt_frames, incomplete))
    return f"{said}; readable: {whole} of {frames + errors} frames"


def video_output(
    media: Media,
    report: Report,
    found: tracks.Found | None,
    *,
    is_copy: bool,
    is_paced: bool,
    is_whole: bool = True,
) -> None:
    """Raise unless the made picture has every frame that was read; `is_paced`: the frame rate was changed.

    Unless it `is_whole`, it need not be as long as the source says.
    """
    track = media.video
    if found is None or track is None:
        raise Failure("output_invalid", "the output has no picture")
    wrote, read = report.wrote.get((0, 0)), report.read.get((0, track.index))
    tracks.check_written(wrote, found)
    # What x264 marks as a keyframe is one; that the first decodes shows that the head fits the pictures.
    if is_copy and found.corrupt:
        raise Failure("output_invalid", f"{found.corrupt} packets of the source are malformed")
    if is_copy and found.crowded > MOST_CROWDED * found.packets:
        raise Failure(
            "output_invalid", f"{found.crowded} frames share their time with another one, and are not seen"
        )
    if found.keyframes == 0 or found.pictures < (found.keyframes if is_copy else 1):
        raise Failure(
            "output_invalid", f"{found.pictures} of {found.keyframes} keyframes can be decoded alone"
        )
    if len(found.sizes) > 1:  # which players show in the first one's place, or not at all
        raise Failure("output_invalid", f"the picture changes its size: {found.sizes}")
    expected = None
    if is_copy:
        expected = read.packets if read else track.frames
    elif read and read.frames is not None and not is_paced:
        expected = read.frames - report.dropped + report.duplicated
    if expected is not None and found.packets not in (expected, expected + _counted_twice(report)):
        raise Failure("output_invalid", f"the output has {found.packets} frames, not {expected}")
    if is_whole and track.frames is not None and track.duration_seconds and found.packets > 1:
        frame = float(1 / track.frame_rate) if track.frame_rate else 0.0
        if abs(found.length - found.late - track.duration_seconds) > max(tracks.TOLERANCE_SECONDS, frame):
            lengths = f"{found.length:.3f} s of picture, the source {track.duration_seconds:.3f} s"
            raise Failure("output_invalid", f"the output has {lengths}")


def _counted_twice(report: Report) -> int:
    """Return how many frames ffmpeg may have said twice that it dropped: the last one, if it was."""
    return min(1, report.dropped)


def has_errors(media: Media, report: Report) -> bool:
    """Tell whether anything of the picture could not be decoded; of the sound, `audio_source` judges."""
    if media.video is None:
        return False
    read = report.read.get((0, media.video.index))
    is_corrupt = report.corrupt_packets_of(media.video.index) or report.corrupt_frames
    return bool(is_corrupt or (read and read.errors))


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
        corrupt_packets={
            stream: max(0, count - before.corrupt_packets.get(stream, 0))
            for stream, count in report.corrupt_packets.items()
        },
        corrupt_frames=max(0, report.corrupt_frames - before.corrupt_frames),
    )


def chunk_source(media: Media, report: Report, chunk: Chunk, found: tracks.Found | None) -> None:
    """Raise unless the source was read undamaged over the whole of `chunk`."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to verify")
    if found is not None:  # first: an output that lost its end is no sign of a source that is cut short
        tracks.check_written(report.wrote.get((0, 0)), found)
    end = found.end - (found.first - found.first_decode) if found is not None else 0.0
    if chunk.is_whole:
        video_source(media, report, end=end)
        return
    tracks.check_arrived(report)
    declared = tracks.declared_end(media, track.frames, track.start_seconds, track.duration_seconds)
    reached = end if found is not None else chunk.start_seconds
    readable = tracks.readable(reached, declared or tracks.declared(media))
    if report.is_cut:
        raise Failure("source_truncated", f"the file ends too early; {readable}\n{report.text}")
    tracks.check_order(report, end=reached)
    least = declared - _last_seconds(track) - tracks.CUT_SECONDS if declared is not None else 0.0
    if chunk.end_seconds is None and end < least:
        raise Failure("source_truncated", f"the picture ends early; {readable}")
    if has_errors(media, report):
        read = report.read.get((0, track.index))
        seen, stretch = found.packets if found else 0, _stretch(chunk)
        frames = f"{seen} of {chunk.frames} frames" if chunk.frames is not None else f"{seen} frames"
        raise Failure(
            "source_damaged",
            f"{(read.errors or 0) if read else 0} frames {stretch} cannot be decoded, {report.corrupt_frames} are "
            f"corrupt; readable: {frames} {stretch}\n{report.text}",
        )
    if chunk.frames is not None:
        _check_dropped(report, chunk.frames)
    if found is None and chunk.start_seconds > 0:
        raise Failure("source_truncated", f"the file ends too early; {readable}\n{report.text}")
    if found is None:
        raise Failure(
            "no_picture", f"no picture comes of the first seconds; readable: nothing\n{report.text}"
        )


def _stretch(chunk: Chunk) -> str:
    if chunk.end_seconds is None:
        return f"from {chunk.start_seconds:.1f} s on"
    return f"from {chunk.start_seconds:.1f} to {chunk.end_seconds:.1f} s"


def chunk_output(
    media: Media,
    report: Report,
    chunk: Chunk,
    found: Sequence[tracks.Found | None],
    *,
    is_paced: bool,
    is_whole: bool = True,
) -> None:
    """Raise unless all rungs of a chunk have all of its frames, at the same times and with the same keyframes.

    Unless it `is_whole`, it need not have as many frames as the source says, but begin on time all the same.
    """
    first = found[0]
    for number, one in enumerate(found):
        if first is None or one is None:
            raise Failure("output_invalid", f"rung {number} has no picture")
        tracks.check_written(report.wrote.get((number, 0)), one)
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
        video_output(media, report, first, is_copy=False, is_paced=is_paced, is_whole=is_whole)
        return
    late = first.first_decode - chunk.start_seconds
    # The frame at its start may be one of those that are too many; the next one comes within the span of a frame.
    allowed = tracks.TOLERANCE_SECONDS if is_paced else tracks.TOLERANCE_SECONDS / 10
    if chunk.start_seconds > 0 and abs(late) > allowed:
        raise Failure("output_invalid", f"its first frame is shown {late:.3f} s after it begins")
    if is_whole and chunk.frames is not None and not is_paced:
        missing = chunk.frames - report.dropped - first.packets
        if missing < -_counted_twice(report) or missing > (MOST_REORDERED if chunk.start_seconds == 0 else 0):
            raise Failure("output_invalid", f"the chunk has {first.packets} frames, not {chunk.frames}")
