"""How ffmpeg is made to tell when a source's clock goes back, as in recordings put one after the other. Pure."""

# By so much: what lies below is a demuxer's guess at times that are not told, or a recorder's clock being set.
BACK_SECONDS = 0.25
# ffmpeg prints a bare number, which may stand in the middle of what other threads say: milliseconds, and this, by
# which it is known.
MARK = 4_250_000_000_000
_WARNING = 24  # AV_LOG_WARNING


def watched_picture() -> str:
    """Return the filter that passes every frame, and tells of each that is shown before the one before it."""
    return f"select={_WATCH}"


def watched_sound() -> str:
    """Return the same for sound."""
    return f"aselect={_WATCH}"


def watched_packets() -> str:
    """Return an expression of the filter `setts` that is 0, and tells of each packet that goes back."""
    return f"0*{_told('(PREV_INDTS-DTS)*TB')}"


def _told(back: str) -> str:
    # Times that are not known are very far away.
    return f"if(between({back}\\,{BACK_SECONDS}\\,1e9)\\,print({MARK}+1000*{back}\\,{_WARNING})\\,0)"


_WATCH = f"1+0*{_told('(prev_t-t)')}"
