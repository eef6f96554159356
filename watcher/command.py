"""The argument lists that ffmpeg is run with, from the plan of a video. Pure: nothing here starts anything.

The source is reached through one URL or path, with the demuxer forced that `inspect` found. Every output is a
plain name in the step's own folder.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from watcher import plan as plans
from watcher.media import Media, VideoTrack
from watcher.plan import AudioPlan, Chunk, Plan, Rung, VideoPlan

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

MAX_STREAMS = 64  # a disc with many languages has about 40; a file with thousands is an attack on memory
MAX_PIXELS = 40_000_000  # a little above 8K UHD (7680x4320); 16384x8192 took 1.3 GB in one picture

VIDEO = "video.mp4"
AUDIO = "audio.mp4"
AGAIN = "again-"  # before the name of a file that replaces one which was begun and given up
POSTER = "poster.jpg"
PACKAGE = "package.mp4"

# How the names of pixel formats begin that hold brightness and colour apart; the others are RGB.
LUMA_FORMATS = ("yuv", "yuy", "nv", "gray", "p0", "uyvy")
# Players switch and seek at keyframes: 2 s is HLS practice, and more of them cost quality.
KEYFRAME_SECONDS = 2
# A viewer waits for the first chunk: these settings take a third of its time, for some more bits. The stream's
# head must be the same in all chunks, so they may not show in it: without its psychovisual part, which needs
# subme 6, x264 would leave out the offset of -2 that it gives chroma for it.
HASTE = "subme=1:me=dia:trellis=0:rc-lookahead=8:chroma-qp-offset=-2"
PATIENT_PRESETS = ("fast", "medium")
# Exact for 24, 25 and 30 fps and for millisecond timestamps, within 1/90000 s for 23.976.
TIMESCALE = 90_000
# CMAF: self-contained fragments, one per keyframe, with times that stay where they were.
FRAGMENTED = "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+frag_discont"
POSTER_SECONDS = 30  # how far into the video the poster is looked for
POSTER_CANDIDATES = 12  # pictures held in memory to choose among: a keyframe each two or three seconds
# Untagged pictures are BT.709 from this short side on, and BT.601 below: what players assume.
HD_SHORT_SIDE = 720
# These demuxers let ffmpeg take the first time of the tracks *in use* as zero, so sound and picture encoded
# apart would each begin at their own; the other track is then read along and thrown away.
FLOATING_START_FORMATS = ("mpeg", "mpegts", "dv", "gxf", "wtv", "nsv")
# A chunk's borders lie this much before its keyframes: no frame is as near to another one, and no rounding of
# times then decides to which chunk a frame belongs.
BORDER_SECONDS = 0.0005
# What deinterlacing and lowering the frame rate look back on; the seek then ends at an earlier keyframe.
CONTEXT_SECONDS = 1.0
# Sound can be played from any packet on; a fragment this long is a segment of a playlist.
AUDIO_FRAGMENT_SECONDS = 2


def video(source: str | Path, media: Media, plan: VideoPlan, *, name: str = VIDEO) -> list[str]:
    """Return the arguments that make `name`, a fragmented MP4 with the main picture only, of the top rung."""
    if plan.mode == "encode":
        rung = plans.top(plan)
        return _encode(source, media, plan, Chunk(0, 0.0, None, None), [(rung, name)], threads=None)
    track = _picture(media)
    arguments = [*_source(source, media), "-map", f"0:{track.index}", "-c:v", "copy", *_fragmented(name)]
    return arguments + _read_along(media, media.audio.index if media.audio else None)


def video_chunk(
    source: str | Path, media: Media, plan: Plan, chunk: Chunk, *, threads: int | None
) -> list[str]:
    """Return the arguments that make one fragmented MP4 for each of the plan's `chunked_rungs`.

    Their names are those that `rung_file` gives. Each holds the frames of `chunk` at their times in the video.
    """
    files = [(rung, rung_file(rung)) for rung in plan.chunked_rungs]
    return _encode(source, media, plan.video, chunk, files, threads=threads)


def rung_file(rung: Rung) -> str:
    """Return the name of the file that a chunk of `rung` is made in."""
    return f"video-{rung.name}.mp4"


def before_chunk(source: str | Path, media: Media, plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Return the arguments that decode only what is decoded, and thrown away, on the way to a chunk's start."""
    track = _picture(media)
    # One thread: others would decode further ahead.
    arguments = [*_seek(plan, chunk), "-threads", "1", *_source(source, media)]
    end = media.start_seconds + chunk.start_seconds - BORDER_SECONDS
    return [*arguments, "-map", f"0:{track.index}", "-vf", f"trim=end={end:.6f}", "-f", "null", "-"]


def audio(source: str | Path, media: Media, plan: AudioPlan, *, name: str = AUDIO) -> list[str]:
    """Return the arguments that make `name`, a fragmented MP4 with the main sound, in time with the picture."""
    if media.audio is None:
        raise ValueError("a source without sound has no audio step")
    arguments = [*_source(source, media), "-map", f"0:{media.audio.index}"]
    if plan.mode == "copy":
        arguments += ["-c:a", "copy"]
    else:
        # Silence where the sound begins late or has holes: the encoder would close the gap and lose sync.
        arguments += ["-af", "aresample=async=1:first_pts=0", "-c:a", "aac", "-profile:a", "aac_low"]
        arguments += ["-b:a", str(plan.bit_rate), "-ac", str(plan.channels), "-ar", str(plan.sample_rate)]
    # The header waits for the first fragment, so that it can tell how much of it is the encoder's priming.
    flags = "+empty_moov+delay_moov+default_base_moof"
    late = (media.audio.start_seconds or 0.0) - media.start_seconds
    if plan.mode == "copy" and late > 0:
        # Late by its fragments' own times, as players expect; without priming before zero, which these times
        # cannot tell, there is nothing that needs an edit list.
        flags += "+frag_discont"
    arguments += ["-movflags", flags, "-flush_packets", "1"]
    arguments += ["-frag_duration", str(AUDIO_FRAGMENT_SECONDS * 1_000_000), *_bare(), "-f", "mp4", name]
    return arguments + _read_along(media, media.video.index if media.video else None)


def poster(source: str | Path, media: Media, *, width: int, height: int, keyframes_only: bool) -> list[str]:
    """Return the arguments that make `POSTER`, the most typical picture of the first `POSTER_SECONDS`."""
    if media.video is None:
        raise ValueError("a source without a picture has no poster")
    arguments = ["-skip_frame", "nokey"] if keyframes_only else []
    arguments += ["-t", str(POSTER_SECONDS if keyframes_only else POSTER_SECONDS // 5)]
    arguments += [*_source(source, media), "-map", f"0:{media.video.index}"]
    # Scaled first: the candidates are kept in memory.
    filters = [f"scale={width}:{height}:out_range=pc", "setsar=1", "format=yuvj420p"]
    filters.append(f"thumbnail={POSTER_CANDIDATES}")
    arguments += ["-vf", ",".join(filters), "-frames:v", "1", "-fps_mode", "passthrough", "-c:v", "mjpeg"]
    return [*arguments, "-q:v", "3", "-map_metadata", "-1", "-f", "image2", "-update", "1", POSTER]


def package(video: Path, audio: Path | None, *, video_shift: float) -> list[str]:
    """Return the arguments that stitch the parts into `PACKAGE` by copy, its index before its pictures.

    `video_shift` is in seconds: how much later than written libavformat shows the pictures of the video part.
    """
    # Without -copyts each input would begin at zero, whatever their distance was.
    arguments = ["-copyts"]
    if video_shift:
        arguments += ["-itsoffset", f"{-video_shift:.6f}"]
    arguments += [*_own(video)]
    if audio is not None:
        arguments += [*_own(audio)]
    arguments += ["-map", "0:v:0"]
    if audio is not None:
        arguments += ["-map", "1:a:0"]
    arguments += ["-c", "copy", "-video_track_timescale", str(TIMESCALE), *_bare()]
    return [*arguments, "-movflags", "+faststart", "-f", "mp4", PACKAGE]


def protocols(target: str | Path) -> tuple[str, ...]:
    """Return the only protocols that `target` may be opened with."""
    return ("file",) if isinstance(target, Path) else ("http", "tcp")


def _source(source: str | Path, media: Media) -> list[str]:
    return _input(source, container=media.container, formats=VIDEO_FORMATS)


def _own(part: Path) -> list[str]:
    return _input(part, container=OWN_FORMAT, formats=(OWN_FORMAT,))


def _input(target: str | Path, *, container: str, formats: Sequence[str]) -> list[str]:
    arguments = ["-protocol_whitelist", ",".join(protocols(target)), "-format_whitelist", ",".join(formats)]
    arguments += ["-f", container, "-max_streams", str(MAX_STREAMS), "-max_pixels", str(MAX_PIXELS)]
    # Not -multiple_requests: with connections kept open ffmpeg 9.0.2 waits for ever at the end of a cut AVI.
    # A prefix keeps a path that begins with a dash, or holds a colon, from being read as something else.
    return [*arguments, "-i", f"file:{target}" if isinstance(target, Path) else target]


def _read_along(media: Media, other: int | None) -> list[str]:
    if other is None or media.container not in FLOATING_START_FORMATS:
        return []
    return ["-map", f"0:{other}", "-c", "copy", "-f", "null", "-"]


def _bare() -> list[str]:
    """No tags and no chapters: phones write the place and the owner there."""
    return ["-map_metadata", "-1", "-map_chapters", "-1"]


def _picture(media: Media) -> VideoTrack:
    if media.video is None:
        raise ValueError("a source without a picture has no video step")
    return media.video


def _encode(
    source: str | Path,
    media: Media,
    plan: VideoPlan,
    chunk: Chunk,
    files: Sequence[tuple[Rung, str]],
    *,
    threads: int | None,
) -> list[str]:
    count = ["-threads", str(threads)] if threads is not None else []
    arguments = [] if chunk.is_whole else _seek(plan, chunk)
    arguments += [*count, *_source(source, media)]
    if threads is not None:
        arguments += ["-filter_complex_threads", str(threads)]
    arguments += ["-filter_complex", _graph(media, plan, chunk, [rung for rung, _ in files])]
    for number, (rung, name) in enumerate(files):
        arguments += [
            "-map",
            f"[v{number}]",
            *_x264(plan, rung, chunk),
            *count,
            *_keyframes(media, plan, chunk),
        ]
        if not chunk.is_whole:
            arguments += ["-output_ts_offset", f"{_ticks(chunk.start_seconds) / TIMESCALE:.6f}"]
        arguments += _fragmented(name)
    return arguments + _read_along(media, media.audio.index if media.audio else None)


def _seek(plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Go to the keyframe that the chunk begins with, or an earlier one, and leave all times as they are."""
    if chunk.start_seconds == 0:
        return ["-copyts"]
    is_looking_back = plan.deinterlace or plan.frame_rate is not None
    place = chunk.start_seconds + (-CONTEXT_SECONDS if is_looking_back else BORDER_SECONDS)
    return ["-copyts", "-noaccurate_seek", "-ss", f"{max(place, 0.0):.6f}"]


def _fragmented(name: str) -> list[str]:
    arguments = ["-video_track_timescale", str(TIMESCALE), "-movflags", FRAGMENTED, "-flush_packets", "1"]
    return [*arguments, "-avoid_negative_ts", "disabled", *_bare(), "-f", "mp4", name]


def _graph(media: Media, plan: VideoPlan, chunk: Chunk, rungs: Sequence[Rung]) -> str:
    """One decode for all: each rung is made from the next larger one."""
    track = _picture(media)
    filters = ["bwdif=mode=send_frame:deint=all"] if plan.deinterlace else []
    if plan.frame_rate is not None:
        filters.append(f"fps={_ratio(plan.frame_rate)}")
    if not chunk.is_whole:
        filters += _trim(media, chunk)
    is_rgb = not (track.pixel_format or "yuv").startswith(LUMA_FORMATS)
    matrix = ":out_color_matrix=bt709" if is_rgb else ""
    # ffmpeg has already turned the picture as the source asks; these are the sizes after that.
    filters.append(f"scale={rungs[0].width}:{rungs[0].height}:flags=bicubic:out_range=tv{matrix}")
    is_hd = min(track.width, track.height) >= HD_SHORT_SIDE
    if is_rgb or (track.color_space is None and is_hd):
        # Said aloud, or a player takes the scaled-down picture for BT.601 and shows other colours.
        filters.append("setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709")
    chain = f"[0:{track.index}]" + ",".join([*filters, "setsar=1", "format=yuv420p"])
    for number, rung in enumerate(rungs[1:]):
        chain += f",split=2[v{number}][s{number}];"
        chain += f"[s{number}]scale={rung.width}:{rung.height}:flags=bicubic,setsar=1"
    return f"{chain}[v{len(rungs) - 1}]"


def _trim(media: Media, chunk: Chunk) -> list[str]:
    """Keep the chunk's frames, by their times in the source, and count their times from its start.

    Whole ticks are subtracted: fractions would be rounded in another way in the next chunk.
    """
    start, end = media.start_seconds + chunk.start_seconds, None
    bounds = [f"start={start - BORDER_SECONDS:.6f}"] if chunk.start_seconds > 0 else []
    if chunk.end_seconds is not None:
        end = media.start_seconds + chunk.end_seconds
        bounds.append(f"end={end - BORDER_SECONDS:.6f}")
    zero = _ticks(media.start_seconds) + _ticks(chunk.start_seconds)
    return [f"trim={':'.join(bounds)}", f"settb=1/{TIMESCALE}", f"setpts=PTS-({zero})"]


def _x264(plan: VideoPlan, rung: Rung, chunk: Chunk) -> list[str]:
    # Frames keep their own times: those with the time of another one are dropped and counted, none is invented.
    arguments = ["-fps_mode", "vfr", "-enc_time_base", f"1:{TIMESCALE}"]
    arguments += ["-c:v", "libx264", "-preset", plan.preset, "-crf", str(rung.crf), "-profile:v", "high"]
    if chunk.ordinal == 0 and not chunk.is_whole and plan.preset in PATIENT_PRESETS:
        arguments += ["-x264-params", HASTE]
    return [*arguments, "-maxrate", str(rung.max_rate), "-bufsize", str(2 * rung.max_rate)]


def _keyframes(media: Media, plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Keyframes by time, so that every size of one video has them at the same places whatever its frame rate."""
    places = f"expr:gte(t,n_forced*{KEYFRAME_SECONDS})"
    if plan.has_source_keyframes:
        places = "source"
    elif not chunk.is_whole and (end := chunk.end_seconds or plans.end(media)) is not None:
        # Evenly, or the chunk would end with a segment of a few frames.
        length = end - chunk.start_seconds
        places = f"expr:gte(t,n_forced*{length / max(1, round(length / KEYFRAME_SECONDS)):.6f})"
    return ["-force_key_frames", places, "-sc_threshold", "0", "-flags", "+cgop"]


def _ticks(seconds: float) -> int:
    return round(seconds * TIMESCALE)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
