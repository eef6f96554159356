"""What ffmpeg says while it runs, and what it means: progress, totals, and signs of trouble.

Knows nothing of processes. The words are ffmpeg's own; what a source says of itself, in tags, is never taken for them.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from watcher.beat import Beat

HEAD_LINES, TAIL_LINES = 20, 40  # kept of what ffmpeg says: how it began, and how it ended
SHOWN_LINES = 6  # in an error message
MOST_JUMPS = 1000  # that are remembered, of a file that has nothing else

_URL_PATH = re.compile(r"(https?://[^/\s'\"]+)/[^\s'\"]*")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_CONTEXT_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
# As in "[dec:h264] [error] text"; the part of ffmpeg that speaks comes first.
_LEVEL = re.compile(r"(?:\[[^\]]*\] )*?\[(?P<level>verbose|info|warning|error|fatal|panic)\] (?P<text>.*)")
_READ = re.compile(
    r"Input stream #(\d+):(\d+) \(\w+\): (\d+) packets read \((\d+) bytes\).*?;"
    r"(?: (\d+) frames decoded)?(?:; (\d+) decode errors)?"
)
_WROTE = re.compile(r"Output stream #(\d+):(\d+) \(\w+\): (?:(\d+) frames encoded.*?; )?(\d+) packets muxed")
# How ffmpeg says that a source ends too early, by the demuxers that notice.
_CUT = re.compile(
    r"File ended prematurely|partial file|LZW decode failed|Error during demuxing: Invalid data"
)
_CORRUPT_PACKET = re.compile(r"corrupt input packet in stream (\d+)|invalid as first byte of an EBML number")
# Recordings put one after the other: the demuxer cannot tell that the last packet of a track before the join is
# whole, and takes it for cut. The clock jumps there, where packets that were lost leave it alone.
_JOIN = re.compile(r"timestamp discontinuity(?: \(stream id=(\d+)\): (-?\d+))?")
_FOLLOWED = re.compile(r"failed to create or replace stream")  # by another recording, in Ogg
# What `command.clock` has it say, in milliseconds. Other threads may have begun the line, or a part of it.
_BACK = re.compile(r"425(\d{10})\.\d{6}")
_SIGNALLED = re.compile(r"Exiting normally, received signal (\d+)")
_CORRUPT_FRAME = re.compile(r"corrupt decoded frame")
# Bytes that did not arrive: the source is not to blame, although ffmpeg takes it for the end of the file.
_NOT_READ = re.compile(
    r"Stream ends prematurely|HTTP error|Server returned [45]|Connection (?:refused|reset|timed out)"
    r"|Error during demuxing: (?:Input/output|Connection|Immediate exit)"
)
# What the filter `ebur128` says at its end, in several calls: this line, then several without a level, of which the
# last has no end. What other threads say meanwhile comes in between, or goes on in that line; then its next call
# begins as the first did, but with nothing after the level. A source's tags, which stand at the beginning, are
# indented and have a colon before their text.
_LOUDNESS_FOLLOWS = re.compile(r"\[Parsed_ebur128_\d+\] \[info\]( Summary:)?")
_LOUDNESS = re.compile(r"(I|Peak): +(-?[\d.]+|-?inf) (?:LUFS|dBFS)")
SILENT_LUFS = -70.0  # where the measure ends: what is not louder counts as silence
NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True)
class Read:
    """What ffmpeg says that it read of one input stream; None where it did not decode or cannot say."""

    packets: int
    frames: int | None
    errors: int | None
    size_bytes: int = 0


@dataclass(frozen=True)
class Wrote:
    """What ffmpeg says that it wrote of one output stream; `frames` is None when it was copied."""

    packets: int
    frames: int | None


@dataclass(frozen=True)
class Loudness:
    """How loud sound is as a whole, by EBU R 128; None for silence."""

    lufs: float | None  # integrated
    peak_dbfs: float | None  # true peak: between the samples too; of sound that is copied, nobody asks


@dataclass(frozen=True)
class Report:
    """How a run of ffmpeg went that ended with exit code 0, which proves nothing."""

    seconds: float
    read: dict[tuple[int, int], Read]  # by input and stream
    wrote: dict[tuple[int, int], Wrote]  # by output and stream
    dropped: int  # frames that had the time of another one, or an earlier one
    duplicated: int
    corrupt_packets: Mapping[int | None, int]  # by stream of the input; None where it is not said which
    corrupt_frames: int
    is_cut: bool  # the demuxer met the end of the file too early
    is_unread: bool  # bytes did not arrive
    text: str  # the last lines that ffmpeg said
    loudness: Loudness | None = None  # where it was measured
    back_seconds: float = 0.0  # the most that the clock of what was read went back by
    is_followed: bool = False  # by another recording, that cannot be read
    jumps: tuple[tuple[int, float], ...] = ()  # of the clock that ffmpeg made up for: stream, and seconds on
    furthest_seconds: float = 0.0  # where the track ended that went on longest, of all that was read

    def corrupt_packets_of(self, stream: int) -> int:
        """Return how many packets of a stream are corrupt, with those that may be of it."""
        return self.corrupt_packets.get(stream, 0) + self.corrupt_packets.get(None, 0)


class Listener:
    """Understands what ffmpeg says while it runs; keeps little of it, however much that is."""

    def __init__(
        self, beat: Beat, duration: timedelta | None, on_progress: Callable[[], None] | None
    ) -> None:
        self.has_no_space = False
        self.signal: int | None = None  # that it says made it end; to be believed of one that failed
        self._on_progress = on_progress
        self._beat = beat
        self._duration = duration
        self._furthest = -1
        self._counts = {"drop_frames": 0, "dup_frames": 0}
        self._read: dict[tuple[int, int], Read] = {}
        self._wrote: dict[tuple[int, int], Wrote] = {}
        self._corrupt_packets: Counter[int | None] = Counter()
        self._corrupt_frames = 0
        self._back_seconds = 0.0
        self._jumps: list[tuple[int, float]] = []
        self._before_join: set[int | None] = set()  # streams with a corrupt packet since the last join
        self._is_cut = False
        self._is_unread = False
        self._is_followed = False
        self._loudness: dict[str, float] | None = None
        self._is_about_loudness = False
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._other: deque[str] = deque(
            maxlen=TAIL_LINES
        )  # a loader's or an interpreter's, when all else fails

    @property
    def made(self) -> timedelta:
        """How much was made so far, in the time that it plays."""
        return timedelta(microseconds=max(0, self._furthest))

    def progress(self, line: str) -> None:
        """Take a line of `-progress`."""
        key, _, value = line.partition("=")
        if key in self._counts and value.isdigit():
            self._counts[key] = int(value)
        if key == "progress" and self._on_progress is not None:  # the last line of each report
            self._on_progress()
        if key != "out_time_us" or not value.lstrip("-").isdigit():
            return
        now = int(value)  # microseconds of output
        if now > self._furthest:  # else it lives, but does not advance
            self._furthest = now
            seconds = self._duration.total_seconds() if self._duration else 0
            self._beat.advance(now / 1e6 / seconds if seconds > 0 else None)

    def message(self, line: str) -> None:
        """Take a line of the log, as `-loglevel level+verbose` makes it."""
        line = clean(line)
        if found := _BACK.search(line):
            self._back_seconds = max(self._back_seconds, int(found[1]) / 1000)
        if follows := _LOUDNESS_FOLLOWS.fullmatch(line):
            self._is_about_loudness = True
            if follows[1]:
                self._loudness = {}
            return
        # What the source says of itself, in tags of any wording, comes at "info", or goes on without a level.
        leveled = _LEVEL.match(line)
        if leveled is None:
            if self._is_about_loudness and self._loudness is not None:
                if found := _LOUDNESS.match(line):
                    self._loudness[found[1]] = float(found[2])
                return
            self._other.append(line)
            return
        self._is_about_loudness = False
        if leveled["level"] == "info":
            if found := _SIGNALLED.match(leveled["text"]):
                self.signal = int(found[1])
            return
        if leveled["level"] == "verbose":
            self._total(leveled["text"].strip())
            return
        self._join(line)
        self._corrupt_frames += bool(_CORRUPT_FRAME.search(line))
        self._is_cut |= bool(_CUT.search(line))
        self._is_followed |= bool(_FOLLOWED.search(line))
        self._is_unread |= bool(_NOT_READ.search(line))
        self.has_no_space |= bool(NO_SPACE.search(line))
        if len(self._head) < HEAD_LINES:
            self._head.append(line)
        else:
            self._tail.append(line)

    def _join(self, line: str) -> None:
        if found := _CORRUPT_PACKET.search(line):
            stream = _count(found[1])
            self._corrupt_packets[stream] += 1
            self._before_join.add(stream)
        elif found := _JOIN.search(line):
            self._corrupt_packets.subtract(self._before_join)
            self._before_join.clear()
            if found[1] and len(self._jumps) < MOST_JUMPS:
                self._jumps.append((int(found[1]), int(found[2]) / 1e6))

    def _total(self, text: str) -> None:
        if found := _READ.match(text):
            number, stream, packets, size, frames, errors = found.groups()
            read = Read(int(packets), _count(frames), _count(errors), int(size))
            self._read[int(number), int(stream)] = read
        elif found := _WROTE.match(text):
            number, stream, frames, packets = found.groups()
            self._wrote[int(number), int(stream)] = Wrote(int(packets), _count(frames))

    def lines(self) -> list[str]:
        """Return the first and the last lines that were warnings or errors."""
        return [*self._head, *self._tail]

    def text(self) -> str:
        """Return the last words, for an error message."""
        return last(self.lines() or self._other)

    def report(self, seconds: float) -> Report:
        """Return what was understood of a run that took `seconds`."""
        return Report(
            seconds=seconds,
            read=self._read,
            wrote=self._wrote,
            dropped=self._counts["drop_frames"],
            duplicated=self._counts["dup_frames"],
            corrupt_packets=dict(self._corrupt_packets),
            corrupt_frames=self._corrupt_frames,
            is_cut=self._is_cut,
            is_unread=self._is_unread,
            is_followed=self._is_followed,
            text=self.text(),
            loudness=_loudness(self._loudness),
            back_seconds=self._back_seconds,
            jumps=tuple(self._jumps),
            furthest_seconds=self.made.total_seconds(),
        )


def _loudness(said: dict[str, float] | None) -> Loudness | None:
    if said is None or "I" not in said:
        return None
    is_silent, peak = said["I"] <= SILENT_LUFS, said.get("Peak")
    return Loudness(
        None if is_silent else said["I"], peak if peak is not None and math.isfinite(peak) else None
    )


def _count(text: str | None) -> int | None:
    return None if text is None else int(text)


def last(lines: Sequence[str] | deque[str]) -> str:
    """Return the last lines for an error message."""
    # Warnings are about our own output as often as not.
    said = [line for line in lines if "[warning]" not in line] or list(lines)
    return "\n".join(said[-SHOWN_LINES:]) or "it said nothing"


def clean(text: str) -> str:
    """Make foreign text safe to show: no terminal codes, no secret part of a URL, no memory addresses."""
    return _CONTEXT_ADDRESS.sub("", _URL_PATH.sub(r"\1/...", _CONTROL.sub("?", text)))
