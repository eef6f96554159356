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
    names = ("packets", "keyframes", "pictures", "corrupt", "first", "first_decode", "last", "end")
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
