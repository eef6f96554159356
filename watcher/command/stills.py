"""The arguments that make still pictures, from keyframes where there are any. Pure."""

from pathlib import Path
from typing import Literal

from watcher.command import colour, inputs
from watcher.media import Media
from watcher.plan import StillsPlan, StoryboardPlan

POSTER = "poster.jpg"
SHEETS = "sheet-%d.jpg"  # numbered from 0
POSTER_CANDIDATES = 12  # pictures held in memory to choose among: a keyframe each two or three seconds
# A tenth of a picture that is worth looking at is brighter than this, of 255: not one from a fade or a night.
BRIGHT = 64
QUALITY = "3"  # of JPEG, from 2 to 31: no artefact is seen at full size
SHEET_QUALITY = "5"  # a third smaller; tiles are looked at in passing
# Which pictures are decoded for a storyboard: the first keyframe of each tile, every keyframe, or all.
Decoded = Literal["firsts", "keyframes", "all"]
# A decoder that is given keyframes alone still waits for what lies between them, and turns them round where GOPs are
# open. ffmpeg then goes by the times of decoding, and shows pictures tiles too late; without those each picture
# keeps its own time, and `select` drops what comes out behind a later one.
_OWN_TIMES = "setts=pts='if(eq(PTS,NOPTS),DTS,PTS)':dts=NOPTS"


def poster(
    source: str | Path,
    media: Media,
    plan: StillsPlan,
    *,
    seconds: float,
    keyframes_only: bool,
    is_bright: bool,
) -> list[str]:
    """Return the arguments that make `POSTER`, the most typical picture of the first `seconds`.

    With `is_bright` only of those that are not dark; where there is none ffmpeg makes no file.
    """
    # Scaled first: the candidates are kept in memory.
    filters = colour.still(inputs.picture(media), plan.width, plan.height)
    if is_bright:
        filters += [
            "signalstats",
            f"metadata=select:key=lavfi.signalstats.YHIGH:value={BRIGHT}:function=greater",
        ]
    filters.append(f"thumbnail={POSTER_CANDIDATES}")
    arguments = [*_keyframes(keyframes_only), "-t", f"{seconds:g}", *_picture(source, media, filters)]
    return [*arguments, "-frames:v", "1", *_jpeg(QUALITY), "-update", "1", POSTER]


def storyboard(source: str | Path, media: Media, plan: StoryboardPlan, *, decoded: Decoded) -> list[str]:
    """Return the arguments that make the `SHEETS` of a storyboard, whose last tiles repeat the last picture."""
    tile = f"floor({{}}/{plan.interval_seconds:g})"
    filters = [
        # Each tile shows the first picture of its stretch of time; where keyframes are rare, some repeat the one
        # before. A clip of less than an interval has one tile all the same.
        f"select='isnan(prev_selected_t)+gt({tile.format('t')},{tile.format('prev_selected_t')})'",
        f"fps=1/{plan.interval_seconds:g}:start_time=0:round=down:eof_action=pass",
        *colour.still(inputs.picture(media), plan.tile_width, plan.tile_height),
        "tpad=stop=-1:stop_mode=clone",
        f"trim=end_frame={plan.tiles}",
        f"tile={plan.columns}x{plan.rows}",
    ]
    arguments = _keyframes(decoded != "all")
    if decoded == "firsts":
        arguments += ["-bsf:v", f"{_one_for_each(plan.interval_seconds)},{_OWN_TIMES}"]
    arguments += _picture(source, media, filters)
    return [*arguments, "-frames:v", str(plan.sheets), *_jpeg(SHEET_QUALITY), "-start_number", "0", SHEETS]


def _keyframes(is_wanted: bool) -> list[str]:
    return ["-skip_frame", "nokey"] if is_wanted else []


def _one_for_each(seconds: float) -> str:
    """Return the bitstream filter that drops all packets but the first keyframe of each stretch of so many `seconds`.

    Before the decoder, which would spend a minute on the keyframes of a long film. What has no time is kept.
    """
    place = f"floor((dts-startdts)*tb/{seconds:g})+1"  # 0 is what a variable holds before it is set
    kept = f"if(eq({place},ld(0)),1,0*st(0,{place}))"
    return "noise=drop='{}'".format(f"if(key,if(eq(dts,nopts),0,{kept}),1)")


def _picture(source: str | Path, media: Media, filters: list[str]) -> list[str]:
    track = inputs.picture(media)
    return [*inputs.source(source, media, track), "-map", f"0:{track.index}", "-vf", ",".join(filters)]


def _jpeg(quality: str) -> list[str]:
    options = ["-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", quality, "-map_metadata", "-1"]
    return [*options, "-f", "image2"]
