"""Whether the sound of a source was read whole, and what was made of it is as long."""

from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import COPY_AUDIO_RATE
from watcher.transcript import Report
from watcher.verify import tracks

# Sound decoders stumble over half a frame where a recording was cut, and go on; silence fills the gap. More
# than this share is damage that one hears.
AUDIO_ERRORS_SHARE = 0.01
AUDIO_ERRORS_FREE = 2


def audio_source(media: Media, report: Report, *, end: float) -> None:
    """Raise unless the sound was read whole, and nearly all of it was decoded; `end` as for `video_source`."""
    track = media.audio
    if track is None:
        raise ValueError("there is no sound to verify")
    tracks.check_arrived(report)
    read = report.read.get((0, track.index))
    declared = tracks.declared_end(media, track.packets, track.start_seconds, track.duration_seconds)
    readable = tracks.readable(end, declared or tracks.declared(media))
    if report.is_cut or tracks.is_short(read, track.packets):
        raise Failure(
            "source_truncated", f"the sound: {tracks.cut(read, track.packets)}; {readable}\n{report.text}"
        )
    tracks.check_order(report, end=end)
    if read is not None:
        allowed = max(AUDIO_ERRORS_FREE, read.packets * AUDIO_ERRORS_SHARE)
        if (read.errors or 0) > allowed or read.frames == 0:
            raise Failure(
                "source_damaged",
                f"{read.errors or 0} packets of sound cannot be decoded; readable: "
                f"{max(0, read.packets - (read.errors or 0))} of {read.packets} packets\n{report.text}",
            )
    if declared is not None and end < declared - tracks.CUT_SECONDS:
        raise Failure("source_truncated", f"the sound ends early; {readable}")


def copied_audio(found: tracks.Found | None, *, size_bytes: int) -> None:
    """Raise where copied sound has more bits than a copy may have, which not every source tells beforehand."""
    if found is None or found.end <= found.first:
        return
    rate = size_bytes * 8 / (found.end - found.first)
    if rate > COPY_AUDIO_RATE:
        raise Failure("output_invalid", f"the sound has {rate:.0f} bits a second, and not {COPY_AUDIO_RATE}")


def is_silent_track(media: Media, report: Report) -> bool:
    """Tell whether the source has a track for sound and nothing in it, as screen recorders leave behind."""
    read = report.read.get((0, media.audio.index)) if media.audio else None
    return (
        read is not None
        and read.packets == 0
        and not (media.audio and media.audio.packets)
        and not (report.is_cut or report.is_unread or any(report.corrupt_packets.values()))
    )


def audio_output(media: Media, report: Report, found: tracks.Found | None, *, is_whole: bool) -> None:
    """Raise unless all that was made is there, and the sound is as long as the source's and ends when it does.

    Of a source that `is_whole` is not for, only the first can be asked.
    """
    track = media.audio
    if found is None or track is None:
        raise Failure("output_invalid", "the output has no sound")
    tracks.check_written(report.wrote.get((0, 0)), found)
    declared = tracks.declared_end(media, track.packets, track.start_seconds, track.duration_seconds)
    if (
        is_whole
        and track.packets is not None
        and declared is not None
        and abs(found.end - declared) > tracks.TOLERANCE_SECONDS
    ):
        raise Failure(
            "output_invalid", f"the sound ends at {found.end:.3f} s, the source's at {declared:.3f} s"
        )
