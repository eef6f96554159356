"""The texts that players follow: HLS media and master playlists (RFC 8216), and the storyboard's WebVTT.

Pure: values in, text out. What it knows of the objects is what `fragments` read from them; where they are
stored and when a playlist goes up is the caller's. Addresses are relative to the playlist.
"""

import math
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from watcher.fragments import Layout

# What is needed by fragmented MP4 with a byte range for everything (RFC 8216, section 7, asks for 6 at least).
VERSION = 7
# The rung listed first is the best one below this many bits per second. hls.js sorts the rungs itself, and
# takes only its first guess of the line's speed from the first one; Safari went by the first one until macOS
# 10.15 and iOS 13, and simple players still do. It has to be one that starts at once on most lines.
FIRST_BIT_RATE = 2_200_000
# Parts end where their last sample does, give or take two frames; a missing chunk or part is longer.
JOIN_SECONDS = 0.5
# Two AAC frames: a sound that ends so much later than the picture is as long as that.
TAIL_SECONDS = 0.05

# Without it players take a growing playlist for a live one, and begin near its end. In media playlists only:
# in a master libavformat (mpv, VLC, Kodi) takes it for the sign of a media playlist, and refuses the rest.
_FROM_THE_START = "#EXT-X-START:TIME-OFFSET=0"


@dataclass(frozen=True)
class Segment:
    """What a player fetches at once: a byte range of one object, from a keyframe on."""

    offset: int  # bytes
    size: int
    duration_seconds: float


@dataclass(frozen=True)
class Part:
    """One object: a stretch of one rendition."""

    uri: str  # relative, not yet percent-encoded
    init_size: int  # bytes of the head that the object begins with; 0 where an earlier part holds the head
    init_digest: str  # of the head that its segments need (`fragments.init_digest`)
    starts_at_seconds: float
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class VideoRendition:
    """One rung: its playlist, and what the master has to say of it."""

    uri: str  # of the media playlist
    codec: str  # as in `Layout.codec`
    parts: tuple[Part, ...]
    width: int  # pixels, as displayed
    height: int
    frame_rate: Fraction | None  # None when unknown
    # Bits per second that the rest may reach, while it is not encoded yet: a dark first chunk would promise a
    # rung that no line keeps up with. 0 once everything is measured.
    least_bandwidth: int = 0


@dataclass(frozen=True)
class AudioRendition:
    """The sound, which goes with every rung."""

    uri: str  # of the media playlist
    codec: str
    parts: tuple[Part, ...]
    channels: int
    least_bandwidth: int = 0  # as for a rung


def part(uri: str, layout: Layout, *, init_digest: str, first: int = 0, end: int | None = None) -> Part:
    """Return the part for an object with the fragments `first` to `end` (exclusive) of a file.

    The object holds the file's bytes as `span` gives them: the head too where `first` is 0.
    """
    fragments = layout.fragments[first:end]
    start, _ = span(layout, first=first, end=end)
    return Part(
        uri=uri,
        init_size=layout.init_size if first == 0 else 0,
        init_digest=init_digest,
        starts_at_seconds=fragments[0].start_seconds,
        segments=tuple(Segment(one.offset - start, one.size, one.duration_seconds) for one in fragments),
    )


def span(layout: Layout, *, first: int = 0, end: int | None = None) -> tuple[int, int]:
    """Return the first byte, and the one after the last, of the object that `part` describes."""
    fragments = layout.fragments[first:end]
    if not fragments:
        raise ValueError(f"no fragments from {first} to {end} among {len(layout.fragments)}")
    return (0 if first == 0 else fragments[0].offset), fragments[-1].offset + fragments[-1].size


def without_tail(parts: Sequence[Part], end_seconds: float | None) -> tuple[Part, ...]:
    """Return the sound's `parts` less a last segment that only begins when the picture is over, if it is that short.

    AAC ends with a whole frame, which may make a segment of its own; hls.js waits for ever before such a one.
    """
    last = parts[-1]
    *others, tail = last.segments
    start = last.starts_at_seconds + math.fsum(segment.duration_seconds for segment in others)
    if end_seconds is None or start < end_seconds - 0.001 or tail.duration_seconds > TAIL_SECONDS:
        return tuple(parts)
    if others:
        return (*parts[:-1], replace(last, segments=tuple(others)))
    return tuple(parts[:-1]) or tuple(parts)


def target_duration(longest_seconds: float) -> int:
    """Return the target duration for segments of at most `longest_seconds`: whole seconds."""
    return max(1, math.ceil(longest_seconds))


def media(parts: Sequence[Part], *, target_duration: int, is_final: bool) -> str:
    """Return the media playlist of one rendition.

    `target_duration` (seconds) must be the same in every playlist of one video, today and later. As parts are
    added the text only grows at its end; the final one calls itself VOD, and says that nothing follows.
    """
    _check(parts, target_duration)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target_duration}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        f"#EXT-X-PLAYLIST-TYPE:{'VOD' if is_final else 'EVENT'}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        _FROM_THE_START,
    ]
    current: str | None = None
    for one in parts:
        uri = _encoded(one.uri)
        if one.init_digest != current:
            if one.init_size == 0:
                raise ValueError(f"{one.uri} needs a head that no part before it has")
            lines += ["#EXT-X-DISCONTINUITY"] if current is not None else []
            lines.append(f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{one.init_size}@0"')
            current = one.init_digest
        for segment in one.segments:
            lines.append(f"#EXTINF:{segment.duration_seconds:.6f},")
            lines.append(f"#EXT-X-BYTERANGE:{segment.size}@{segment.offset}")
            lines.append(uri)
    if is_final:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])


def master(videos: Sequence[VideoRendition], audio: AudioRendition | None, *, target_duration: int) -> str:
    """Return the master playlist, with bit rates measured from the parts that are there.

    `target_duration` is that of the media playlists: the peak is what RFC 8216 defines by it.
    """
    if not videos:
        raise ValueError("a master playlist without a rung")
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    audio_peak, audio_mean = (0, 0) if audio is None else _bit_rates(audio, target_duration)
    if audio is not None:
        lines.append(
            '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Audio",DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="{audio.channels}",URI="{_encoded(audio.uri)}"'
        )
    rated = [(*_bit_rates(video, target_duration), video) for video in videos]
    for peak, mean, video in _ordered([(peak + audio_peak, mean + audio_mean, v) for peak, mean, v in rated]):
        codecs = video.codec if audio is None else f"{video.codec},{audio.codec}"
        attributes = [f"BANDWIDTH={peak}", f"AVERAGE-BANDWIDTH={mean}", f'CODECS="{codecs}"']
        attributes.append(f"RESOLUTION={video.width}x{video.height}")
        attributes += [] if video.frame_rate is None else [f"FRAME-RATE={float(video.frame_rate):.3f}"]
        attributes += [] if audio is None else ['AUDIO="audio"']
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", _encoded(video.uri)]
    return "\n".join([*lines, ""])


def storyboard(
    sheets: Sequence[str],
    starts: Sequence[float],
    *,
    columns: int,
    rows: int,
    width: int,
    height: int,
    duration_seconds: float,
) -> str:
    """Return the WebVTT that tells which tile of which sheet to show at which time of the video.

    `sheets` are the pictures' addresses, `starts` the seconds from which on each tile is shown; the first is
    shown from 0 on. Tiles of `width` by `height` pixels fill `columns`, then `rows`, then the next sheet.
    """
    tiles_each = columns * rows
    if len(starts) > tiles_each * len(sheets):
        raise ValueError(f"{len(starts)} tiles do not fit on {len(sheets)} sheets of {tiles_each}")
    if list(starts) != sorted(starts):
        raise ValueError("the tiles of a storyboard are not in order")
    times = [_milliseconds(0.0 if index == 0 else start) for index, start in enumerate(starts)]
    ends = [*times[1:], _milliseconds(duration_seconds)]
    cues = []
    for index, (start, end) in enumerate(zip(times, ends, strict=False)):
        if start >= end:
            continue  # a cue that ends when it begins is not valid
        sheet, tile = divmod(index, tiles_each)
        row, column = divmod(tile, columns)
        place = f"{column * width},{row * height},{width},{height}"
        cues.append(f"{_clock(start)} --> {_clock(end)}\n{_encoded(sheets[sheet])}#xywh={place}\n")
    return "\n".join(["WEBVTT\n", *cues])


def _check(parts: Sequence[Part], target_duration: int) -> None:
    if not any(one.segments for one in parts):
        raise ValueError("a playlist without a segment")
    end: float | None = None
    for one in parts:
        if end is not None and abs(one.starts_at_seconds - end) > JOIN_SECONDS:
            raise ValueError(f"{one.uri} starts at {one.starts_at_seconds:.3f} s, and is due at {end:.3f} s")
        reached = one.init_size
        for segment in one.segments:
            if segment.offset != reached or segment.size <= 0 or segment.duration_seconds <= 0:
                raise ValueError(f"{one.uri} has a segment that does not follow at byte {reached}: {segment}")
            # RFC 8216, 4.3.3.1: rounded to the nearest whole second, none is longer than the target.
            if math.floor(segment.duration_seconds + 0.5) > target_duration:
                raise ValueError(f"{one.uri} has a segment longer than {target_duration} s: {segment}")
            reached += segment.size
        end = one.starts_at_seconds + math.fsum(segment.duration_seconds for segment in one.segments)


def _bit_rates(rendition: VideoRendition | AudioRendition, target_duration: int) -> tuple[int, int]:
    """Return the peak and the mean of a rendition, in bits per second."""
    segments = [segment for one in rendition.parts for segment in one.segments]
    seconds = math.fsum(segment.duration_seconds for segment in segments)
    if seconds <= 0:
        raise ValueError(f"{rendition.uri} has no segment to measure")
    mean = math.ceil(8 * sum(segment.size for segment in segments) / seconds)
    peak = math.ceil(max(_windows(segments, target_duration), default=mean))
    return max(peak, mean, rendition.least_bandwidth), mean


def _windows(segments: Sequence[Segment], target_duration: int) -> Iterator[float]:
    """Yield the bit rate of each run of segments that takes 0.5 to 1.5 times the target (RFC 8216, 4.1).

    A single short segment, such as a last one of one frame, says nothing of what a line has to carry.
    """
    for first in range(len(segments)):
        size, seconds = 0, 0.0
        for index in range(first, len(segments)):
            size += segments[index].size
            seconds += segments[index].duration_seconds
            if seconds > 1.5 * target_duration:
                break
            if seconds >= 0.5 * target_duration:
                yield 8 * size / seconds


def _ordered(rated: Sequence[tuple[int, int, VideoRendition]]) -> list[tuple[int, int, VideoRendition]]:
    """Sort the rungs from low to high, but for the one to start with, which comes first."""
    rising = sorted(rated, key=lambda one: (one[0], one[2].height, one[2].uri))
    start = max((index for index, one in enumerate(rising) if one[0] <= FIRST_BIT_RATE), default=0)
    return [rising[start], *rising[:start], *rising[start + 1 :]]


def _encoded(uri: str) -> str:
    if not uri:
        raise ValueError("an empty address")
    return urllib.parse.quote(uri, safe="/")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
