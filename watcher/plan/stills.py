"""What becomes of still pictures: the poster's size, and how many pictures a storyboard shows. Pure."""

import math

from watcher.media import Media
from watcher.plan.cutting import end
from watcher.plan.values import StillsPlan, StoryboardPlan, VideoPlan

TILE_PIXELS = 160  # of the longer side: large enough to tell scenes apart under a pointer
# Every two seconds, as a viewer moves a pointer over the bar of a short clip; in a longer one the hundred pictures
# of one sheet lie up to six seconds apart, and from half an hour on there are three sheets. All stay below a megabyte.
INTERVAL_SECONDS = 2.0
LONG_INTERVAL_SECONDS = 6.0
SHEET_TILES = 100
MOST_TILES = 300
COLUMNS = ROWS = 10  # sheets of 1600x900: every device decodes them at once
LAST_TILE = 0.25  # of an interval: what is left over and shorter belongs to the tile before
UNKNOWN_SECONDS = 600.0  # what is prepared for where nothing is known of the length


def poster(video: VideoPlan) -> StillsPlan:
    """Return the plan of a poster as large as the top rung."""
    return StillsPlan(width=video.width, height=video.height)


def storyboard(media: Media, video: VideoPlan) -> StoryboardPlan:
    """Return the plan of a storyboard for all of the video."""
    seconds = end(media) or media.duration_seconds or UNKNOWN_SECONDS
    usual = min(max(INTERVAL_SECONDS, seconds / SHEET_TILES), LONG_INTERVAL_SECONDS)
    interval = max(usual, seconds / MOST_TILES)
    tiles = max(1, math.ceil(seconds / interval - LAST_TILE))
    scale = min(1.0, TILE_PIXELS / max(video.width, video.height))
    columns = min(COLUMNS, tiles)
    return StoryboardPlan(
        tiles=tiles,
        interval_seconds=round(interval, 3),
        tile_width=_even(video.width * scale),
        tile_height=_even(video.height * scale),
        columns=columns,
        rows=min(ROWS, -(-tiles // columns)),
    )


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))
