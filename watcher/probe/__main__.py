"""The program that looks into one container and prints what it found as JSON; always a child process.

Run as `python -I FOLDER REQUEST`, with the folder of this file. REQUEST is JSON: `targets`, `container` (None to
recognise it), `formats` and `protocols` (allow lists), `size_bytes` (of the file, or None), `max_streams`,
`max_pixels`, `scan` ("none", "packets", "start" or "keyframes"). Lines of "." say that it advances; the last line
is the answer: `found`, the facts of each target, or `error` with `kind` ("open", "read" or "too_large"). It takes
no decision about a source beyond which tracks are the main ones, and imports nothing from the rest of Watcher:
hostile bytes are parsed here.
"""

import http.client
import json
import sys
from fractions import Fraction
from typing import Any

import av
import av.error
import av.logging
import av.stream
import extent
import fields
import keyframes
import lag
import measure
import pictures
import programme
import sound

FIELD_ORDERS_INTERLACED = (2, 3, 4, 5)  # AVFieldOrder: TT, BB, TB, BT
TOO_MANY_STREAMS = "exceeds max_streams"  # what libavformat says


def main(request: dict[str, Any]) -> None:
    """Print the answer to `request`; every way in which the bytes can be wrong is an answer too."""
    av.logging.set_level(av.logging.WARNING)
    with av.logging.Capture(local=False) as lines:
        try:
            answer: dict[str, Any] = {"found": [_look(target, request) for target in request["targets"]]}
        except pictures.TooLarge as error:
            answer = {"kind": "too_large", "error": str(error)}
        except MemoryError:
            answer = {"kind": "too_large", "error": "it needs more memory than is allowed"}
        except (av.error.FFmpegError, OSError, http.client.HTTPException) as error:
            answer = {"kind": "open" if _is_about_content(error) else "read", "error": _said(error)}
        except (ValueError, OverflowError, ArithmeticError) as error:
            answer = {"kind": "open", "error": str(error)}
        said = list(dict.fromkeys(text.strip() for _, _, text in lines))
        if any(TOO_MANY_STREAMS in line for line in said):  # some demuxers then go on with those they have
            answer = {
                "kind": "too_large",
                "error": f"it has more tracks than {request['max_streams']}, MAX_STREAMS",
            }
        answer["log"] = said[-20:]
    print(json.dumps(answer, separators=(",", ":")), flush=True)


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
        streams = [
            _stream(stream, request["size_bytes"])
            for stream in container.streams
            if stream.codec_context is not None
        ]
        for stream in streams:
            if stream["type"] == "video" and stream["width"] * stream["height"] > request["max_pixels"]:
                raise pictures.TooLarge(stream["width"], stream["height"], request["max_pixels"])
        answer: dict[str, Any] = {
            "container": container.format.name,
            "brand": container.metadata.get("major_brand", "").strip(),
            "start_seconds": measure.seconds(container.start_time, Fraction(1, av.time_base)),
            "duration_seconds": measure.seconds(container.duration, Fraction(1, av.time_base)),
            "bit_rate": container.bit_rate or None,
            "streams": streams,
            "declared": extent.declared(container, target),
        }
        if request["scan"] == "none":
            answer["is_followed"] = extent.is_followed(container, streams, target)
            answer["video"] = _main_video(container, streams, target, request)
            answer["audio"] = chosen = sound.main(_of_one_programme(container, streams, answer["video"]))
            if chosen is not None:
                chosen["is_encrypted"] = sound.is_encrypted(container, container.streams[chosen["index"]])
            main = [one["index"] for one in (answer["video"], chosen) if one is not None]
            answer["changes_tracks"] = container.format.name == "mpegts" and not programme.are_throughout(
                [container.streams[index].id for index in main], target, request["size_bytes"] or 0
            )
        else:
            answer["scan"] = measure.scan(container, request["scan"])
        return answer


def _stream(stream: Any, size_bytes: int | None) -> dict[str, Any]:
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
        "start_seconds": measure.seconds(stream.start_time, stream.time_base),
        "duration_seconds": measure.seconds(stream.duration, stream.time_base),
        "tagged_duration": stream.metadata.get("DURATION"),
        "bit_rate": stream.bit_rate or None,
        "counted_frames": stream.frames or None,
        "indexed": extent.indexed(stream, size_bytes),
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
            "alpha_mode": stream.metadata.get("alpha_mode"),
        }
    if stream.type == "audio":
        facts |= sound.facts(stream)
    return facts


def _frame_rate(stream: Any) -> str | None:
    average, guessed = stream.average_rate, stream.guessed_rate
    if average and guessed and average > 2 * guessed:
        average = None  # a raw DV stream of 25 fps says 60,000
    return str(average or guessed or "") or None


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
    picture = pictures.first(container, stream, request["max_pixels"])
    places = keyframes.places(container, stream, target)
    is_said = tracks[0]["is_interlaced"]
    if (
        picture is not None
        and not picture.get("is_encrypted")
        and not picture["is_interlaced"]
        and not is_said
    ):
        times = [time for time, _ in places["places"]] if places else []
        order = fields.order(container, stream, times) if picture["rotation"] % 180 == 0 else None
        picture |= {"is_interlaced": order is not None, "is_bottom_first": order == "bff"}
    said = pictures.said(container, stream)
    late = lag.seconds(container, stream, target)
    return {"index": stream.index, "picture": picture, "keyframes": places, "lag_seconds": late, **said}


def _of_one_programme(
    container: Any, streams: list[dict[str, Any]], video: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Leave out the sound of other programmes, as broadcasts carry several, some of them radio.

    Tracks of one programme have the same best sound, as all have where there are no programmes.
    """
    if video is None:
        return streams
    best = {one.index: container.streams.best("audio", related=one) for one in container.streams}
    own = best[video["index"]]
    # The best one itself may be shared with another programme, which has a better one.
    return [
        one
        for one in streams
        if one["type"] != "audio" or own in (container.streams[one["index"]], best[one["index"]])
    ]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
