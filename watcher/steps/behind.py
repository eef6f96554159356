"""How the sound stands back behind the picture that a viewer waits for.

Sound is made faster than pictures, and is read from all over a film: it would take the processors from the first
chunks, and for a while a slow line from every chunk.
"""

import math
import time
from collections.abc import Callable
from datetime import timedelta

from watcher import plan, source, stats
from watcher.models import StepKind
from watcher.steps.attempt import Attempt
from watcher.steps.growing import Growing

_TURN_SECONDS = 0.2  # how often it is asked whether the first chunk is made: of a viewer's two seconds
# The sound leaves a slow line to the picture for so long before each of its blocks, and for as much less before a
# smaller one. Mostly the picture has brought it by then; where a file holds the sound apart, it goes on all the same,
# and faster than it is heard.
MOST_BEHIND_SECONDS = 5.0
# While chunks grow, a viewer comes to each soon after it is made, and the sound is made no faster than so many times as
# it is heard, and this much ahead. Its reader would take half the processors for as long as it reads; its seat is one
# less for the next chunk, which would take from the one before.
EARLY_CHUNKS = len(plan.CHUNK_SECONDS)
EARLY_SPEED = 3.0  # at two, each part would come just when the viewer does
EARLY_LEAD_SECONDS = 8.0
_LONG_TURN_SECONDS = 1.0  # how often it is asked whether hearers have come nearer: of their 8 s
MOST_STANDING = 0.5  # of the time that a step may take: that in which ffmpeg waits counts


def the_picture(attempt: Attempt, growing: Growing) -> source.Wait | None:
    """Return what keeps the sound back, once some can be heard; None where a copied picture is read just as fast."""
    return None if attempt.plan.video.mode == "copy" else _Behind(attempt, growing).wait


class _Behind:
    def __init__(self, attempt: Attempt, growing: Growing) -> None:
        self._attempt, self._growing = attempt, growing
        limit = attempt.shop.limits.clock
        self._until = time.monotonic() + (limit.total_seconds() * MOST_STANDING if limit else math.inf)
        self._began_at: float | None = None
        self._since = math.inf
        self._seconds = attempt.facts.duration_seconds or math.inf

    def wait(self, is_short: Callable[[], bool], size: float) -> None:
        """Wait before a block of `size` is fetched, as `source.Wait` has it."""
        if not self._growing.is_playable:
            return
        began_at = self._begin() if self._began_at is None else self._began_at
        left = round(size * MOST_BEHIND_SECONDS / _TURN_SECONDS)
        while left > 0 and is_short():
            left -= 1
            self._stand_back(_TURN_SECONDS)
        while self._growing.seconds > self._most(began_at) and self._are_being_made(EARLY_CHUNKS):
            self._stand_back(_LONG_TURN_SECONDS)
        # Making sound takes next to nothing. Where it does not even keep this pace, it waits for the line all the time,
        # and needs no seat for that.
        if EARLY_SPEED * (time.monotonic() - self._since) > self._seconds:
            self._attempt.seat.leave()

    def _begin(self) -> float:
        """Return when hearers may have begun, once the first chunk is made."""
        while self._are_being_made(1):
            self._stand_back(_TURN_SECONDS)
        self._since = time.monotonic()
        self._began_at = self._since - _seconds_played(self._attempt)
        return self._began_at

    def _are_being_made(self, first: int) -> bool:
        if time.monotonic() > self._until:
            return False
        attempt = self._attempt
        return stats.is_running(attempt.shop.readings, attempt.claim.video_id, StepKind.VIDEO, below=first)

    def _most(self, began_at: float) -> float:
        """Return how many seconds of sound are made by now, at most, while the first chunks are."""
        return EARLY_LEAD_SECONDS + EARLY_SPEED * (time.monotonic() - began_at)

    def _stand_back(self, seconds: float) -> None:
        self._attempt.beat.advance()
        self._attempt.beat.wait(seconds)


def _seconds_played(attempt: Attempt) -> float:
    """Return for how long a viewer may have watched: where the sound begins anew, he is there already."""
    video = stats.video(attempt.shop.readings, attempt.claim.video_id)
    if video is None or video.playable_at is None:
        return 0.0
    since: timedelta = attempt.clock() - video.playable_at
    return max(0.0, since.total_seconds())
