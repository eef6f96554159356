"""Measures a file that was made here: every packet of it, and its keyframes decoded."""

import heapq
import math
from fractions import Fraction
from typing import Any

import av.error

# Pictures nearer than this share a time: where clocks count milliseconds, muxers put them one apart.
CROWDED_SECONDS = 0.0015
MOST_REORDERED = 16  # pictures that a packet may be before its turn, in any codec
PACKETS_PER_DOT = 2000  # a sign of life about every half minute of sound and picture


class Track:
    """What is measured of one track. Times are whole numbers of the track's unit: there are many packets."""

    def __init__(self, stream: Any) -> None:
        self.is_video = stream.type == "video"
        self.counts = {"packets": 0, "keyframes": 0, "corrupt": 0, "pictures": 0, "crowded": 0}
        self.sizes: list[tuple[int, int]] = []
        self._kind = stream.type
        self._unit: Fraction = stream.time_base
        self._first_decode: int | None = None
        self._first: int | None = None
        self._last = self._end = 0
        self._keys: list[int] = []
        self._due: list[int] = []  # when the last pictures are shown; a heap
        self._crowded = math.ceil(CROWDED_SECONDS / self._unit)

    def note(self, packet: Any, *, is_keyframe: bool) -> None:
        """Count a packet and take its times."""
        self.counts["packets"] += 1
        shown, decoded = packet.pts, packet.dts
        if self._first_decode is None:
            self._first_decode = decoded
        if shown is None:
            shown = decoded
        if shown is None:
            return
        if is_keyframe and self.is_video:
            # Not when it is shown: libavformat moves that by what each file's own B-frames need.
            self._keys.append(shown if decoded is None else decoded)
        if self._first is None or shown >= self._last:
            # Durations lie between times of decoding: of one before a gap, what comes after may be shown first.
            self._last, self._end = shown, shown + (packet.duration or 0)
        self._first = shown if self._first is None else min(self._first, shown)

    def note_crowd(self, shown: int | None) -> None:
        """Count the pictures that share their time with the one shown before."""
        if shown is None:
            return
        heapq.heappush(self._due, shown)
        if len(self._due) > MOST_REORDERED:
            first = heapq.heappop(self._due)
            self.counts["crowded"] += self._due[0] - first < self._crowded

    def note_picture(self, size: tuple[int, int] | None) -> None:
        """Count a picture that was decoded, if it was."""
        if size is not None:
            self.counts["pictures"] += 1
            if size not in self.sizes:
                self.sizes.append(size)

    def answer(self) -> dict[str, Any]:
        """Return what was measured, with times in seconds; None where no packet has any."""
        is_timed = self._first is not None
        times: dict[str, int | None] = {"first": self._first, "first_decode": self._first_decode}
        times |= {"last": self._last if is_timed else None, "end": self._end if is_timed else None}
        return {
            "type": self._kind,
            **self.counts,
            "key_times": [round(float(time * self._unit), 6) for time in self._keys],
            "sizes": self.sizes,
            **{name: seconds(time, self._unit) for name, time in times.items()},
        }


def scan(container: Any, how: str) -> dict[str, Any]:
    """Read every packet, and decode the "keyframes" of the video tracks, or with "start" the first one only."""
    for stream in container.streams.video:
        stream.thread_type = "NONE"  # threads hold pictures back, and cost memory
        # Whether a picture can be decoded does not depend on it, and nobody looks at these: an eighth of the time.
        stream.codec_context.options = {"skip_loop_filter": "all"}
    found: dict[int, Track] = {}
    is_copy = how == "keyframes"  # whose bytes and times are another's
    for number, packet in enumerate(container.demux(), start=1):
        if number % PACKETS_PER_DOT == 0:
            print(".", flush=True)
        if packet.size == 0:
            continue  # the flush packets that PyAV adds at the end of each track
        index = packet.stream_index
        track = found.get(index)
        if track is None:
            track = found[index] = Track(packet.stream)
        is_keyframe = packet.is_keyframe
        counts = track.counts
        counts["keyframes"] += is_keyframe
        counts["corrupt"] += packet.is_corrupt or (is_copy and _is_malformed(packet))
        track.note(packet, is_keyframe=is_keyframe)
        if is_copy and track.is_video:
            track.note_crowd(packet.pts)
        if track.is_video and is_keyframe and (is_copy or (how == "start" and counts["keyframes"] == 1)):
            track.note_picture(_decoded_alone(packet))
    return {str(index): track.answer() for index, track in found.items()}


def _is_malformed(packet: Any) -> bool:
    """Tell whether the units of an H.264 packet do not fill it, as when a part of it was written over.

    Each comes after its length (ISO/IEC 14496-15). Damage within a unit shows only when it is decoded.
    """
    head = packet.stream.codec_context.extradata or b""
    if packet.stream.codec_context.name != "h264" or len(head) < 5 or head[0] != 1:
        return False
    width = (head[4] & 3) + 1
    data, place = memoryview(packet), 0
    while place + width < len(data):
        size = int.from_bytes(data[place : place + width])
        if size == 0:
            return True
        place += width + size
    return place != len(data)


def _decoded_alone(packet: Any) -> tuple[int, int] | None:
    """Return the size of a keyframe decoded with nothing before it, as after a seek; None where not all of it is."""
    codec = packet.stream.codec_context
    codec.flush_buffers()
    try:
        frame = next(iter(codec.decode(packet) or codec.decode(None)), None)
        # What is missing from a damaged one is made up for, and said to be so.
        return None if frame is None or frame.is_corrupt else (frame.width, frame.height)
    except av.error.FFmpegError:
        return None
    finally:
        codec.flush_buffers()


def seconds(value: int | None, unit: Fraction | None) -> float | None:
    """Return a time of libavformat's in seconds."""
    return None if value is None or unit is None else known_seconds(value, unit)


def known_seconds(value: int, unit: Fraction) -> float:
    """Return a time in seconds: as exact as the fraction, and ten times as fast."""
    return value * unit.numerator / unit.denominator
