"""What was measured of one track, and how far measures and claims may differ."""

from dataclasses import dataclass
from typing import Any

from watcher.errors import Failure
from watcher.media import Media
from watcher.transcript import Read, Report, Wrote

# Two clocks that round to milliseconds, and an AAC frame of 23 to 46 ms that is kept whole or not.
TOLERANCE_SECONDS = 0.1
# A container's declared duration covers tracks that are not read here, and some muxers add a preroll: a clip
# of 60.1 s was seen declared as 60.6 s. Below this much nothing is said.
CUT_SECONDS = 1.0
# An index, or a notice by the demuxer, tells when these end too early. Their declared duration may be that of
# subtitles which go on after the picture.
SELF_CHECKING_FORMATS = ("mov", "matroska")

# What an FLV has beside its packets: a head for each, and some tags with an index of keyframes.
TAG_BYTES, UNKNOWN_BYTES, UNKNOWN_SHARE = 20, 4096, 0.02
JUMP_SECONDS = 10.0  # forward, which ffmpeg makes up for by itself
LEAST_JUMP_SECONDS, LEAST_JUMP_FRAMES = 0.25, 4  # more than lies between two frames
# Where the clock of all tracks jumps, their packets lie mixed for a moment, and ffmpeg goes to and fro for as long.
LEAST_TO_AND_FRO = 3


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
    sizes: tuple[tuple[int, int], ...] = ()  # of the keyframes that were decoded, each once
    crowded: int = 0  # pictures that share their time with another one, but for the last few
    corrupt: int = 0  # packets that are not what they should be, as far as one sees without decoding them
    # How much later than the sound the picture begins in the source; its first frame is shown that much longer.
    late: float = 0.0

    @property
    def length(self) -> float:
        """From the first packet's start to the last one's end, as long as the others are on average.

        Containers round or invent the last packet's own duration.
        """
        if self.packets < 2:
            return 0.0
        return self.late + (self.last - self.first - self.late) * self.packets / (self.packets - 1)


def read(scan: dict[str, Any], kind: str, *, late: float = 0.0) -> list[Found]:
    """Return the tracks of one kind ("video", "audio") from a prober's scan; those without times are left out."""
    found = [dict(one) for _, one in sorted(scan.items()) if one["type"] == kind and one["first"] is not None]
    names = ("packets", "keyframes", "pictures", "corrupt", "crowded", "first", "first_decode", "last", "end")
    return [
        Found(
            **{name: one[name] or 0 for name in names},
            key_times=tuple(one["key_times"]),
            sizes=tuple(map(tuple, one["sizes"])),
            late=late,
        )
        for one in found
    ]


def check_arrived(report: Report) -> None:
    """Raise where bytes of the source did not reach ffmpeg: nothing can be said of it then."""
    if report.is_unread:
        raise Failure("encode_failed", f"not all of the source could be read: {report.text}")
    if not report.read:  # it always tells: the program is at fault, and the source is not judged by it
        raise Failure("output_invalid", f"ffmpeg ended well, and did not tell what it read: {report.text}")


def check_order(report: Report, *, end: float) -> None:
    """Raise where the clock goes back, as in recordings put one after the other: what follows is not shown.

    So is what cannot be read with the first one.
    """
    if report.is_followed:
        raise Failure(
            "source_damaged",
            f"recordings were put one after the other in it; readable: {end:.1f} s, the first",
        )
    if back := report.back_seconds:
        raise Failure(
            "source_damaged",
            f"its clock goes back by {back:.1f} s, as in recordings that were put one after the other; "
            f"readable: {end:.1f} of {end + back:.1f} s or more",
        )


def check_counted(media: Media, report: Report, *, end: float) -> None:
    """Raise where bytes were passed over, as the demuxer of FLV does with a recording that is put behind another.

    All tracks of the source must have been read.
    """
    if media.container != "flv":
        return
    known = sum(one.size_bytes + TAG_BYTES * one.packets for one in report.read.values())
    lost = media.size_bytes - known
    if lost > max(UNKNOWN_BYTES, UNKNOWN_SHARE * media.size_bytes):
        raise Failure(
            "source_damaged",
            f"{lost} of its {media.size_bytes} bytes are of no picture and no sound, as where recordings were put "
            f"one after the other; readable: {end:.1f} s",
        )


def jump_seconds(media: Media, report: Report) -> float | None:
    """Return how short jumps of the clock have to be made up for as well; None where that went right.

    ffmpeg takes any jump back for one, but forward it takes ten seconds or more. When the clock of all tracks goes
    back by less it makes up for that in the first track, which moves the others on, and again in each of them:
    what follows comes too late.
    """
    back = {stream: -seconds for stream, seconds in report.jumps if -JUMP_SECONDS < seconds < 0}
    if len(back) < 2:
        return None
    rate = media.video.frame_rate if media.video is not None else None
    seconds = max(
        min(back.values()) / 2, LEAST_JUMP_SECONDS, float(LEAST_JUMP_FRAMES / rate) if rate else 0.0
    )
    return seconds if seconds < max(back.values()) else None


def gap_seconds(report: Report, found: Found) -> float | None:
    """Return how long jumps have to be, at least, to be made up for; None unless this track has a gap of that kind.

    Where one track pauses for ten seconds while the others go on, ffmpeg takes that for a jump of the clock, and back
    again at each packet of another track: what follows the gap comes too early.
    """
    ahead = [seconds for _, seconds in report.jumps if seconds >= JUMP_SECONDS]
    if len(ahead) < LEAST_TO_AND_FRO or report.furthest_seconds - found.end < min(ahead) / 2:
        return None
    back = [seconds for _, seconds in report.jumps if -seconds >= JUMP_SECONDS]
    return max(ahead) + 1.0 if len(back) >= LEAST_TO_AND_FRO else None


def check_written(wrote: Wrote | None, found: Found) -> None:
    """Raise where the file holds another number of packets than ffmpeg says that it wrote."""
    if wrote is not None and wrote.packets != found.packets:
        raise Failure("output_invalid", f"ffmpeg wrote {wrote.packets} packets, the file has {found.packets}")


def is_short(read: Read | None, indexed: int | None) -> bool:
    """Tell whether fewer packets were read than the index promises."""
    return read is not None and indexed is not None and read.packets < indexed


def cut(read: Read | None, indexed: int | None) -> str:
    """Return how a source is cut short, for an error."""
    if read is not None and indexed is not None:
        return f"{read.packets} of {indexed} packets could be read"
    return "the file ends in the middle"


def readable(seconds: float, declared: float | None) -> str:
    """Return how much of a source could be read, for an error."""
    if declared is None:
        return f"readable: {seconds:.1f} s"
    return f"readable: {min(seconds, declared):.1f} of {declared:.1f} s"


def declared(media: Media) -> float | None:
    """Return the length that the container declares, where that can be trusted."""
    return media.duration_seconds if media.is_duration_trusted else None


def promised(media: Media) -> float | None:
    """Return the declared length where nothing but that shows a file to be cut short."""
    return None if media.container in SELF_CHECKING_FORMATS or media.is_all_there else declared(media)


def declared_end(
    media: Media, indexed: int | None, start: float | None, duration: float | None
) -> float | None:
    """Where a track ends on the output's clock, if its container says so for the track itself."""
    if duration is None or not media.is_duration_trusted:
        return None
    return (start or 0.0) - media.start_seconds + duration
