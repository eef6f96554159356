"""Measures a file that was made here: every packet of it, and its keyframes decoded."""

import heapq
from fractions import Fraction
from typing import Any

import av.error

# Pictures nearer than this share a time: where clocks count milliseconds, muxers put them one apart.
CROWDED_SECONDS = 0.0015
MOST_REORDERED = 16  # pictures that a packet may be before its turn, in any codec
PACKETS_PER_DOT = 2000  # a sign of life about every half minute of sound and picture


def scan(container: Any, how: str) -> dict[str, Any]:
    """Read every packet, and decode the "keyframes" of the video tracks, or with "start" the first one only."""
    found: dict[int, dict[str, Any]] = {}
    due: dict[int, list[float]] = {}  # when the last pictures are shown, of each video track; a heap
    for stream in container.streams.video:
        stream.thread_type = "NONE"  # threads hold pictures back, and cost memory
        # Whether a picture can be decoded does not depend on it, and nobody looks at these: an eighth of the time.
        stream.codec_context.options = {"skip_loop_filter": "all"}
    for number, packet in enumerate(container.demux(), start=1):
        if number % PACKETS_PER_DOT == 0:
            print(".", flush=True)
        if packet.size == 0:
            continue  # the flush packets that PyAV adds at the end of each track
        track = found.setdefault(packet.stream.index, _empty_track(packet.stream.type))
        track["packets"] += 1
        track["keyframes"] += packet.is_keyframe
        track["corrupt"] += packet.is_corrupt or (how == "keyframes" and _is_malformed(packet))
        _note_times(track, packet)
        if how == "keyframes" and packet.stream.type == "video":  # a copy, whose times are another's
            _note_crowd(track, packet, due.setdefault(packet.stream.index, []))
        is_wanted = how == "keyframes" or (how == "start" and track["keyframes"] == 1)
        if is_wanted and packet.stream.type == "video" and packet.is_keyframe:
            size = _decoded_alone(packet)
            track["pictures"] += size is not None
            if size is not None and size not in track["sizes"]:
                track["sizes"].append(size)
    return {str(index): track for index, track in found.items()}


def _empty_track(kind: str) -> dict[str, Any]:
    counts = {"packets": 0, "keyframes": 0, "corrupt": 0, "pictures": 0, "crowded": 0}
    times = dict.fromkeys(("first", "first_decode", "last", "end"))
    return {"type": kind, **counts, "key_times": [], "sizes": [], **times}


def _note_times(track: dict[str, Any], packet: Any) -> None:
    if track["first_decode"] is None:
        track["first_decode"] = seconds(packet.dts, packet.time_base)
    shown = seconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
    if shown is None:
        return
    if packet.is_keyframe and packet.stream.type == "video":
        # Not when it is shown: libavformat moves that by what each file's own B-frames need.
        decoded = seconds(packet.dts, packet.time_base)
        track["key_times"].append(round(shown if decoded is None else decoded, 6))
    end = shown + float((packet.duration or 0) * packet.time_base)
    track["first"] = shown if track["first"] is None else min(track["first"], shown)
    track["last"] = shown if track["last"] is None else max(track["last"], shown)
    track["end"] = end if track["end"] is None else max(track["end"], end)


def _note_crowd(track: dict[str, Any], packet: Any, due: list[float]) -> None:
    """Count the pictures that share their time with the one shown before."""
    shown = seconds(packet.pts, packet.time_base)
    if shown is None:
        return
    heapq.heappush(due, shown)
    if len(due) > MOST_REORDERED:
        first = heapq.heappop(due)
        track["crowded"] += due[0] - first < CROWDED_SECONDS


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
    return None if value is None or unit is None else float(value * unit)
