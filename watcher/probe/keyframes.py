"""Where a track may be cut: the keyframes that the index of an MP4, MOV or Matroska file tells of."""

import array
import bisect
import contextlib
import http.client
import itertools
import operator
import sys
import urllib.parse
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
from measure import known_seconds

# The least seconds between two keyframes that are told, until so many seconds of the video.
KEYFRAME_DISTANCES = ((60.0, 1.0), (600.0, 5.0), (float("inf"), 15.0))
MAX_INDEX_BYTES = 128 * 1024 * 1024  # ten hours of 60 fps have 50 MB
MAX_BOXES = 1000  # at the top level of a file: tens are usual, of one that is not fragmented


def places(container: Any, stream: Any, target: str) -> dict[str, Any] | None:
    """Tell where a track may be cut: `places` (seconds, frames shown before), and the longest `gap` between.

    `span`: how many frames are shown, and the seconds from the first to the last. `frame_gap`: how long one of them
    is shown at most. Both are None where that is not known.
    """
    times: list[int] | None = None
    if shown := _shown(stream, target) if container.format.name.startswith("mov") else None:
        times, keys = map(sorted, shown)
        # The last one may be shown for much longer than the others, and its segment lasts as long.
        last = max(times[-1], (stream.start_time or 0) + (stream.duration or 0))
    elif container.format.name.startswith("matroska") and container.duration:
        with contextlib.suppress(av.error.FFmpegError):  # only now is the index read, of keyframes alone
            container.seek(0)
        keys = sorted(one.timestamp for one in stream.index_entries if one.is_keyframe)
        last = round(container.duration / av.time_base / stream.time_base)
    else:
        return None
    if len(keys) < (3 if times is None else 1):  # without its index, Matroska knows what it has read
        return None
    unit = stream.time_base
    kept = _thinned(keys, unit)
    counts = [None if times is None else bisect.bisect_left(times, time) for time in kept]
    places = [round(known_seconds(time, unit), 6) for time in kept]
    return {
        "places": list(zip(places, counts, strict=True)),
        "gap": known_seconds(_gap(keys, last), unit),
        "span": None if times is None else (len(times), known_seconds(times[-1] - times[0], unit)),
        "frame_gap": None if times is None else known_seconds(_gap(times, last), unit),
    }


def _gap(times: list[int], end: int) -> int:
    """Return the longest time from one to the next, or to the end."""
    longest: int = max(map(operator.sub, [*times[1:], end], times))
    return longest


def _shown(stream: Any, target: str) -> tuple[list[int], list[int]] | None:
    """Tell when the frames of an MP4 are shown, and when its keyframes; None without a complete index, or any frame.

    Hours have hundreds of thousands of frames: columns of them are looked at, not each.
    """
    entries = list(stream.index_entries)
    # An edit list that hides frames has made libavformat reorder its index.
    if not stream.frames or not entries or any([one.is_discard for one in entries]):  # noqa: C419 - twice as fast
        return None
    if (shifts := _display_shifts(target, stream.id, len(entries))) is None:
        return None
    times = list(map(operator.add, [one.timestamp for one in entries], shifts))
    # What libavformat itself shows first, whatever the edit list and its own conventions make of the times.
    correction = (stream.start_time or 0) - min(times)
    times = [time + correction for time in times]
    shown = list(itertools.compress(times, [one.size for one in entries]))
    keys = list(itertools.compress(times, [one.is_keyframe and one.size for one in entries]))
    return (shown, keys) if shown else None


def _thinned(keys: list[int], unit: Fraction) -> list[int]:
    """Keep enough to cut at, and few enough to store: fewer as the film goes on and chunks are long."""
    kept = keys[:1]
    for time in keys[1:]:
        seconds, distance = known_seconds(time - keys[0], unit), known_seconds(time - kept[-1], unit)
        if distance >= next(least for until, least in KEYFRAME_DISTANCES if seconds < until):
            kept.append(time)
    return kept


def _display_shifts(target: str, track_id: int, count: int) -> list[int] | None:
    """Read how much later than decoded each frame of an MP4 is shown; None where its boxes do not say it."""
    for track in boxes(_box(target, b"moov") or b"", b"trak"):
        header = next(boxes(track, b"tkhd"), b"")
        place = 20 if header.startswith(b"\x01") else 12
        if int.from_bytes(header[place : place + 4], "big") != track_id:
            continue
        table: bytes | None = track
        for name in (b"mdia", b"minf", b"stbl"):
            table = next(boxes(table or b"", name), None)
        box = next(boxes(table or b"", b"ctts"), None)
        if box is None:
            return [0] * count if table else None
        # No list: of runs that are empty it would take gigabytes.
        numbers = array.array("i", box[8 : len(box) // 8 * 8])
        if sys.byteorder == "little":
            numbers.byteswap()
        runs, shifts = numbers[::2], numbers[1::2]
        if min(runs, default=0) < 0 or sum(runs) != count:  # whatever a run claims
            return None
        return list(itertools.chain.from_iterable(map(itertools.repeat, shifts, runs)))
    return None


def boxes(data: bytes, name: bytes) -> Iterator[bytes]:
    """Give the content of each box of that name which `data` consists of."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:
            return
        if data[place + 4 : place + 8] == name:
            yield data[place + 8 : place + size]
        place += size


def _box(target: str, name: bytes) -> bytes | None:
    """Return the content of the first box of that name in a file."""
    place = 0
    for _ in range(MAX_BOXES):
        found, start, end = box_at(target, place)
        if end < start or (found == name and end - start > MAX_INDEX_BYTES):
            return None
        if found == name:
            return read(target, start, end - start)
        place = end
    return None


def box_at(target: str, place: int) -> tuple[bytes, int, int]:
    """Return the name of the box at a place of a file, and where its content begins and ends.

    Where there is none, it ends before it begins.
    """
    header = read(target, place, 16)
    size, start = int.from_bytes(header[:4], "big"), 8
    if size == 1:
        size, start = int.from_bytes(header[8:16], "big"), 16
    return header[4:8], place + start, place + size


def read(target: str, start: int, count: int) -> bytes:
    """Read a part of a file, or of what the loopback server gives out."""
    if not target.startswith("http:"):
        with open(target, "rb") as file:  # noqa: PTH123 - pathlib takes as long to import as all the rest
            file.seek(start)
            return file.read(count)
    address = urllib.parse.urlsplit(target)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
    with contextlib.closing(connection):
        connection.request("GET", address.path, headers={"Range": f"bytes={start}-{start + count - 1}"})
        response = connection.getresponse()
        return response.read(count) if response.status == 206 else b""
