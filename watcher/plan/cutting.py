"""Where a video is cut: growing chunks that begin at its keyframes. Pure."""

from watcher.media import Media
from watcher.plan.values import Chunk

# Lengths wanted of the chunks, in seconds; the last one repeats. Short ones first, because a viewer waits for them;
# then longer ones, because each costs the start of two programs. Each is half as long again as the one before: where a
# film is encoded half as fast again as it plays, the next one is there when a viewer comes to it.
CHUNK_SECONDS = (4.0, 6.0, 9.0, 13.0, 20.0, 30.0, 45.0, 60.0)
LAST_CHUNK = 1.5  # a chunk may be this much longer than wanted when it is the last one
# Towards the end they shrink again: of what is left one takes no more than half, unless that is shorter than this.
# So all seats have something to do to the last, and little is left to be uploaded when nothing more is encoded.
SHORT_SECONDS = 4.0


def chunks(media: Media) -> tuple[Chunk, ...]:
    """Return the chunks of `media`: growing, each beginning at a keyframe; one for all without an index."""
    track = media.video
    if track is None:
        raise ValueError("there is no picture to cut")
    last = end(media)
    if last is None or track.keyframes is None:
        return (Chunk(0, 0.0, None, track.frames),)
    borders: list[tuple[float, int | None]] = [(0.0, 0)]
    # Not the first one: where the picture begins late, there would be nothing before it to show.
    candidates = [(key.seconds - media.start_seconds, key.frames_before) for key in track.keyframes[1:]]
    while True:
        start = borders[-1][0]
        grown = CHUNK_SECONDS[min(len(borders), len(CHUNK_SECONDS)) - 1]
        wanted = min(grown, max((last - start) / 2, SHORT_SECONDS))
        later = [one for one in candidates if start + wanted / 2 <= one[0] <= last - wanted / 2]
        if last - start <= LAST_CHUNK * wanted or not later:
            break
        borders.append(min(later, key=lambda one: abs(one[0] - start - wanted)))
    ends: list[tuple[float | None, int | None]] = [*borders[1:], (None, track.frames)]
    return tuple(
        Chunk(number, start, until, _difference(before, after))
        for number, ((start, before), (until, after)) in enumerate(zip(borders, ends, strict=True))
    )


def end(media: Media) -> float | None:
    """Return where the picture ends on the video's clock, as far as that can be known."""
    track = media.video
    if track is None or not media.is_duration_trusted:
        return None
    if track.duration_seconds is None:
        return media.duration_seconds
    return (track.start_seconds or 0.0) - media.start_seconds + track.duration_seconds


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
