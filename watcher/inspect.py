"""Finds out what a source is: facts for the plan, or the reason why there is nothing to do."""

import dataclasses
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from watcher import command, crashpoint, ffmpeg
from watcher.beat import Beat
from watcher.errors import Failure, Skip
from watcher.media import AudioTrack, Cut, Keyframe, Media, VideoTrack

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
# VP8 and VP9 keep transparency beside the picture, where only the codec's own library looks.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# What an AVI may lack of the size in its header (padding), and from where on that size means "not known".
AVI_SLACK_BYTES, AVI_MOST_BYTES = 4096, 0xFFFF0000
LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}")
MOST_ASPECT = 10  # pixels ten times wider than high: beyond it the number is an error, not a lens


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
    "source_truncated" | "source_encrypted" | "source_too_large" | "source_too_long" | "source_too_costly"), or
    Failure("encode_failed") when bytes could not be fetched.
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
    needed = max((one["indexed"]["last_byte"] for one in (track, sound) if one and one["indexed"]), default=0)
    if needed > size_bytes and found["video"]["picture"] is None:
        raise Failure("source_truncated", f"{_short(size_bytes, needed)}; readable: nothing")
    picture = _picture(found["video"]["picture"], track, container, claim)
    if sound is not None and found["audio"]["is_encrypted"]:
        raise Failure("source_encrypted", f"its {sound['codec']} track, the sound, is encrypted")
    _check_length(container, found, track, limits)
    media = Media(
        container=container,
        size_bytes=size_bytes,
        start_seconds=found["start_seconds"] or 0.0,
        duration_seconds=found["duration_seconds"],
        is_duration_trusted=_is_trusted(container, found),
        is_all_there=_is_all_there(found, size_bytes),
        video=_video(track, picture, found["video"]["keyframes"]),
        audio=_audio(sound, found["audio"]) if sound is not None else None,
    )
    if needed > size_bytes:
        for one in (track, sound):
            if one and one["indexed"]:
                one["indexed"] = one["indexed"]["readable"]
        video = _video(track, picture, found["video"]["keyframes"])
        audio = _audio(sound, found["audio"]) if sound is not None else None
        media = _cut(media, video, audio, _short(size_bytes, needed))
    elif found["declared"] and size_bytes + AVI_SLACK_BYTES < found["declared"]["bytes"] < AVI_MOST_BYTES:
        declared = found["declared"]
        cut = Cut(declared["seconds"], None, _short(size_bytes, declared["bytes"]))
        media = dataclasses.replace(media, cut=cut)
    if media.cut is not None and (not is_salvaging or not media.duration_seconds):
        readable = f"readable: {media.duration_seconds or 0.0:.1f} of {media.cut.seconds or 0.0:.1f} s"
        raise Failure("source_truncated", f"{media.cut.detail}; {readable}")
    if found["is_followed"]:
        if not is_salvaging:
            raise Failure("source_damaged", f"{FOLLOWED}; readable: the first one")
        media = dataclasses.replace(media, cut=media.cut or Cut(None, None, FOLLOWED))
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


def _picture(
    picture: dict[str, Any] | None, track: dict[str, Any], container: str, claim: str | None
) -> dict[str, Any]:
    """Return the facts of the first picture that was decoded, or raise because there is none."""
    if picture is None:
        if claim != "video":  # bytes that look like one of the formats without a header
            raise _refusal(claim, f"it looks like {container}, but no picture can be decoded")
        raise Failure(
            "no_picture", f"no frame of the {track['codec']} track can be decoded; readable: nothing"
        )
    if picture.get("is_encrypted"):
        raise Failure("source_encrypted", f"its {track['codec']} track is encrypted")
    return picture


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


def _cut(whole: Media, video: VideoTrack, audio: AudioTrack | None, detail: str) -> Media:
    """Return the facts of what can be read of a cut MP4, of which `video` and `audio` tell."""
    assert whole.video is not None  # as `video` is a part of it
    there = tuple(key for key in video.keyframes or () if key.seconds < _end(video))
    heard = audio if audio is not None and audio.packets != 0 else None
    ends = [_end(track) for track in (video, heard) if track is not None]
    return dataclasses.replace(
        whole,
        duration_seconds=max(ends) - whole.start_seconds if video.frames else 0.0,
        video=dataclasses.replace(video, keyframes=there or None),
        audio=heard,
        cut=Cut(whole.duration_seconds, whole.video.frames, detail),
    )


def _short(size_bytes: int, needed: int) -> str:
    return f"it has {size_bytes} bytes and should have {needed} or more"


def _end(track: VideoTrack | AudioTrack) -> float:
    return (track.start_seconds or 0.0) + (track.duration_seconds or 0.0)


def _check_length(
    container: str, found: dict[str, Any], track: dict[str, Any], limits: ffmpeg.Limits
) -> None:
    """Where a container knows how long it plays; elsewhere `ffmpeg.run` stops when it comes to be too much."""
    if limits.media is None or not _is_trusted(container, found):
        return
    declared = _duration(track) or found["duration_seconds"]
    if declared > limits.media.total_seconds():
        raise Failure(
            "source_too_long",
            f"it plays {declared:.0f} s; MAX_DURATION_SECONDS is {limits.media.total_seconds():.0f}",
        )


def _is_trusted(container: str, found: dict[str, Any]) -> bool:
    if container not in TRUSTED_FORMATS or not found["duration_seconds"]:
        return False
    return not any(GUESSED in line for line in found["log"])


def _is_all_there(found: dict[str, Any], size_bytes: int) -> bool:
    """Tell whether the header of an AVI counts as many bytes as there are: then its count of frames is no promise."""
    return bool(found["declared"]) and abs(found["declared"]["bytes"] - size_bytes) <= AVI_SLACK_BYTES


def _video(track: dict[str, Any], picture: dict[str, Any], keyframes: dict[str, Any] | None) -> VideoTrack:
    aspect = _fraction(track["sample_aspect"]) or Fraction(1)
    is_odd = not Fraction(1, MOST_ASPECT) <= aspect <= MOST_ASPECT
    decoder = ALPHA_DECODERS.get(track["codec"]) if track["alpha_mode"] == "1" else None
    rate = _fraction(track["frame_rate"])
    return VideoTrack(
        index=track["index"],
        codec=track["codec"],
        profile=track["profile"],
        level=track["level"],
        pixel_format=picture["pixel_format"],
        width=picture["width"],
        height=picture["height"],
        sample_aspect=Fraction(1) if is_odd else aspect,
        rotation=round(picture["rotation"] / 90) * 90 % 360,
        frame_rate=rate if rate and rate > 0 else None,
        frames=track["indexed"]["count"] if track["indexed"] else None,
        start_seconds=track["start_seconds"],
        duration_seconds=_duration(track),
        bit_rate=track["bit_rate"],
        interlaced=track["is_interlaced"] or picture["is_interlaced"],
        hidden=_hidden(track),
        keyframes=tuple(Keyframe(*place) for place in keyframes["places"]) if keyframes else None,
        keyframe_gap=keyframes["gap"] if keyframes else None,
        color_range=picture["color_range"],
        color_space=picture["color_space"],
        color_transfer=picture["color_transfer"],
        color_primaries=picture["color_primaries"],
        mirrored=picture["is_mirrored"],
        has_alpha=picture["has_alpha"] or decoder is not None,
        has_odd_aspect=is_odd,
        bottom_first=picture["is_bottom_first"],
        decoder=decoder,
    )


def _audio(track: dict[str, Any], choice: dict[str, Any]) -> AudioTrack:
    return AudioTrack(
        index=track["index"],
        codec=track["codec"],
        profile=track["profile"],
        sample_rate=track["sample_rate"],
        channels=track["channels"],
        start_seconds=track["start_seconds"],
        duration_seconds=_duration(track),
        bit_rate=track["bit_rate"],
        packets=track["indexed"]["count"] if track["indexed"] else None,
        hidden=_hidden(track),
        layout=track["layout"] if not str(track["layout"]).endswith("channels") else None,
        language=_language(track["language"]),
        number=choice["number"],
        tracks=choice["tracks"],
    )


def _language(tag: str | None) -> str | None:
    """Return a language tag in the form that ISO 639 and BCP 47 have; None for "undetermined" or other text."""
    tag = (tag or "").strip().lower()
    return tag if LANGUAGE.fullmatch(tag) and tag not in ("und", "unk") else None


def _hidden(track: dict[str, Any]) -> int:
    return track["indexed"]["count"] - track["indexed"]["shown"] if track["indexed"] else 0


def _duration(track: dict[str, Any]) -> float | None:
    """How long a track is by its own account: an index, or the tag that Matroska muxers write."""
    if indexed := track["indexed"]:
        shown = indexed["shown"]
        # The last packet's duration is the mean of the others; an edit list may hide some of the first ones.
        if not shown:
            return 0.0
        return (
            float(indexed["span_seconds"] * shown / (shown - 1)) if shown > 1 else track["duration_seconds"]
        )
    parts = (track["tagged_duration"] or "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    # Matroska's tag is the time of the end.
    return hours * 3600 + minutes * 60 + seconds - (track["start_seconds"] or 0.0)


def _fraction(text: str | None) -> Fraction | None:
    try:
        return Fraction(text) if text else None
    except (ValueError, ZeroDivisionError):
        return None
