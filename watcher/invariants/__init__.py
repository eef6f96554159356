"""What has to hold whatever breaks: one function checks it all, against the table, the bucket and this machine.

Changes nothing. The trials in tests/chaos end with it, and `watcher doctor --deep` shows what it finds. Knows
nothing of how a violation came about.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Engine

from watcher import bucket, discovery, ffmpeg, scratch, stats
from watcher.invariants import objects, playing, stories
from watcher.invariants.broken import Broken

__all__ = ["INVARIANTS", "Broken", "Site", "check"]

# Every invariant by the name that `Broken` gives it, with what it means and what to do about a violation.
INVARIANTS = {
    "forgotten": (
        "every version that is current in the bucket is in the table",
        "If a daemon runs, its next sweep records it; if it stays, please report it.",
    ),
    "stuck": (
        "a video that is not over has a step that can run",
        "`watcher requeue ID --from-scratch` makes it anew once it is over; please report it.",
    ),
    "illegal": (
        "every change of state is allowed, and the events tell of it",
        "Please report it with the output of `watcher show --full ID`.",
    ),
    "twice": (
        "one result counts for each part of a video, the last owner's, and what is finished is not done again",
        "`watcher requeue ID --from-scratch` makes the video anew; please report it.",
    ),
    "attempts": (
        "no step is tried more often than MAX_ATTEMPTS",
        "Nothing to do if MAX_ATTEMPTS was lowered; else please report it.",
    ),
    "missing": (
        "what is published exists in the bucket as it was recorded",
        "`watcher requeue ID --from-scratch` makes the video anew; keep lifecycle rules off OUTPUT_PREFIX.",
    ),
    "unplayable": (
        "what is completed plays from end to end",
        "`watcher requeue ID --from-scratch` makes the video anew; please report it.",
    ),
    "source": (
        "a source is never changed, nor written over",
        "Restore the source from an older version in the B2 console; please report it.",
    ),
    "unfinished": (
        "when faults have stopped, every video comes to an end",
        "Start `watcher run`; `watcher show ID` says what it waits for.",
    ),
    "leftover": (
        "nothing is left of an attempt that is over: no object, unfinished file, scratch file or process",
        "`watcher run` clears it away within a minute of its start; if it stays, please report it.",
    ),
}


@dataclass(frozen=True, slots=True)
class Site:
    """What is examined: the table, the buckets, and this machine's share."""

    readings: Engine
    watched: discovery.Watched
    target: bucket.Bucket
    output_prefix: str
    scratch: Path
    binary: Path  # ffmpeg
    max_attempts: int


def check(site: Site, *, is_settled: bool, films: int | None = None) -> list[Broken]:
    """Return every violation.

    `is_settled` says that no daemon runs and all work should be done: then nothing at all may be under way. Else
    daemons may be at work meanwhile, and a finding counts only if a second call has it too.
    The newest `films` completed videos (None: all) are fetched and played.
    """
    inventory = objects.take(site.watched, site.target, site.output_prefix)
    found = list(_machine(site.scratch, is_settled=is_settled))
    found += objects.forgotten(inventory, site.readings, is_settled=is_settled)
    recorded: set[str] = set()
    for story in stats.stories(site.readings):
        recorded |= {output.file_id for output in story.outputs}
        found += stories.check(story, max_attempts=site.max_attempts)
        found += objects.check_story(story, inventory, bucket=site.target.name, prefix=site.output_prefix)
        if is_settled:
            found += stories.check_is_over(story)
    found += objects.left_over(inventory, site.readings, recorded, is_settled=is_settled)
    if films != 0:
        for story in itertools.islice(_completed(site.readings), films):
            found += playing.check(story, site.target, prefix=site.output_prefix, binary=site.binary)
    return found


def _completed(readings: Engine) -> Iterator[stats.Story]:
    for story in stats.stories(readings, newest_first=True):
        if story.video.status == "completed" and story.video.reason is None:
            yield story


def _machine(root: Path, *, is_settled: bool) -> Iterator[Broken]:
    living, dead = scratch.workers(root)
    if is_settled:  # else the next daemon clears away what a dead one left
        for folder in living + dead:
            yield Broken("leftover", f"the scratch folder {folder} is left")
    for process in ffmpeg.children_in(root):
        if is_settled or not any(process.folder.is_relative_to(folder) for folder in living):
            yield Broken(
                "leftover", f"process {process.id} works in {process.folder}, and no daemon waits for it"
            )
