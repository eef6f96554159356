"""How much a file should hold by its own account, and how much of that is there."""

import struct
from fractions import Fraction
from typing import Any

import keyframes

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
    beyond = (number for number, one in enumerate(every) if size_bytes and one.pos + one.size > size_bytes)
    there = next(beyond, len(every))
    whole = _counted(every, stream.time_base)
    return {**whole, "readable": whole if there == len(every) else _counted(every[:there], stream.time_base)}


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


def _counted(entries: list[Any], unit: Fraction) -> dict[str, Any]:
    # Discarded ones only help to decode what follows: an edit list begins later.
    times = [one.timestamp for one in entries if not one.is_discard]
    return {
        "count": len(entries),
        "shown": len(times),
        "last_byte": max((one.pos + one.size for one in entries), default=0),
        "span_seconds": float((max(times) - min(times)) * unit) if times else 0.0,
    }
