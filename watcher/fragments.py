"""Where the pieces of a fragmented MP4 of ours lie: its head, and each fragment's bytes and times.

Pure: it reads boxes (ISO/IEC 14496-12) from a file it is given, never the media in them, and knows nothing of
playlists or of who made the file. Of the libraries on PyPI, PyAV tells packets but not the boxes around them,
pymp4 reads whole files into memory and is no longer kept up, and cs-iso14496 brings fifty packages along.
"""

import hashlib
import itertools
import operator
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

# A head is under 1 kB, a fragment of a minute at 60 fps under 60 kB; what claims more is no such file, and is
# not read into memory.
MAX_HEADER_BYTES = 4_000_000

_OPENINGS = ("ftyp", "free", "skip", "pdin", "uuid", "wide")  # what may stand before the `moov`
_TOP_LEVEL = (*_OPENINGS, "moov", "styp", "sidx", "ssix", "prft", "emsg", "moof", "mdat", "mfra", "meta")
# What holds boxes, and how many bytes of its own come first.
_CONTAINERS = {
    **dict.fromkeys(("moov", "trak", "mdia", "minf", "stbl", "mvex"), 0),
    **dict.fromkeys(("avc1", "avc3"), 78),
    "stsd": 8,
    "mp4a": 28,
}
_IDLE = ("free", "skip", "udta", "btrt")  # says nothing to a decoder: padding, tags, measured bit rates

_NOT_A_KEYFRAME = 0x0001_0000  # sample_is_non_sync_sample, in a sample's flags


@dataclass(frozen=True)
class Fragment:
    """A `moof` and its media, and what stands between it and the fragment before. Times as they are shown."""

    offset: int  # bytes from the start of the file; the first one's is where the head ends
    size: int  # bytes
    start_seconds: float  # of the picture or sound shown first; negative for priming
    duration_seconds: float


@dataclass(frozen=True)
class Layout:
    """A file as far as it is written. The fragments follow the head and each other without a gap."""

    init_size: int  # bytes of the head (`ftyp` and `moov`); 0 while it is not there in full
    codec: str  # as playlists name it: "avc1.64001f", "mp4a.40.2"; empty as long as there is no head
    fragments: tuple[Fragment, ...]
    is_whole: bool  # nothing is cut off at the end; a file that still grows may be whole for a moment


@dataclass(frozen=True)
class _Head:
    timescale: int  # ticks per second
    codec: str
    sample_duration: int  # ticks
    sample_flags: int
    shift: int  # ticks to add to a sample's time, as the edit list says: sound is delayed by its priming


@dataclass(frozen=True)
class _Span:
    """What is shown in one fragment, in ticks."""

    start: int
    end: int


def read(file: BinaryIO, *, end_seconds: float | None = None) -> Layout:
    """Return the layout of a fragmented MP4 with one track; ValueError says why it is none.

    A box that is not there in full is taken as still being written: the file may grow, and what was returned
    for an earlier state stays, but for the duration of the last fragment. A fragment lasts until the next one
    starts, holes included; the last one until `end_seconds`, where that is given and the file is whole, else
    until the sample shown last ends. MP4 does not say when that is: with a varying frame rate and B-frames it
    is taken from the sample stored last, which may be off by the difference of two frames' durations.
    """
    try:
        return _read(file, end_seconds)
    except struct.error as error:
        raise ValueError(f"a box that is shorter than what it has to hold: {error}") from error


def init_digest(init: bytes) -> str:
    """Return a digest of a file's head (its first `init_size` bytes): the same where a decoder sees the same."""
    digest = hashlib.sha256()
    for path, content in _leaves(memoryview(init), ""):
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def is_same_init(a: bytes, b: bytes) -> bool:
    """Tell whether fragments made for the head `a` play as well after the head `b`."""
    return init_digest(a) == init_digest(b)


def _read(file: BinaryIO, end_seconds: float | None) -> Layout:
    file_size = file.seek(0, 2)
    head: _Head | None = None
    span: _Span | None = None
    init_size = begins = end = 0
    found: list[tuple[int, int, _Span]] = []
    for kind, start, content, end in _top_level(file, file_size):
        if head is None:
            if kind == "moov":
                head = _head(_content(file, content, end))
                init_size = begins = end
            elif kind not in _OPENINGS:
                raise ValueError(f"not a fragmented MP4: its {kind} comes before a header (moov)")
        elif kind == "moov":
            raise ValueError(f"a second header (moov) at byte {start}")
        elif kind == "moof":
            if span is not None:
                raise ValueError(f"the fragment before byte {start} has no media (mdat)")
            span = _span(_content(file, content, end), head)
            if found and span.start <= found[-1][2].start:
                raise ValueError(f"the fragment at byte {start} starts no later than the one before it")
        elif kind == "mdat":
            if span is None:
                raise ValueError(f"the media (mdat) at byte {start} belongs to no fragment (moof)")
            found.append((begins, end - begins, span))
            begins, span = end, None
    is_whole = head is not None and span is None and end == file_size
    if head is None:
        return Layout(init_size=0, codec="", fragments=(), is_whole=False)
    fragments = _timed(found, head.timescale, end_seconds if is_whole else None)
    return Layout(init_size, head.codec, fragments, is_whole)


def _timed(
    found: list[tuple[int, int, _Span]], timescale: int, end_seconds: float | None
) -> tuple[Fragment, ...]:
    if not found:
        return ()
    starts = [span.start / timescale for _, _, span in found]
    last = found[-1][2].end / timescale if end_seconds is None else end_seconds
    if last <= starts[-1]:
        raise ValueError(f"the last fragment starts at {starts[-1]:.3f} s, and is to end at {last:.3f} s")
    ends = [*starts[1:], last]
    return tuple(
        Fragment(offset, size, start, end - start)
        for (offset, size, _), start, end in zip(found, starts, ends, strict=True)
    )


def _top_level(file: BinaryIO, file_size: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield the boxes that are there in full: kind, start, start of the content, end."""
    start = 0
    while start + 8 <= file_size:
        file.seek(start)
        prefix = file.read(16)
        size, header = struct.unpack_from(">I", prefix)[0], 8
        kind = prefix[4:8].decode("latin-1")
        if kind not in _TOP_LEVEL or (start == 0 and kind != "ftyp"):
            raise ValueError(f"not an MP4 of ours: {kind!r} at byte {start}")
        if size == 1:
            if len(prefix) < 16:
                return
            size, header = struct.unpack_from(">Q", prefix, 8)[0], 16
        if size < header:
            raise ValueError(f"the size of the {kind} at byte {start} is {size}, which is none")
        if kind in ("moov", "moof") and size > MAX_HEADER_BYTES:
            raise ValueError(f"the {kind} at byte {start} claims {size} bytes, more than any of ours has")
        if start + size > file_size:
            return
        yield kind, start, start + header, start + size
        start += size


def _content(file: BinaryIO, start: int, end: int) -> memoryview:
    file.seek(start)
    return memoryview(file.read(end - start))


def _head(moov: memoryview) -> _Head:
    tracks = [content for kind, content in _boxes(moov) if kind == "trak"]
    if len(tracks) != 1:
        raise ValueError(f"{len(tracks)} tracks, and exactly one is expected")
    defaults = _find(moov, "mvex", "trex")
    if defaults is None:
        raise ValueError("an MP4 that is not fragmented: its header has no mvex")
    clock = _needed(tracks[0], "mdia", "mdhd")
    timescale = _u32(clock, 20 if clock[0] else 12)
    if timescale == 0:
        raise ValueError("a track whose clock stands still (timescale 0)")
    entries = _needed(tracks[0], "mdia", "minf", "stbl", "stsd")
    movie_clock = _needed(moov, "mvhd")
    movie_timescale = _u32(movie_clock, 20 if movie_clock[0] else 12)
    shift = _shift(_find(tracks[0], "edts", "elst"), Fraction(timescale, max(1, movie_timescale)))
    return _Head(timescale, _codec(entries), _u32(defaults, 12), _u32(defaults, 20), shift)


def _shift(edits: memoryview | None, ticks_of_movie: Fraction) -> int:
    """Return how much later the media is shown than its own clock says, after empty edits and one real one."""
    if edits is None:
        return 0
    row = struct.Struct(">Qq4x" if _u32(edits, 0) >> 24 else ">Ii4x")
    delay = 0
    for number in range(min(_u32(edits, 4), len(edits) // row.size)):
        length, begins = row.unpack_from(edits, 8 + number * row.size)
        if begins >= 0:
            return round(delay * ticks_of_movie) - int(begins)
        delay += length
    return round(delay * ticks_of_movie)


def _codec(stsd: memoryview) -> str:
    kind, entry = next(_boxes(stsd[8:]), ("nothing", stsd[:0]))
    if kind in ("avc1", "avc3"):
        config = _needed(entry[_CONTAINERS[kind] :], "avcC")
        _, profile, constraints, level = struct.unpack_from(">4B", config)
        return f"{kind}.{profile:02x}{constraints:02x}{level:02x}"
    if kind == "mp4a":
        return _mp4a(_needed(entry[_CONTAINERS[kind] :], "esds")[4:])
    raise ValueError(f"a codec that is none of ours: {kind!r}")


def _mp4a(descriptors: memoryview) -> str:
    """Return the codec that an `esds` names (ISO/IEC 14496-1, ES_Descriptor)."""
    stream = _descriptor(descriptors, 3)
    flags = struct.unpack_from(">2xB", stream)[0]
    own = 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        own += 1 + struct.unpack_from("B", stream, own)[0]
    config = _descriptor(stream[own:], 4)
    (object_type,) = struct.unpack_from("B", config)
    if object_type != 0x40:
        return f"mp4a.{object_type:02x}"
    (bits,) = struct.unpack_from(">H", _descriptor(config[13:], 5))
    coding = bits >> 11
    return f"mp4a.40.{coding if coding != 31 else 32 + (bits >> 5 & 0x3F)}"


def _descriptor(data: memoryview, tag: int) -> memoryview:
    found, at, length = data[0] if data else None, 1, 0
    if found != tag:
        raise ValueError(f"a codec description (esds) with {found} where {tag} is due")
    for _ in range(4):  # seven bits a byte, the highest one says that more follow
        (byte,) = struct.unpack_from("B", data, at)
        length, at = length << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            break
    return data[at : at + length]


def _span(moof: memoryview, head: _Head) -> _Span:
    tracks = [content for kind, content in _boxes(moof) if kind == "traf"]
    if len(tracks) != 1:
        raise ValueError(f"a fragment of {len(tracks)} tracks, and exactly one is expected")
    duration, flags = _defaults(_needed(tracks[0], "tfhd"), head)
    decoded = _needed(tracks[0], "tfdt")
    # Signed, whatever the standard says: ffmpeg writes a copy's negative times so.
    clock: int = struct.unpack_from(">q", decoded, 4)[0] if decoded[0] else _u32(decoded, 4)
    clock += head.shift
    times: list[int] = []
    stored = 0
    for kind, run in _boxes(tracks[0]):
        if kind != "trun":
            continue
        if not times and _first_flags(run, flags) & _NOT_A_KEYFRAME:
            raise ValueError(f"the fragment at {clock / head.timescale:.3f} s does not begin with a keyframe")
        durations, shifts = _samples(run, duration)
        *decoded_at, clock = itertools.accumulate(durations, initial=clock)
        times += map(operator.add, decoded_at, shifts)
        stored = durations[-1] if durations else stored
    if not times:
        raise ValueError("a fragment without samples")
    return _Span(min(times), max(times) + stored)


def _defaults(tfhd: memoryview, head: _Head) -> tuple[int, int]:
    """Return the duration and the flags of samples that have none of their own."""
    given = _u32(tfhd, 0)
    at = 8 + (8 if given & 0x01 else 0) + (4 if given & 0x02 else 0)
    duration, flags = head.sample_duration, head.sample_flags
    if given & 0x08:
        duration, at = _u32(tfhd, at), at + 4
    at += 4 if given & 0x10 else 0
    if given & 0x20:
        flags = _u32(tfhd, at)
    return duration, flags


def _first_flags(trun: memoryview, default: int) -> int:
    given = _u32(trun, 0)
    at = 8 + (4 if given & 0x001 else 0)
    if given & 0x004:
        return _u32(trun, at)
    if given & 0x400:
        return _u32(trun, at + (4 if given & 0x100 else 0) + (4 if given & 0x200 else 0))
    return default


def _samples(trun: memoryview, default_duration: int) -> tuple[Sequence[int], Iterable[int]]:
    """Return the samples' durations, and how much later than decoded each is shown; both in ticks."""
    given, count = _u32(trun, 0), _u32(trun, 4)
    at = 8 + (4 if given & 0x001 else 0) + (4 if given & 0x004 else 0)
    fields = [name for name, bit in (("I", 0x100), ("4x", 0x200), ("4x", 0x400)) if given & bit]
    if given & 0x800:
        fields.append("i" if trun[0] else "I")
    row = struct.Struct(">" + "".join(fields))
    # Where no field backs the count, a long one must not keep us busy; no sample is shorter than a byte.
    if (at + count * row.size > len(trun)) if fields else (count > MAX_HEADER_BYTES):
        raise ValueError(f"a fragment that claims {count} samples and does not list them")
    columns = list(zip(*row.iter_unpack(trun[at : at + count * row.size]), strict=True)) if fields else []
    durations: Sequence[int] = columns.pop(0) if given & 0x100 and columns else [default_duration] * count
    return durations, columns.pop(0) if columns else itertools.repeat(0, count)


def _boxes(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Yield the kind and the content of each box in `data`, which holds nothing else."""
    while data:
        size, name = struct.unpack_from(">I4s", data)
        if not 8 <= size <= len(data):
            raise ValueError(f"a box of {size} bytes where {len(data)} are left")
        yield name.decode("latin-1"), data[8:size]
        data = data[size:]


def _find(data: memoryview, *path: str) -> memoryview | None:
    for name in path:
        inner = next((content for kind, content in _boxes(data) if kind == name), None)
        if inner is None:
            return None
        data = inner
    return data


def _needed(data: memoryview, *path: str) -> memoryview:
    content = _find(data, *path)
    if content is None:
        raise ValueError(f"there is no {'/'.join(path)} where one is due")
    if len(content) < 4:
        raise ValueError(f"the {path[-1]} is cut off")
    return content


def _leaves(data: memoryview, path: str) -> Iterator[tuple[str, memoryview]]:
    for kind, content in _boxes(data):
        if kind in _IDLE:
            continue
        own = _CONTAINERS.get(kind)
        yield f"{path}/{kind}", content if own is None else content[:own]
        if own is not None:
            yield from _leaves(content[own:], f"{path}/{kind}")


def _u32(data: memoryview, at: int) -> int:
    value: int = struct.unpack_from(">I", data, at)[0]
    return value
