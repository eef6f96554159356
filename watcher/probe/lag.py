"""How much later than the file says libavformat shows the pictures of a fragmented MP4."""

import struct
from typing import Any

import keyframes

# Enough to meet the least offset of a track, which tells how far pictures are put in another order; where every
# picture is a fragment of its own, some of these boxes are needed for each.
SAMPLES, MOST_BOXES = 32, 100
# What follows in a box, by its flags (ISO/IEC 14496-12): before the samples, and in each of them up to the offset.
_HEAD_FLAGS, _SAMPLE_FLAGS, _HAS_OFFSET = (0x1, 0x4), (0x100, 0x200, 0x400), 0x800


def seconds(container: Any, stream: Any, target: str) -> float:
    """Return by how much the times of a track's pictures are to be lowered; 0 for other files.

    A picture may be shown before its time of decoding. libavformat then shows all of a track later, by as much as
    that is at most (`dts_shift` in mov.c); with an index it takes that back, with fragments it does not.
    """
    if not container.format.name.startswith("mov") or stream.frames:
        return 0.0
    least, count, place = 0, 0, 0
    for _ in range(MOST_BOXES):
        name, start, end = keyframes.box_at(target, place)
        if end < start or count >= SAMPLES:
            break
        if name == b"moof" and end - start <= keyframes.MAX_INDEX_BYTES:
            offsets = _offsets(keyframes.read(target, start, end - start), stream.id)
            least, count = min([least, *offsets]), count + len(offsets)
        place = end
    return float(-least * stream.time_base)


def _offsets(fragment: bytes, track_id: int) -> list[int]:
    """Read how much later than decoded each picture of a track in a fragment is shown, in its unit."""
    found: list[int] = []
    for part in keyframes.boxes(fragment, b"traf"):
        header = next(keyframes.boxes(part, b"tfhd"), b"")
        if int.from_bytes(header[4:8]) != track_id:
            continue
        for run in keyframes.boxes(part, b"trun"):
            flags = int.from_bytes(run[1:4])
            first = 8 + sum(4 for flag in _HEAD_FLAGS if flags & flag)
            before = sum(4 for flag in _SAMPLE_FLAGS if flags & flag)
            length = before + (4 if flags & _HAS_OFFSET else 0)
            for number in range(int.from_bytes(run[4:8]) if length else 0):
                place = first + number * length
                if place + length > len(run):  # whatever it claims
                    break
                found.append(struct.unpack_from(">i", run, place + before)[0] if flags & _HAS_OFFSET else 0)
    return found
