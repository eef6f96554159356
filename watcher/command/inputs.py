"""How any file is opened: demuxers and protocols by name. Pure."""

from collections.abc import Sequence
from pathlib import Path

from watcher.media import AudioTrack, Media, VideoTrack

# Demuxers that may open a source. Left out on purpose: everything that names other files or addresses (hls,
# concat, dash, sdp, rtsp, image2), everything made of text (subtitles, tty), single pictures, and exotic game
# formats.
VIDEO_FORMATS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts"),
    *("ogg", "rm", "swf", "gif", "mxf", "gxf", "wtv", "nut", "dv", "ivf", "obu", "nsv", "yuv4mpegpipe"),
    *("mpegvideo", "m4v", "h263", "h264", "hevc", "vc1", "dirac"),
)
# Only looked into, so that a song is told from a broken video; never encoded.
AUDIO_FORMATS = ("mp3", "wav", "w64", "flac", "aac", "aiff", "caf", "amr", "ac3", "eac3", "dts", "ape", "wv")
# Ours: what an earlier step made, read from this machine's disk.
OWN_FORMAT = "mov"
# These demuxers let ffmpeg take the first time of the tracks *in use* as zero, so sound and picture encoded
# apart would each begin at their own; the other track is then read along and thrown away.
FLOATING_START_FORMATS = ("mpeg", "mpegts", "dv", "gxf", "wtv", "nsv")
# These demuxers pass over bytes without a word, which only shows in how many there were in all tracks.
COUNTED_FORMATS = ("flv",)


def protocols(target: str | Path) -> tuple[str, ...]:
    """Return the only protocols that `target` may be opened with."""
    return ("file",) if isinstance(target, Path) else ("http", "tcp")


def source(source: str | Path, media: Media, track: VideoTrack | AudioTrack) -> list[str]:
    """Return how the source is opened for one track, with the demuxer that `inspect` found."""
    arguments = ["-c:v", media.video.decoder] if media.video is not None and media.video.decoder else []
    if track.shift_seconds:
        arguments += ["-itsoffset", f"{track.shift_seconds:.6f}"]
    return arguments + _input(source, container=media.container, formats=VIDEO_FORMATS)


def own(part: Path, *, container: str = OWN_FORMAT) -> list[str]:
    """Return how a file that was made here is opened."""
    return _input(part, container=container, formats=(container,))


def late(media: Media) -> list[str]:
    """Return what keeps the picture's time behind the sound's, where times float and the sound is not read along."""
    if media.video is None or media.audio is None or media.container not in FLOATING_START_FORMATS:
        return []
    seconds = (media.video.start_seconds or 0.0) - (media.audio.start_seconds or 0.0)
    return ["-itsoffset", f"{seconds:.6f}"] if seconds > 0 else []


def read_along(media: Media, other: int | None) -> list[str]:
    """Return how the track `other` is read and thrown away, where times would float without it, or all of them."""
    if media.container in COUNTED_FORMATS:
        return ["-map", "0:v", "-map", "0:a?", "-c", "copy", "-f", "null", "-"]
    if other is None or media.container not in FLOATING_START_FORMATS:
        return []
    return ["-map", f"0:{other}", "-c", "copy", "-f", "null", "-"]


def picture(media: Media) -> VideoTrack:
    """Return the main picture, which every video step needs."""
    if media.video is None:
        raise ValueError("a source without a picture has no video step")
    return media.video


def _input(target: str | Path, *, container: str, formats: Sequence[str]) -> list[str]:
    arguments = ["-protocol_whitelist", ",".join(protocols(target)), "-format_whitelist", ",".join(formats)]
    arguments += ["-f", container]
    if container == OWN_FORMAT:  # these files can name others, by a path or an address
        arguments += ["-enable_drefs", "0", "-use_absolute_path", "0"]
    # Not -multiple_requests: with connections kept open ffmpeg 9.0.2 waits for ever at the end of a cut AVI.
    # A prefix keeps a path that begins with a dash, or holds a colon, from being read as something else.
    return [*arguments, "-i", f"file:{target}" if isinstance(target, Path) else target]
