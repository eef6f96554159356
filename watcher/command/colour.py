"""The filters that bring any picture to what every screen shows: the right size, opaque, 8 bits, no HDR. Pure."""

from watcher.media import RARE_MATRICES, VideoTrack

# How the names of pixel formats begin that hold brightness and colour apart; the others are RGB.
LUMA_FORMATS = ("yuv", "yuy", "nv", "gray", "ya", "p0", "p2", "p4", "uyvy", "y2", "xv", "ayuv", "vuy")
# Untagged pictures are BT.709 from this short side on, and BT.601 below: what players assume.
HD_SHORT_SIDE = 720
# A picture may differ so many pixels from its place, in either direction, before it is bars that fill the rest:
# sizes are rounded to even numbers.
ROUNDING_PIXELS = 2.5
# To light, in units of 100 nits; to the colours of BT.709; highlights bent down; and to a signal again.
TONE_MAPPING = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
SAID_BT709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


def film(track: VideoTrack, width: int, height: int) -> list[str]:
    """Return the filters from a decoded picture to one of the film: 4:2:0 in limited range, square pixels."""
    filters = [*_opened(track), f"{_fitted(track, width, height)}:out_range=tv"]
    if track.has_other_colours:
        filters += [_to_bt709(track)]
    elif _is_rgb(track):
        filters[-1] += ":out_color_matrix=bt709"
    if track.has_other_colours or _is_rgb(track):
        filters += ["format=yuv420p", SAID_BT709]
    return [*filters, f"pad={width}:{height}:-1:-1", "setsar=1", "format=yuv420p"]


def still(track: VideoTrack, width: int, height: int) -> list[str]:
    """Return the filters from a decoded picture to one of a JPEG, which is always BT.601 in full range."""
    filters = [*_opened(track), _fitted(track, width, height)]
    if track.has_other_colours:
        filters += [_to_bt709(track), SAID_BT709, "scale=flags=bicubic"]
    filters[-1] += ":out_range=pc:out_color_matrix=bt601"
    return [*filters, "format=yuvj420p", f"pad={width}:{height}:-1:-1", "setsar=1"]


def _opened(track: VideoTrack) -> list[str]:
    """Say what the source does not, and put black behind what is transparent, as a player's window is."""
    said: dict[str, str] = {}
    if track.color_space is None and not _is_luma_free(track):
        is_hd = min(track.width, track.height) >= HD_SHORT_SIDE
        said["colorspace"] = "bt709" if is_hd else "smpte170m"
        if is_hd:
            said |= {"color_primaries": "bt709", "color_trc": "bt709"}
    if track.has_other_colours:
        said["color_trc"] = track.color_transfer or "bt709"
        primaries = track.color_primaries or ("bt2020" if track.is_hdr else "bt709")
        said["color_primaries"] = primaries
        if not _is_luma_free(track):
            said["colorspace"] = track.color_space or ("bt2020nc" if primaries == "bt2020" else "bt709")
            said["range"] = track.color_range or "tv"
    filters = ["setparams=" + ":".join(f"{key}={value}" for key, value in said.items())] if said else []
    if track.color_space in RARE_MATRICES:  # which swscale refuses, even to resize
        filters.append(f"zscale=m={'bt2020nc' if track.color_primaries == 'bt2020' else 'bt709'}")
    if track.has_alpha:
        filters += ["format=gbrap", "premultiply=inplace=1"]
    return filters


def _fitted(track: VideoTrack, width: int, height: int) -> str:
    """Scale to a size; should pictures of another shape come later in the file, inside it, with room for bars."""
    shape = "a" if track.has_odd_aspect else "dar"
    rounding = ROUNDING_PIXELS
    is_same = f"lte(abs({width}-{height}*{shape}),{rounding})+lte(abs({height}-{width}/{shape}),{rounding})"
    across = f"if({is_same},{width},max(2,2*floor(min({width},{height}*{shape})/2)))"
    down = f"if({is_same},{height},max(2,2*floor(min({height},{width}/{shape})/2)))"
    return f"scale=w='{across}':h='{down}':flags=bicubic"


def _to_bt709(track: VideoTrack) -> str:
    if track.is_hdr:
        return TONE_MAPPING
    return "zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"


def _is_luma_free(track: VideoTrack) -> bool:
    return not (track.pixel_format or "yuv").startswith(LUMA_FORMATS)


def _is_rgb(track: VideoTrack) -> bool:
    """Whether the picture is RGB when it is scaled."""
    return track.has_alpha or _is_luma_free(track)
