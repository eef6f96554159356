"""The arguments that make still pictures, from keyframes where there are any. Pure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from watcher.command import colour, fragmented, inputs
from watcher.media import Media
from watcher.plan import StillsPlan, StoryboardPlan

POSTER = "poster.jpg"
TILE = "tile-%d.yuv"  # numbered by stretches of time, from 0
TILES = "tiles.yuv"  # all of them, in order
KEYFRAMES = "keyframes.mov"  # one for each tile
SHEETS = "sheet-%d.jpg"  # numbered from 0
RAW_FORMAT = "rawvideo"
PIXELS = "yuvj420p"  # of tiles and of JPEG
POSTER_CANDIDATES = 12  # pictures held in memory to choose among
POSTER_SECONDS = 2.5  # from one to the next, so that they are those of half a minute
# A tenth of a picture that is worth looking at is brighter than this, of 255: not one from a fade or a night.
BRIGHT = 64
QUALITY = "3"  # of JPEG, from 2 to 31: no artefact is seen at full size
SHEET_QUALITY = "5"  # a third smaller; tiles are looked at in passing
# Which pictures are decoded: the first keyframe of each stretch of time, every keyframe, or all.
Decoded = Literal["firsts", "keyframes", "all"]
# When a packet is shown: AVI and MPEG leave that out of what is decoded before others, which is as much later as most
# encoders need for two B-frames. Files without a container tell no times at all. No times of decoding, which ffmpeg
# would go by where keyframes come without what lies between them.
_DECODED = "if(eq(DTS,NOPTS),N*DURATION,DTS)"
_OWN_TIMES = f"setts=pts='if(eq(PTS,NOPTS),{_DECODED}+3*DURATION,PTS)':dts=NOPTS"
# H.264 counts pictures modulo a small number. Of keyframes alone, where GOPs are open, the decoder then makes out a
# wrong order, and drops what it takes for late. It begins anew, and keeps all, where pixels change their shape; from
# one that FFmpeg refuses they change each time.
_EACH_ANEW = "h264_metadata=sample_aspect_ratio=65535/1"
_ROUNDING = 1e-4  # of a stretch, as containers round times
_HIDDEN = -0.005  # seconds: what is shown before is not shown, by an edit list


def poster(
    source: str | Path,
    media: Media,
    plan: StillsPlan,
    *,
    seconds: float,
    decoded: Decoded,
    is_bright: bool,
) -> list[str]:
    """Return the arguments that make `POSTER`, the most typical picture of the first `seconds`.

    With `is_bright` only of those that are not dark; where there is none ffmpeg makes no file.
    """
    arguments, filters = _decoded(media, decoded, POSTER_SECONDS)
    # Scaled first: the candidates are kept in memory.
    filters += colour.still(inputs.picture(media), plan.width, plan.height)
    if is_bright:
        filters += [
            "signalstats",
            f"metadata=select:key=lavfi.signalstats.YHIGH:value={BRIGHT}:function=greater",
        ]
    filters.append(f"thumbnail={POSTER_CANDIDATES}")
    arguments += ["-t", f"{seconds:g}", *_picture(source, media, filters)]
    return [*arguments, "-frames:v", "1", *_jpeg(QUALITY), "-update", "1", POSTER]


def stretches(media: Media, plan: StoryboardPlan) -> int:
    """Return how many stretches of time each tile has, of which one picture is decoded.

    Two, where keyframes are rare: in scenes without one, a tile shows the last before, which is seldom the first of
    its own tile.
    """
    gap = media.video.keyframe_gap if media.video is not None else None
    return 2 if gap is not None and gap > plan.interval_seconds else 1


def keyframes(source: str | Path, media: Media, plan: StoryboardPlan) -> list[str]:
    """Return the arguments that copy the first keyframe of each stretch of time to `KEYFRAMES`."""
    track = inputs.picture(media)
    arguments = ["-bsf:v", ",".join(_firsts(media, _seconds(media, plan))), *inputs.late(media)]
    arguments += [*inputs.source(source, media, track), "-map", f"0:{track.index}", "-c", "copy"]
    return [*arguments, *fragmented.bare(), "-f", "mov", KEYFRAMES]


def tiles(
    source: str | Path, media: Media, plan: StoryboardPlan, *, decoded: Decoded, seconds: float | None = None
) -> list[str]:
    """Return the arguments that make what the tiles of a storyboard show, or those of its first `seconds`.

    For each of the `stretches` there is a file `TILE` with the first picture that is decoded, if there is one. They
    may come in any order.
    """
    arguments, filters = _decoded(media, decoded, _seconds(media, plan))
    if seconds is not None:
        arguments += ["-t", f"{seconds:g}"]
    arguments += [*inputs.late(media), *_picture(source, media, [*filters, *_tiles(media, plan)])]
    return [*arguments, *_raw()]


def tiles_of(keyframes: Path, media: Media, plan: StoryboardPlan, *, but: Sequence[int]) -> list[str]:
    """Return the arguments that make the same, `but` some, from `KEYFRAMES`."""
    packets, filters = _each_anew(media)
    is_made = "+".join(f"eq({_place('pts*tb', _seconds(media, plan))},{number})" for number in but) or "0"
    arguments = ["-copyts", "-bsf:v", ",".join([f"noise=drop='{is_made}'", *packets])]
    arguments += [*inputs.own(keyframes), "-map", "0:0"]
    return [*arguments, "-vf", ",".join([*filters, *_tiles(media, plan)]), *_raw()]


def sheets(tiles: Path, plan: StoryboardPlan) -> list[str]:
    """Return the arguments that make the `SHEETS` of a storyboard from its `TILES`."""
    size = f"{plan.tile_width}x{plan.tile_height}"
    arguments = ["-pixel_format", PIXELS, "-video_size", size, *inputs.own(tiles, container=RAW_FORMAT)]
    arguments += ["-vf", f"tile={plan.columns}x{plan.rows}", *_jpeg(SHEET_QUALITY)]
    return [*arguments, "-start_number", "0", SHEETS]


def _decoded(media: Media, decoded: Decoded, interval: float) -> tuple[list[str], list[str]]:
    """Return how only those pictures are decoded, of stretches of `interval` seconds, and the filters for that."""
    if decoded == "all":
        return [], []
    arguments = ["-skip_frame", "nokey"]
    if decoded == "keyframes":
        return arguments, []
    packets, filters = _each_anew(media)
    return [*arguments, "-bsf:v", ",".join([*_firsts(media, interval), *packets])], filters


def _firsts(media: Media, interval: float) -> list[str]:
    """Return the bitstream filters that drop all packets but the first keyframe of each stretch of time.

    Before the decoder, which would spend a minute on the keyframes of a long film.
    """
    # 0 is what a variable holds before it is set. Of two keyframes the later one is never decoded before the other.
    number = f"{_place('pts*tb', interval)}+1"
    is_dropped = f"if(eq({number},ld(0)),1,0*st(0,{number}))"
    is_key, unpacked = "key", []
    if inputs.picture(media).codec == "mpeg4":
        # In AVI two pictures may lie in one packet, and hardly anything in the next one, which counts as what the
        # first one is. The decoder would put off one of the two, and decode it instead of what comes next.
        is_key, unpacked = "st(1,key*not(ld(1)))", ["mpeg4_unpack_bframes"]
    is_dropped = f"if({is_key},if(lt(pts*tb,{_HIDDEN}),1,{is_dropped}),1)"
    return [*unpacked, _OWN_TIMES, f"noise=drop='{is_dropped}'"]


def _each_anew(media: Media) -> tuple[list[str], list[str]]:
    """Return the bitstream filters that make a decoder keep each keyframe, and the filters that make up for that."""
    track = inputs.picture(media)
    if track.codec != "h264":
        return [], []
    # After ffmpeg has turned the picture.
    shape = track.sample_aspect if track.rotation in (0, 180) else 1 / track.sample_aspect
    return [_EACH_ANEW], [f"setsar={shape.numerator}/{shape.denominator}"]


def _tiles(media: Media, plan: StoryboardPlan) -> list[str]:
    """Return the filters to the tiles; the time of each is its number, in seconds."""
    interval = _seconds(media, plan)
    place = _place("t", interval)
    is_next = f"isnan(prev_selected_t)+not(eq({place},{_place('prev_selected_t', interval)}))"
    return [
        f"select='lt({place},{plan.tiles * stretches(media, plan)})*({is_next})'",
        *colour.still(inputs.picture(media), plan.tile_width, plan.tile_height),
        f"setpts='{_place('T', interval)}/TB'",
        "settb=1",
    ]


def _seconds(media: Media, plan: StoryboardPlan) -> float:
    return plan.interval_seconds / stretches(media, plan)


def _place(seconds: str, interval: float) -> str:
    """Return the expression of the number of the stretch of time that a time lies in."""
    return f"floor(max(0,{seconds})/{interval:g}+{_ROUNDING:g})"


def _raw() -> list[str]:
    arguments = ["-fps_mode", "passthrough", "-enc_time_base", "1:1", "-c:v", "rawvideo", "-f", "image2"]
    return [*arguments, "-frame_pts", "1", TILE]


def _picture(source: str | Path, media: Media, filters: list[str]) -> list[str]:
    track = inputs.picture(media)
    return [*inputs.source(source, media, track), "-map", f"0:{track.index}", "-vf", ",".join(filters)]


def _jpeg(quality: str) -> list[str]:
    options = ["-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", quality, "-map_metadata", "-1"]
    return [*options, "-f", "image2"]
