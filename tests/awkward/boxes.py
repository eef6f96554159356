"""Boxes that no muxer writes here, put into MP4 files by hand."""

import struct
from pathlib import Path

AROUND = (("moov", 8), ("trak", 8), ("mdia", 8), ("minf", 8), ("stbl", 8), ("stsd", 16))
ENTRIES = (b"avc1", b"hvc1")


def inserted(source: Path, path: Path, box: bytes) -> Path:
    """Write `source`, whose index lies behind its media, with a box at the end of its first track's entry."""
    data = bytearray(source.read_bytes())
    place = data.index(b"moov") - 4
    for name, head in AROUND:
        while data[place + 4 : place + 8] != name.encode():
            place += int.from_bytes(data[place : place + 4])
        _lengthen(data, place, len(box))
        place += head
    assert data[place + 4 : place + 8] in ENTRIES
    end = place + int.from_bytes(data[place : place + 4])
    _lengthen(data, place, len(box))
    data[end:end] = box
    path.write_bytes(data)
    return path


def clean_aperture(width: int, height: int, right: int, down: int) -> bytes:
    """Return the box that tells what is shown of a picture, its middle moved by so much from the picture's own."""
    return struct.pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, right, 1, down, 1)


def _lengthen(data: bytearray, place: int, size: int) -> None:
    data[place : place + 4] = (int.from_bytes(data[place : place + 4]) + size).to_bytes(4)
