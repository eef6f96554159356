"""The program that looks into one container and prints what it found as JSON; always a child process.

Run as `python -I probe.py REQUEST` with REQUEST as JSON: `targets`, `container` (None to recognise it),
`formats` and `protocols` (allow lists), `max_streams`, `max_pixels`, `scan` ("none", "packets", "start" or
"keyframes"). Lines of "." say that it advances; the last line is the answer: `found`, the facts of each target,
or `error` with `kind` ("open", "read" or "too_large"). It takes no decision about a source beyond which track
is the main one, and imports nothing from this package: hostile bytes are parsed here.
"""

import bisect
import contextlib
import http.client
import json
import struct
import sys
import urllib.parse
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import av.logging
import av.stream

# A picture is looked for in this many packets of its track: ten seconds of 60 fps, enough for a stream that
# was cut between keyframes, and little enough for one that never decodes.
PACKETS_TO_FIRST_PICTURE = 600
# The least seconds between two keyframes that are told, until so many seconds of the video.
KEYFRAME_DISTANCES = ((60.0, 1.0), (600.0, 5.0), (float("inf"), 15.0))
MAX_INDEX_BYTES = 128 * 1024 * 1024  # ten hours of 60 fps have 50 MB
MAX_BOXES = 1000  # at the top level of a file: tens are usual, of one that is not fragmented
PACKETS_PER_DOT = 2000  # a sign of life about every half minute of sound and picture
FIELD_ORDERS_INTERLACED = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT
# The values of AVCOL_* that ffmpeg's options have names for; anything else counts as untagged.
RANGES = {1: "tv", 2: "pc"}
SPACES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear"}
TRANSFERS |= {13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}


def main(request: dict[str, Any]) -> None:
    """Print the answer to `request`; every way in which the bytes can be wrong is an answer too."""
    av.logging.set_level(av.logging.WARNING)
    with av.logging.Capture(local=False) as lines:
        try:
            answer: dict[str, Any] = {"found": [_look(target, request) for target in request["targets"]]}
        except _TooLarge as error:
            answer = {"kind": "too_large", "error": str(error)}
        except MemoryError:
            answer = {"kind": "too_large", "error": "it needs more memory than is allowed"}
        except (av.error.FFmpegError, OSError, http.client.HTTPException) as error:
            answer = {"kind": "open" if _is_about_content(error) else "read", "error": _said(error)}
        except (ValueError, OverflowError, ArithmeticError) as error:
            answer = {"kind": "open", "error": str(error)}
        answer["log"] = list(dict.fromkeys(text.strip() for _, _, text in lines))[-20:]
    print(json.dumps(answer, separators=(",", ":")), flush=True)


class _TooLarge(Exception):
    pass


def _is_about_content(error: Exception) -> bool:
    """Tell bytes that make no sense from bytes that could not be fetched."""
    # A demuxer that is not on the list is refused with EINVAL, an empty file with EOF.
    if "[http]" in str(error):
        return False
    content = (av.error.InvalidDataError, av.error.PatchWelcomeError, av.error.DemuxerNotFoundError)
    return isinstance(error, (*content, ValueError, EOFError))


def _said(error: Exception) -> str:
    """The last thing that libavformat logged says more than the error, such as what a file seems to be."""
    text = getattr(error, "strerror", None) or str(error)
    log = getattr(error, "log", None)
    if not log:
        return text
    _, name, line = log
    if "not on whitelist" in line:
        return f"it is recognised as {name}, which is not accepted"
    return f"{text}: {name}: {line.strip()}" if name else f"{text}: {line.strip()}"


def _look(target: str, request: dict[str, Any]) -> dict[str, Any]:
    # The decoders that look for stream parameters learn max_pixels where the container's header names all tracks;
    # for the others (MPEG) the launcher bounds their memory.
    options = {
        "format_whitelist": ",".join(request["formats"]),
        "protocol_whitelist": ",".join(request["protocols"]),
        "max_streams": str(request["max_streams"]),
        "max_pixels": str(request["max_pixels"]),
    }
    opened: Any = av.open(target, format=request["container"], options=options)
    with opened as container:
        streams = [_stream(stream) for stream in container.streams if stream.codec_context is not None]
        for stream in streams:
            if stream["type"] == "video" and stream["width"] * stream["height"] > request["max_pixels"]:
                size = f"{stream['width']}x{stream['height']}"
                raise _TooLarge(f"its picture has {size} pixels; MAX_PIXELS is {request['max_pixels']}")
        answer: dict[str, Any] = {
            "container": container.format.name,
            "brand": container.metadata.get("major_brand", "").strip(),
            "start_seconds": _seconds(container.start_time, Fraction(1, av.time_base)),
            "duration_seconds": _seconds(container.duration, Fraction(1, av.time_base)),
            "bit_rate": container.bit_rate or None,
            "streams": streams,
        }
        if request["scan"] == "none":
            answer["video"] = _main_video(container, streams, target, request)
            answer["audio"] = _main_audio(streams)
        else:
            answer["scan"] = _scan(container, request["scan"])
        return answer


def _stream(stream: Any) -> dict[str, Any]:
    codec = stream.codec_context
    facts: dict[str, Any] = {
        "index": stream.index,
        "type": stream.type,
        "codec": codec.codec.canonical_name,
        "profile": stream.profile,
        "is_default": bool(stream.disposition & av.stream.Disposition.default),
        "is_picture": bool(
            stream.disposition
            & (
                av.stream.Disposition.attached_pic
                | av.stream.Disposition.timed_thumbnails
                | av.stream.Disposition.still_image
            )
        ),
        "start_seconds": _seconds(stream.start_time, stream.time_base),
        "duration_seconds": _seconds(stream.duration, stream.time_base),
        "tagged_duration": stream.metadata.get("DURATION"),
        "bit_rate": stream.bit_rate or None,
        "counted_frames": stream.frames or None,
        "indexed": _indexed(stream),
    }
    if stream.type == "video":
        facts |= {
            "level": codec.level if codec.level > 0 else None,
            "width": codec.width,
            "height": codec.height,
            "pixel_format": codec.pix_fmt,
            "sample_aspect": str(stream.sample_aspect_ratio or codec.sample_aspect_ratio or 1),
            "frame_rate": _frame_rate(stream),
            "is_interlaced": codec.field_order in FIELD_ORDERS_INTERLACED,
        }
    if stream.type == "audio":
        facts |= {"sample_rate": codec.sample_rate, "channels": codec.channels}
    return facts


def _frame_rate(stream: Any) -> str | None:
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average > 2 * guessed:
        average = None  # a raw DV stream of 25 fps says 60,000
    return str(average or guessed or "") or None


def _indexed(stream: Any) -> dict[str, Any] | None:
    """What the index of a track says; only MP4 and MOV have one that is complete before anything is read."""
    if not stream.container.format.name.startswith("mov") or not stream.frames:
        return None  # no `frames`: it is fragmented, and the index holds only the fragments seen so far
    count, shown, last_byte, first, last = 0, 0, 0, None, None
    for entry in stream.index_entries:
        count += 1
        last_byte = max(last_byte, entry.pos + entry.size)
        if not entry.is_discard:  # discarded ones only help to decode what follows: an edit list begins later
            shown += 1
            first = entry.timestamp if first is None else min(first, entry.timestamp)
            last = entry.timestamp if last is None else max(last, entry.timestamp)
    if not count:
        return None
    span = float((last - first) * stream.time_base) if first is not None and last is not None else 0.0
    return {"count": count, "shown": shown, "last_byte": last_byte, "span_seconds": span}


def _main_video(
    container: Any, streams: list[dict[str, Any]], target: str, request: dict[str, Any]
) -> dict[str, Any] | None:
    """Find the track to show (the default one, else the largest), decode its first picture, list keyframes."""
    tracks = [stream for stream in streams if stream["type"] == "video" and not stream["is_picture"]]
    if not tracks:
        return None
    # MPEG, AVI and others flag none; then the size decides.
    tracks.sort(key=lambda one: (one["is_default"], one["width"] * one["height"]), reverse=True)
    stream = container.streams[tracks[0]["index"]]
    picture = _first_picture(container, stream, request["max_pixels"])
    return {"index": stream.index, "picture": picture, "keyframes": _keyframes(container, stream, target)}


def _keyframes(container: Any, stream: Any, target: str) -> dict[str, Any] | None:
    """Tell where a track may be cut: `places` (seconds, frames shown before), and the longest `gap` between."""
    times: list[int] | None = None
    if shown := _shown(stream, target) if container.format.name.startswith("mov") else None:
        times = sorted(time for time, _ in shown)
        keys = sorted(time for time, is_key in shown if is_key)
        last = times[-1]
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
    gap = max(after - before for before, after in zip(keys, [*keys[1:], last], strict=True))
    places = [round(float(time * unit), 6) for time in kept]
    return {"places": list(zip(places, counts, strict=True)), "gap": float(gap * unit)}


def _shown(stream: Any, target: str) -> list[tuple[int, bool]] | None:
    """Tell when each frame of an MP4 is shown, and whether it is a keyframe; None without a complete index."""
    entries = [(one.timestamp, one.is_keyframe, one.size) for one in stream.index_entries]
    # An edit list that hides frames has made libavformat reorder its index.
    if not stream.frames or not entries or any(one.is_discard for one in stream.index_entries):
        return None
    if (shifts := _display_shifts(target, stream.id, len(entries))) is None:
        return None
    shown = [(time + shift, key, size) for (time, key, size), shift in zip(entries, shifts, strict=True)]
    # What libavformat itself shows first, whatever the edit list and its own conventions make of the times.
    correction = (stream.start_time or 0) - min(time for time, _, _ in shown)
    return [(time + correction, key) for time, key, size in shown if size]


def _thinned(keys: list[int], unit: Fraction) -> list[int]:
    """Keep enough to cut at, and few enough to store: fewer as the film goes on and chunks are long."""
    kept = keys[:1]
    for time in keys[1:]:
        seconds, distance = float((time - keys[0]) * unit), float((time - kept[-1]) * unit)
        if distance >= next(least for until, least in KEYFRAME_DISTANCES if seconds < until):
            kept.append(time)
    return kept


def _display_shifts(target: str, track_id: int, count: int) -> list[int] | None:
    """Read how much later than decoded each frame of an MP4 is shown; None where its boxes do not say it."""
    for track in _boxes(_box(target, b"moov") or b"", b"trak"):
        header = next(_boxes(track, b"tkhd"), b"")
        place = 20 if header.startswith(b"\x01") else 12
        if int.from_bytes(header[place : place + 4], "big") != track_id:
            continue
        table: bytes | None = track
        for name in (b"mdia", b"minf", b"stbl"):
            table = next(_boxes(table or b"", name), None)
        box = next(_boxes(table or b"", b"ctts"), None)
        if box is None:
            return [0] * count if table else None
        shifts: list[int] = []
        for run, shift in struct.iter_unpack(">Ii", box[8 : len(box) // 8 * 8]):
            shifts += [shift] * min(run, count + 1 - len(shifts))  # whatever a run claims
        return shifts if len(shifts) == count else None
    return None


def _boxes(data: bytes, name: bytes) -> Iterator[bytes]:
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
        header = _read(target, place, 16)
        size, start = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(header[8:16], "big"), 16
        if size < start or (header[4:8] == name and size > MAX_INDEX_BYTES):
            return None
        if header[4:8] == name:
            return _read(target, place + start, size - start)
        place += size
    return None


def _read(target: str, start: int, count: int) -> bytes:
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


def _first_picture(container: Any, stream: Any, max_pixels: int) -> dict[str, Any] | None:
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    for number, packet in enumerate(container.demux(stream)):
        if number > PACKETS_TO_FIRST_PICTURE:
            return None
        try:
            frames = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError, ValueError):
            continue
        for frame in frames:
            if frame.width * frame.height > max_pixels:
                size = f"{frame.width}x{frame.height}"
                raise _TooLarge(f"its picture has {size} pixels; MAX_PIXELS is {max_pixels}")
            return {
                "width": frame.width,
                "height": frame.height,
                "pixel_format": frame.format.name,
                "rotation": -frame.rotation % 360,  # ffmpeg counts counter-clockwise
                "is_interlaced": frame.interlaced_frame,
                "color_range": RANGES.get(int(frame.color_range)),
                "color_space": SPACES.get(int(frame.colorspace)),
                "color_transfer": TRANSFERS.get(int(frame.color_trc)),
                "color_primaries": PRIMARIES.get(int(frame.color_primaries)),
            }
    return None


def _main_audio(streams: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Find the sound to play: the default track, else the first, of those whose parameters are known."""
    tracks = [one for one in streams if one["type"] == "audio" and one["sample_rate"] and one["channels"]]
    tracks.sort(key=lambda one: one["is_default"], reverse=True)
    return {"index": tracks[0]["index"]} if tracks else None


def _scan(container: Any, how: str) -> dict[str, Any]:
    """Read every packet, and decode the "keyframes" of the video tracks, or with "start" the first one only."""
    found: dict[int, dict[str, Any]] = {}
    for stream in container.streams.video:
        stream.thread_type = "NONE"  # threads hold pictures back, and cost memory
    for number, packet in enumerate(container.demux(), start=1):
        if number % PACKETS_PER_DOT == 0:
            print(".", flush=True)
        if packet.size == 0:
            continue  # the flush packets that PyAV adds at the end of each track
        track = found.setdefault(packet.stream.index, _empty_track(packet.stream.type))
        track["packets"] += 1
        track["keyframes"] += packet.is_keyframe
        track["corrupt"] += packet.is_corrupt
        _note_times(track, packet)
        is_wanted = how == "keyframes" or (how == "start" and track["keyframes"] == 1)
        if is_wanted and packet.stream.type == "video" and packet.is_keyframe:
            track["pictures"] += _decoded_alone(packet)
    return {str(index): track for index, track in found.items()}


def _empty_track(kind: str) -> dict[str, Any]:
    counts = {"packets": 0, "keyframes": 0, "corrupt": 0, "pictures": 0}
    times = dict.fromkeys(("first", "first_decode", "last", "end"))
    return {"type": kind, **counts, "key_times": [], **times}


def _note_times(track: dict[str, Any], packet: Any) -> None:
    if track["first_decode"] is None:
        track["first_decode"] = _seconds(packet.dts, packet.time_base)
    shown = _seconds(packet.pts if packet.pts is not None else packet.dts, packet.time_base)
    if shown is None:
        return
    if packet.is_keyframe and packet.stream.type == "video":
        # Not when it is shown: libavformat moves that by what each file's own B-frames need.
        decoded = _seconds(packet.dts, packet.time_base)
        track["key_times"].append(round(shown if decoded is None else decoded, 6))
    end = shown + float((packet.duration or 0) * packet.time_base)
    track["first"] = shown if track["first"] is None else min(track["first"], shown)
    track["last"] = shown if track["last"] is None else max(track["last"], shown)
    track["end"] = end if track["end"] is None else max(track["end"], end)


def _decoded_alone(packet: Any) -> bool:
    """Whether a keyframe decodes with nothing before it, as it must after a seek."""
    codec = packet.stream.codec_context
    codec.flush_buffers()
    try:
        return bool(codec.decode(packet)) or bool(codec.decode(None))
    except av.error.FFmpegError:
        return False
    finally:
        codec.flush_buffers()


def _seconds(value: int | None, unit: Fraction | None) -> float | None:
    return None if value is None or unit is None else float(value * unit)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
