"""When the MP4 is begun: while the last of a film is made, the line has room for what there is of it. Pure."""

from watcher.media import Media
from watcher.plan.cutting import end
from watcher.plan.values import Plan

# So much of a film is there by then. With more, a slow line could not take it all before the last chunk is made; with
# less, more is left for the end.
SHARE = 0.9
# Of a film that comes to less, nothing can be gained: B2 takes parts of 5 MB at least, and the first one goes up last.
LEAST_BYTES = 15_000_000


def chunks_ahead(media: Media, plan: Plan) -> int | None:
    """Return how many chunks the beginning of the MP4 is stitched from; None where it is not worth it.

    0 is for a copied picture, which is there as a whole long before its smaller sizes.
    """
    last = end(media)
    if last is None or not plan.chunks:
        return None
    borders = [chunk.end_seconds for chunk in plan.chunks if chunk.end_seconds is not None]
    there = [border for border in borders if border <= SHARE * last]
    if plan.video.mode == "copy":
        count, seconds = 0, last
    elif there:
        count, seconds = len(there), there[-1]
    else:
        return None
    return count if seconds * plan.rungs[0].max_rate / 8 >= LEAST_BYTES else None
