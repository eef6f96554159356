"""How much a file should hold by its own account, and how much of that is there."""

import itertools
import operator
import struct
from fractions import Fraction
from typing import Any

import keyframes

ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_HEAD_BYTES = 65_536  # within which the properties lie
MOST_BOXES = 100  # at the top level of an MP4: less than ten are usual
AVI_HEADER_BYTES = 52  # up to the number of frames (avih.dwTotalFrames)


def indexed(stream: Any, size_bytes: int | None) -> dict[str, Any] | None:
    """What the index of a track says; only MP4 and MOV have one that is complete before anything is read.

    `readable` is the same of those packets that come before the first that a file of `size_bytes` does not hold.
    """
    if not stream.container.format.name.startswith("mov") or not stream.frames:
        return None  # no `frames`: it is fragmented, and the index holds only the fragments seen so far
    every = list(stream.index_entries)
    if not every:
        return None
    # Hours have hundreds of thousands of entries: columns of them are looked at, not each.
    ends = list(map(operator.add, [one.pos for one in every], [one.size for one in every]))
    whole = _counted(every, ends, stream.time_base)
    if not size_bytes or whole["last_byte"] <= size_bytes:
        return {**whole, "readable": whole}
    there = next(number for number, end in enumerate(ends) if end > size_bytes)
    return {**whole, "readable": _counted(every[:there], ends[:there], stream.time_base)}


def declared(container: Any, target: str) -> dict[str, Any] | None:
    """Return the `bytes` and `seconds` that the header of an AVI counts; None for other files.

    libavformat goes by what is there: a cut AVI looks like a shorter one.
    """
    if container.format.name != "avi":
        return None
    header = keyframes.read(target, 0, AVI_HEADER_BYTES)
    if len(header) < AVI_HEADER_BYTES or header[:4] != b"RIFF" or header[24:28] != b"avih":
        return None
    (size,), (microseconds,), (frames,) = (struct.unpack_from("<I", header, place) for place in (4, 32, 48))
    return {"bytes": size + 8, "seconds": microseconds * frames / 1e6 or None}


def is_followed(container: Any, streams: list[dict[str, Any]], target: str) -> bool:
    """Tell whether another file of its kind begins where one ends by its own account: nobody plays that.

    Demuxers of other kinds, and of fragmented MP4, read on: their clock tells.
    """
    name = container.format.name.split(",")[0]
    if name == "mov":
        return any(one["indexed"] for one in streams) and _has_second_beginning(target)
    head = keyframes.read(target, 0, {"asf": ASF_HEAD_BYTES, "swf": 8}.get(name, 0))
    end = 0
    if name == "asf" and (place := head.find(ASF_PROPERTIES)) >= 0:
        end = int.from_bytes(head[place + 40 : place + 48], "little")
    if name == "swf":
        end = int.from_bytes(head[4:8], "little")
    return end > len(head) and keyframes.read(target, end, 3) == head[:3]


def _has_second_beginning(target: str) -> bool:
    place, beginnings = 0, 0
    for _ in range(MOST_BOXES):
        header = keyframes.read(target, place, 16)
        size = int.from_bytes(header[:4])
        beginnings += header[4:8] == b"ftyp"
        if size == 1:
            size = int.from_bytes(header[8:16])
        if size < 8 or beginnings > 1:
            break
        place += size
    return beginnings > 1


def _counted(entries: list[Any], ends: list[int], unit: Fraction) -> dict[str, Any]:
    # Discarded ones only help to decode what follows: an edit list begins later.
    times = [one.timestamp for one in entries if not one.is_discard]
    return {
        "count": len(entries),
        "shown": len(times),
        "last_byte": max(ends, default=0),
        "span_seconds": float(_span(entries, times) * unit) if times else 0.0,
    }


def _span(entries: list[Any], times: list[int]) -> Fraction:
    """Return how far the first and the last of the `times` that are shown lie apart."""
    first, last = min(times), max(times)
    if not any(first < one.timestamp < last for one in entries if one.is_discard):
        return Fraction(last - first)
    # In the order of decoding, which these times are of, hidden ones may lie between others.
    every = sorted(zip([one.timestamp for one in entries], [one.is_discard for one in entries], strict=True))
    starts = [start for start, _ in every]
    are_shown = [not is_hidden for _, is_hidden in every]
    lengths = list(itertools.compress(map(operator.sub, starts[1:], starts), are_shown))
    return Fraction(sum(lengths), max(1, len(lengths))) * (len(times) - 1)
