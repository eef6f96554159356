"""What lies in the buckets, held against what the table says of it."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.engine import Engine

from watcher import bucket, discovery, names, stats
from watcher.invariants.broken import Broken

# A sweep that began before an object came need not have seen it; no sweep of a bucket takes longer by far.
_SURELY_SEEN = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Inventory:
    """One listing of everything, from before the table is read."""

    watched: discovery.Watched
    sources: dict[str, bucket.Entry]  # current versions that are candidates, by file id
    ours: dict[str, bucket.Entry]  # every version below the output prefix that is ours, by file id
    current: dict[str, str]  # of these, the file id that each name shows
    unfinished: list[bucket.Unfinished]  # large files of ours


def take(watched: discovery.Watched, target: bucket.Bucket, prefix: str) -> Inventory:
    """List both buckets."""
    sources: dict[str, bucket.Entry] = {}
    cursor: str | None = None
    while True:
        page = watched.bucket.list_page(prefix=watched.prefix, cursor=cursor, count=discovery.PAGE_ENTRIES)
        for entry in page.entries:
            if not names.is_ours(entry.name, entry.info, output_prefix=watched.output_prefix):
                sources[entry.file_id] = entry
        cursor = page.cursor
        if cursor is None:
            break
    ours: dict[str, bucket.Entry] = {}
    current: dict[str, str] = {}
    for entry in target.list_versions(prefix):  # the newest version of each name first
        if names.TOKEN_KEY in entry.info:
            ours[entry.file_id] = entry
            current.setdefault(entry.name, entry.file_id)
    unfinished = [found for found in target.list_unfinished(prefix) if names.TOKEN_KEY in found.info]
    return Inventory(watched, sources, ours, current, unfinished)


def forgotten(inventory: Inventory, readings: Engine, *, is_settled: bool) -> Iterator[Broken]:
    """Yield the sources that the table does not know of."""
    watched = inventory.watched
    scan = stats.scan(readings, bucket_id=watched.bucket.id, prefix=watched.prefix)
    known = stats.known_file_ids(readings, bucket_id=watched.bucket.id)
    for entry in inventory.sources.values():
        if entry.file_id in known:
            continue
        swept_at = scan.swept_at if scan is not None else None
        if is_settled or (swept_at is not None and entry.uploaded_at < swept_at - _SURELY_SEEN):
            yield Broken(
                "forgotten", f"{entry.name} ({entry.file_id}) is in the bucket, and not in the table"
            )


def check_story(story: stats.Story, inventory: Inventory, *, bucket: str, prefix: str) -> Iterator[Broken]:
    """Yield where the objects of one video are not what was recorded, its source included."""
    video = story.video
    source = inventory.sources.get(video.file_id)
    recorded = (video.name, video.size_bytes, video.content_sha1)
    if source is not None and (source.name, source.size_bytes, source.content_sha1) != recorded:
        yield Broken("source", f"{video.name} is no longer what was discovered", video.id)
    for output in story.outputs:
        if output.obsolete_at is not None or output.bucket != bucket:
            continue
        entry = inventory.ours.get(output.file_id)
        if not output.name.startswith(names.folder(prefix, video.name)):
            continue  # made when OUTPUT_PREFIX was another: it was not listed
        if entry is None:
            yield Broken("missing", f"{output.name} ({output.file_id}) is not in the bucket", video.id)
        elif (entry.name, entry.size_bytes) != (output.name, output.size_bytes) or (
            entry.content_sha1 not in (None, output.sha1)
        ):
            yield Broken("missing", f"{output.name} is not the object that was recorded", video.id)
        elif inventory.current[output.name] != output.file_id:
            yield Broken("twice", f"{output.name} shows another version than the one recorded", video.id)


def left_over(
    inventory: Inventory, readings: Engine, recorded: AbstractSet[str], *, is_settled: bool
) -> Iterator[Broken]:
    """Yield what ended attempts left in the bucket, and in the table for the clean-up."""
    running, debris = stats.open_tokens(readings)
    excused = set() if is_settled else running | debris
    for entry in inventory.ours.values():
        if entry.file_id not in recorded and entry.info[names.TOKEN_KEY] not in excused:
            yield Broken("leftover", f"{entry.name} ({entry.file_id}) is recorded nowhere")
    for unfinished in inventory.unfinished:
        if unfinished.info[names.TOKEN_KEY] not in excused:
            yield Broken("leftover", f"the large file {unfinished.name} ({unfinished.file_id}) is unfinished")
    if is_settled:
        for token in debris:
            yield Broken("leftover", f"what attempt {token} left was not looked for")
