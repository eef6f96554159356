"""The only reader of the tables. Writes nothing."""

from watcher.stats.operations import last_sweep, quarantined, scan, transactions
from watcher.stats.videos import (
    VIDEO_STATUS,
    counts,
    events,
    find_ids,
    list_videos,
    outputs,
    running,
    steps,
    video,
)
from watcher.stats.whole import Story, known_file_ids, open_tokens, stories
from watcher.stats.work import (
    Part,
    count_unfinished,
    debris,
    finished,
    has_due_step,
    losses,
    obsolete_outputs,
    parts,
    recorded_file_ids,
    unfinished_sources,
)

__all__ = [
    "VIDEO_STATUS",
    "Part",
    "Story",
    "count_unfinished",
    "counts",
    "debris",
    "events",
    "find_ids",
    "finished",
    "has_due_step",
    "known_file_ids",
    "last_sweep",
    "list_videos",
    "losses",
    "obsolete_outputs",
    "open_tokens",
    "outputs",
    "parts",
    "quarantined",
    "recorded_file_ids",
    "running",
    "scan",
    "steps",
    "stories",
    "transactions",
    "unfinished_sources",
    "video",
]
