"""Finds out what a source is: facts for the plan, or the reason why there is nothing to do."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from watcher import command, crashpoint, ffmpeg
from watcher.beat import Beat
from watcher.errors import Failure, Skip
from watcher.inspect import cut, timing, tracks
from watcher.media import Cut, Media

# What a name or a content type promises: a source that promised nothing and holds nothing is no error.
VIDEO_ENDINGS = frozenset(
    "3g2 3gp asf avi divx dv f4v flv gxf ivf m1v m2ts m2v m4v mj2 mkv mov mp4 mpe mpeg mpg mts mxf nsv nut "
    "ogm ogv qt rm rmvb swf ts vob webm wmv wtv y4m".split()
)
AUDIO_ENDINGS = frozenset("aac ac3 aif aiff amr ape caf flac m4a mka mp2 mp3 oga ogg opus wav wma wv".split())
IMAGE_ENDINGS = frozenset(
    "apng avif bmp dng gif heic heif ico jp2 jpeg jpg jxl png psd svg tif tiff webp".split()
)
# MP4 brands that hold photographs.
IMAGE_BRANDS = frozenset(("heic", "heix", "heim", "heis", "mif1", "msf1", "avif", "avis"))
# Demuxers whose duration comes from a header or an index. The others measure bit rates or the last timestamp,
# which is right for a whole file and says nothing about a cut one.
TRUSTED_FORMATS = frozenset("asf avi flv gxf matroska mov mxf nut ogg rm wtv".split())
GUESSED = "Estimating duration from bitrate"  # what libavformat warns of
TOO_MANY_PIXELS = "exceeds specified max pixel count"  # what its decoders say
NO_INDEX = "moov atom not found"  # it says so of files that begin as an MP4 does, and of no others
FOLLOWED = "another recording was put behind it in the same file, which no player shows"
CHANGED = "it goes on in other tracks, as where recordings of several programmes were put one after the other"


def inspect(
    source: str | Path,
    *,
    name: str,
    content_type: str,
    size_bytes: int,
    folder: Path,
    beat: Beat,
    limits: ffmpeg.Limits,
    is_salvaging: bool = False,
) -> Media:
    """Return what `source` holds; `name` and `content_type` are only used to say what is wrong.

    When salvaging, a file that is cut short and has an index is described as far as it can be read.
    Raises Skip("not_a_video" | "audio_only" | "image"), Failure("unreadable" | "no_picture" |
    "source_truncated" | "source_encrypted" | "source_dolby_vision" | "source_too_large" | "source_too_long" |
    "source_too_costly"), or Failure("encode_failed") when bytes could not be fetched.
    """
    claim = _claim(name, content_type)
    if size_bytes == 0:
        raise _refusal(claim, "the file is empty")
    found = _look(source, claim, size_bytes, folder=folder, beat=beat, limits=limits)
    container = str(found["container"]).split(",")[0]
    streams = {one["index"]: one for one in found["streams"]}
    _check_kind(found, container, streams, claim)
    track = streams[found["video"]["index"]]
    if any(TOO_MANY_PIXELS in line for line in found["log"]) and found["video"]["picture"] is None:
        raise Failure("source_too_large", f"its picture has more than MAX_PIXELS, {limits.pixels}")
    sound = streams[found["audio"]["index"]] if found["audio"] is not None else None
    # The index of an MP4 says where its last frame lies: a cut one is found before anything is encoded.
    needed = cut.needed_bytes([one for one in (track, sound) if one is not None])
    if needed > size_bytes and found["video"]["picture"] is None:
        raise Failure("source_truncated", f"{cut.short(size_bytes, needed)}; readable: nothing")
    _check_picture(found["video"]["picture"], track, container, claim)
    _check_colours(found["video"]["dolby_vision"])
    if sound is not None and found["audio"]["is_encrypted"]:
        raise Failure("source_encrypted", f"its {sound['codec']} track, the sound, is encrypted")
    _check_length(container, found, track, limits)
    media = Media(
        container=container,
        size_bytes=size_bytes,
        start_seconds=found["start_seconds"] or 0.0,
        duration_seconds=found["duration_seconds"],
        is_duration_trusted=_is_trusted(container, found),
        is_all_there=cut.is_all_there(found["declared"], size_bytes),
        video=tracks.video(track, found["video"]),
        audio=tracks.audio(sound, found["audio"]) if sound is not None else None,
    )
    media = timing.without_lag(media, found["video"]["lag_seconds"])
    if needed > size_bytes:
        video = tracks.video(cut.readable(track), found["video"])
        audio = tracks.audio(cut.readable(sound), found["audio"]) if sound is not None else None
        media = cut.mp4(media, video, audio, needed)
    else:
        media = cut.avi(media, found["declared"])
    if media.cut is not None and (not is_salvaging or not media.duration_seconds):
        readable = f"readable: {media.duration_seconds or 0.0:.1f} of {media.cut.seconds or 0.0:.1f} s"
        raise Failure("source_truncated", f"{media.cut.detail}; {readable}")
    if found["is_followed"] or found["changes_tracks"]:
        what = FOLLOWED if found["is_followed"] else CHANGED
        if not is_salvaging:
            raise Failure("source_damaged", f"{what}; readable: the first one")
        media = dataclasses.replace(media, cut=media.cut or Cut(None, None, what, "source_damaged"))
    return media


def _look(
    source: str | Path, claim: str | None, size_bytes: int, *, folder: Path, beat: Beat, limits: ffmpeg.Limits
) -> dict[str, Any]:
    try:
        [found] = ffmpeg.probe(
            [source],
            folder=folder,
            beat=beat,
            limits=limits,
            container=None,
            scan="none",
            formats=(*command.VIDEO_FORMATS, *command.AUDIO_FORMATS),
            protocols=command.protocols(source),
            size_bytes=size_bytes,
        )
    except Failure as failure:
        if failure.code != "unreadable":
            raise
        if NO_INDEX in failure.detail:
            raise Failure(
                "source_truncated",
                f"an MP4 whose end is missing, with its index; readable: nothing: {failure.detail}",
            ) from failure
        raise _refusal(claim, failure.detail) from failure
    crashpoint.here("probe")
    return found


def _check_kind(
    found: dict[str, Any], container: str, streams: dict[int, dict[str, Any]], claim: str | None
) -> None:
    """Raise unless it holds a picture that moves, as far as its header tells."""
    if found["brand"] in IMAGE_BRANDS:
        raise Skip("image", f"a photograph ({found['brand']})")
    if found["video"] is None or container not in command.VIDEO_FORMATS:
        if found["audio"] is not None:
            raise Skip(
                "audio_only", f"it holds sound ({streams[found['audio']['index']]['codec']}) and no picture"
            )
        raise _refusal(claim, f"the container ({container}) holds neither picture nor sound")
    if container == "gif" and streams[found["video"]["index"]]["counted_frames"] == 1:
        raise Skip("image", "a GIF of a single picture")


def _check_picture(
    picture: dict[str, Any] | None, track: dict[str, Any], container: str, claim: str | None
) -> None:
    """Raise unless a first picture was decoded."""
    if picture is None:
        if claim != "video":  # bytes that look like one of the formats without a header
            raise _refusal(claim, f"it looks like {container}, but no picture can be decoded")
        raise Failure(
            "no_picture", f"no frame of the {track['codec']} track can be decoded; readable: nothing"
        )
    if picture.get("is_encrypted"):
        raise Failure("source_encrypted", f"its {track['codec']} track is encrypted")


def _check_colours(dolby_vision: tuple[int, int] | None) -> None:
    """Raise for Dolby Vision that is green and purple without its own decoder, which FFmpeg does not have.

    Profile 10 is AV1, and may be so too. The other profiles have a base layer in HDR10, HLG or SDR.
    """
    profile, base = dolby_vision or (0, 0)
    if profile == 5 or (profile == 10 and base == 0):
        raise Failure("source_dolby_vision", f"it is Dolby Vision, profile {profile}, without a base layer")


def _claim(name: str, content_type: str) -> str | None:
    """What a source says that it is: "video", "audio", "image" or None."""
    ending = os.path.splitext(name.rsplit("/", 1)[-1])[1].lower().removeprefix(".")  # noqa: PTH122 - a B2 name
    for claim, endings in (("video", VIDEO_ENDINGS), ("audio", AUDIO_ENDINGS), ("image", IMAGE_ENDINGS)):
        if ending in endings:
            return claim
    kind = content_type.split("/", maxsplit=1)[0].lower()
    return kind if kind in ("video", "audio", "image") else None


def _refusal(claim: str | None, detail: str) -> Failure | Skip:
    if claim == "video":
        return Failure("unreadable", detail)
    reason = {"audio": "audio_only", "image": "image"}.get(claim or "", "not_a_video")
    return Skip(reason, detail)


def _check_length(
    container: str, found: dict[str, Any], track: dict[str, Any], limits: ffmpeg.Limits
) -> None:
    """Where a container knows how long it plays; elsewhere `ffmpeg.run` stops when it comes to be too much."""
    if limits.media is None or not _is_trusted(container, found):
        return
    declared = tracks.duration(track) or found["duration_seconds"]
    if declared > limits.media.total_seconds():
        raise Failure(
            "source_too_long",
            f"it plays {declared:.0f} s; MAX_DURATION_SECONDS is {limits.media.total_seconds():.0f}",
        )


def _is_trusted(container: str, found: dict[str, Any]) -> bool:
    if container not in TRUSTED_FORMATS or not found["duration_seconds"]:
        return False
    return not any(GUESSED in line for line in found["log"])
