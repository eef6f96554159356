"""The arguments that make the picture: whole or by chunks, in all rungs from one decode. Pure."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from watcher import plan as plans
from watcher.command import clock, colour, fragmented, inputs
from watcher.media import Media
from watcher.plan import Chunk, Plan, Rung, VideoPlan

VIDEO = "video.mp4"
# Players switch and seek at keyframes: 2 s is HLS practice, and more of them cost quality.
KEYFRAME_SECONDS = 2
ENDLESS_GOP = "1000000"  # frames: else x264 adds keyframes of its own where a copied rung has none for 250
# A viewer waits for the first chunk: these settings take a third of its time, for some more bits. The stream's
# head must be the same in all chunks, so they may not show in it: without its psychovisual part, which needs
# subme 6, x264 would leave out the offset of -2 that it gives chroma for it. With so little search, parts of blocks
# that move on their own are not found well enough to be worth it.
HASTE = "subme=1:me=dia:partitions=i8x8:trellis=0:rc-lookahead=8:chroma-qp-offset=-2"
PATIENT_PRESETS = ("fast", "medium")
# At the same CRF a picture made in haste has 2.1 to 2.7 dB less. This makes up for 0.9 dB of it in films and 1.5 in
# drawings, for a fifth more bits.
HASTE_CRF = 1.5
# Keeps the CRF, too, out of the head.
STITCHABLE = "stitchable=1"
# A chunk's borders lie this much before its keyframes: no frame is as near to another one, and no rounding of
# times then decides to which chunk a frame belongs.
BORDER_SECONDS = 0.0005
# A picture that begins so much later than the sound is drawn out to the start; less is not seen, and would only
# make its frame rate look uneven.
LATE_SECONDS = 0.02
# Frames nearer than this to the one before share its time: where clocks count milliseconds, muxers put them one
# apart. They would not be seen, nor would x264 have any bits for them; at 2 ms it has.
LEAST_SECONDS = 0.0015
# A frame that shares its time is shown at most this much later: containers' clocks are hardly coarser, and more
# would be seen against the sound.
MOST_LATE_SECONDS = 0.1
# Before any picture, by more than one is shown for: the encoder drops what is shown there, and counts it.
LONG_AGO_SECONDS = 10_000_000
# What deinterlacing and lowering the frame rate look back on; the seek then ends at an earlier keyframe.
CONTEXT_SECONDS = 1.0


def video(
    source: str | Path, media: Media, plan: VideoPlan, *, name: str = VIDEO, is_decoded: bool = False
) -> list[str]:
    """Return the arguments that make `name`, a fragmented MP4 with the main picture only, of the top rung.

    With `is_decoded` a copied picture is decoded too, and thrown away, so that damage is noticed.
    """
    if plan.mode == "encode":
        rung = plans.top(plan)
        return _encode(source, media, plan, Chunk(0, 0.0, None, None), [(rung, name)], threads=None)
    track = inputs.picture(media)
    # A third of the work of decoding, and of no consequence here.
    hasty = ["-skip_loop_filter", "all"] if is_decoded else []
    arguments = [
        *hasty,
        *inputs.source(source, media, track),
        "-map",
        f"0:{track.index}",
        "-c:v",
        "copy",
        *_from_zero(is_watched=True),
        *fragmented.arguments(name),
    ]
    if is_decoded:
        arguments += ["-map", f"0:{track.index}", "-fps_mode", "passthrough", "-f", "null", "-"]
    return arguments + inputs.read_along(media, media.audio.index if media.audio else None)


def video_chunk(
    source: str | Path,
    media: Media,
    plan: Plan,
    chunk: Chunk,
    *,
    threads: int | None,
    mend: Literal["start", "still"] | None = None,
) -> list[str]:
    """Return the arguments that make one fragmented MP4 for each of the plan's `chunked_rungs`.

    Their names are those that `rung_file` gives. Each holds the frames of `chunk` at their times in the video.
    For a damaged source, `mend`: the first frame that there is, is shown from the "start" of the chunk; or only
    a "still", the first frame from there on, however much later, stands for all of the chunk.
    """
    files = [(rung, rung_file(rung)) for rung in plan.chunked_rungs]
    return _encode(source, media, plan.video, chunk, files, threads=threads, mend=mend)


def rung_file(rung: Rung) -> str:
    """Return the name of the file that a chunk of `rung` is made in."""
    return f"video-{rung.name}.mp4"


def before_chunk(source: str | Path, media: Media, plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Return the arguments that decode only what is decoded, and thrown away, on the way to a chunk's start."""
    track = inputs.picture(media)
    # One thread: others would decode further ahead.
    arguments = [*_seek(plan, chunk), "-threads", "1", *inputs.source(source, media, track)]
    end = media.start_seconds + chunk.start_seconds - BORDER_SECONDS
    return [*arguments, "-map", f"0:{track.index}", "-vf", f"trim=end={end:.6f}", "-f", "null", "-"]


def _encode(
    source: str | Path,
    media: Media,
    plan: VideoPlan,
    chunk: Chunk,
    files: Sequence[tuple[Rung, str]],
    *,
    threads: int | None,
    mend: Literal["start", "still"] | None = None,
) -> list[str]:
    if mend == "still":
        chunk = dataclasses.replace(chunk, end_seconds=None)
    track = inputs.picture(media)
    count = ["-threads", str(threads)] if threads is not None else []
    arguments = [] if chunk.is_whole else _seek(plan, chunk)
    arguments += [*count, *inputs.source(source, media, track)]
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
            *(_from_zero() if chunk.start_seconds == 0 or mend else []),
            *(["-frames:v", "1"] if mend == "still" else []),
        ]
        if not chunk.is_whole:
            arguments += ["-output_ts_offset", f"{_ticks(chunk.start_seconds) / fragmented.TIMESCALE:.6f}"]
        arguments += fragmented.arguments(name)
    return arguments + inputs.read_along(media, media.audio.index if media.audio else None)


def _seek(plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Go to the keyframe that the chunk begins with, or an earlier one, and leave all times as they are."""
    if chunk.start_seconds == 0:
        return ["-copyts"]
    is_looking_back = plan.deinterlace or plan.frame_rate is not None
    place = chunk.start_seconds + (-CONTEXT_SECONDS if is_looking_back else BORDER_SECONDS)
    return ["-copyts", "-noaccurate_seek", "-ss", f"{max(place, 0.0):.6f}"]


def _graph(media: Media, plan: VideoPlan, chunk: Chunk, rungs: Sequence[Rung]) -> str:
    """One decode for all: each rung is made from the next larger one."""
    track = inputs.picture(media)
    filters = [clock.watched_picture()]
    if plan.deinterlace:
        filters.append(f"bwdif=mode=send_frame:deint=all:parity={'bff' if track.bottom_first else 'auto'}")
    if plan.frame_rate is not None:
        filters.append(_paced(plan.frame_rate))
    if not chunk.is_whole:
        filters += _trim(media, chunk)
    filters.append(_apart(track.frame_rate, chunk))
    # ffmpeg has already turned the picture as the source asks; these are the sizes after that.
    filters += colour.film(track, rungs[0].width, rungs[0].height)
    chain = f"[0:{track.index}]" + ",".join(filters)
    for number, rung in enumerate(rungs[1:]):
        chain += f",split=2[v{number}][s{number}];"
        chain += f"[s{number}]scale={rung.width}:{rung.height}:flags=bicubic,setsar=1"
    return f"{chain}[v{len(rungs) - 1}]"


def _paced(rate: Fraction) -> str:
    """Keep one frame of each span of `1 / rate`, at its own time; where they are rarer, all."""
    span = f"floor({{}}*{_ratio(rate)}+0.001)"
    return f"select='isnan(prev_selected_t)+gt({span.format('t')},{span.format('prev_selected_t')})'"


def _apart(rate: Fraction | None, chunk: Chunk) -> str:
    """Move frames that share their time with the one before to where they are due, and drop those without a place.

    A container with a coarse clock gives several frames one time. The others keep their own times: one that comes
    when an earlier frame was moved to its place is dropped, so that nothing stays late. So is one whose time goes
    back.
    """
    moved, due = "0", "0"
    if rate is not None:
        step = float(1 / rate)
        due = f"ld(0)+{step:.6f}"
        most = f"if(lt(abs(T-PREV_INT),{LEAST_SECONDS}),{MOST_LATE_SECONDS},{0.99 * step:.6f})"
        moved = f"lte({due}-T,{most})"
        if chunk.end_seconds is not None:
            moved += f"*lt({due},{chunk.end_seconds - chunk.start_seconds - BORDER_SECONDS:.6f})"
    is_apart = f"isnan(PREV_INT)+gte(T-ld(0),{LEAST_SECONDS})"
    return f"setpts='if({is_apart},0*st(0,T)+PTS,if({moved},round(st(0,{due})/TB),-{LONG_AGO_SECONDS}/TB))'"


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
    return [f"trim={':'.join(bounds)}", f"settb=1/{fragmented.TIMESCALE}", f"setpts=PTS-({zero})"]


def _x264(plan: VideoPlan, rung: Rung, chunk: Chunk) -> list[str]:
    # Frames keep their own times: those with the time of another one are dropped and counted, none is invented.
    arguments = ["-fps_mode", "vfr", "-enc_time_base", f"1:{fragmented.TIMESCALE}"]
    is_hasty = chunk.ordinal == 0 and not chunk.is_whole and plan.preset in PATIENT_PRESETS
    crf = rung.crf - HASTE_CRF if is_hasty else rung.crf
    arguments += ["-c:v", "libx264", "-preset", plan.preset, "-crf", str(crf), "-profile:v", "high"]
    arguments += ["-x264-params", f"{STITCHABLE}:{HASTE}" if is_hasty else STITCHABLE]
    return [*arguments, "-maxrate", str(rung.max_rate), "-bufsize", str(2 * rung.max_rate)]


def _from_zero(*, is_watched: bool = False) -> list[str]:
    """Show the first picture from the start, where it comes later than the sound.

    Some players begin every track with what there is, at once, and would lose the sync. Its packet is moved, not
    its frame: x264 would take the distance for what it has to reorder pictures by.
    """
    is_late = f"eq(N\\,0)*gt(PTS*TB\\,{LATE_SECONDS})"
    watch = f"+{clock.watched_packets()}" if is_watched else ""
    return ["-bsf:v", f"setts=pts=if({is_late}\\,0\\,PTS):dts=if({is_late}\\,DTS-PTS\\,DTS){watch}"]


def _keyframes(media: Media, plan: VideoPlan, chunk: Chunk) -> list[str]:
    """Keyframes by time, so that every size of one video has them at the same places whatever its frame rate."""
    places = f"expr:gte(t,n_forced*{KEYFRAME_SECONDS})"
    only: list[str] = []
    if plan.has_source_keyframes:
        places, only = "source", ["-g", ENDLESS_GOP]
    elif not chunk.is_whole and (end := chunk.end_seconds or plans.end(media)) is not None:
        # Evenly, or the chunk would end with a segment of a few frames.
        length = end - chunk.start_seconds
        places = f"expr:gte(t,n_forced*{length / max(1, round(length / KEYFRAME_SECONDS)):.6f})"
    return ["-force_key_frames", places, *only, "-sc_threshold", "0", "-flags", "+cgop"]


def _ticks(seconds: float) -> int:
    return round(seconds * fragmented.TIMESCALE)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
