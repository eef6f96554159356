"""Tells a status table that was restored from a backup what has been published since, so that it is not made again.

What is believed is in the bucket: a manifest beside the outputs, and that each object it names is there, with the
size and the SHA-1 that were recorded.
"""

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import Engine

from watcher import bucket, database, discovery, ledger, log, manifest, names
from watcher.beat import Beat
from watcher.models import OutputKind

MOST_BYTES = 64 * 1024**2  # of a manifest: a day of film takes three

_log = log.get()


def catch_up(
    db: Engine,
    readings: Engine,
    watched: discovery.Watched,
    target: bucket.Bucket,
    *,
    output_prefix: str,
    clock: Callable[[], datetime],
) -> None:
    """Look at the bucket before any work, if the database is a backup that was put into place. Raises Outage."""
    if not database.is_restored(readings):  # which waits for no writer
        return
    # What was uploaded since the backup has to be known before its outputs.
    discovery.sweep(db, readings, watched, clock=clock, go_on=lambda: True)
    adopt_published(db, target, source_bucket_id=watched.bucket.id, output_prefix=output_prefix, clock=clock)
    database.note_repaired(db)


def adopt_published(
    db: Engine,
    target: bucket.Bucket,
    *,
    source_bucket_id: str,
    output_prefix: str,
    clock: Callable[[], datetime],
) -> int:
    """Record what is published under `output_prefix` and not in the table; return how many videos that completed.

    What is there, and neither recorded nor part of a whole, is noted to be cleared away. Raises Outage.
    """
    adopted, strays = 0, []
    before = ""
    for entry in target.list_versions(output_prefix):  # the newest version of each name first
        is_current, before = entry.name != before, entry.name
        source, token = entry.info.get(names.SOURCE_KEY), entry.info.get(names.TOKEN_KEY)
        if not source or not token:
            continue
        strays.append((source, token))  # what was replaced, too: it may not have been cleared away
        is_manifest = entry.name == names.manifest(entry.name.rpartition("/")[0] + "/")
        if is_current and is_manifest and entry.size_bytes < MOST_BYTES:
            found = _whole(target, entry)
            if found is not None and ledger.adopt(
                db,
                source_bucket_id,
                found.source,
                outputs=found.outputs,
                facts=found.facts,
                token=token,
                now=clock(),
            ):
                adopted += 1
    for source, token in dict.fromkeys(strays):
        ledger.note_stray(db, source_bucket_id, source, token=token, now=clock())
    _log.info("repaired", adopted=adopted)
    return adopted


def _whole(target: bucket.Bucket, entry: bucket.Entry) -> manifest.Manifest | None:
    """Return the manifest in an object if all that it names is there as it was recorded."""
    with tempfile.TemporaryDirectory(prefix="watcher-") as folder:
        path = Path(folder, "manifest")
        target.download(entry.file_id, path, beat=Beat())
        found = manifest.load(path.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        return None
    there = {
        each.file_id: (each.name, each.size_bytes, each.content_sha1)
        for each in target.list_versions(entry.name.rpartition("/")[0] + "/")
    }
    for output in found.outputs:
        if there.get(output.file_id) != (output.name, output.size_bytes, output.sha1):
            _log.warning("not_adopted", name=entry.name, missing=output.name)
            return None
    mine = ledger.NewOutput(
        kind=OutputKind.MANIFEST,
        ordinal=0,
        rung=None,
        bucket=target.name,
        name=entry.name,
        file_id=entry.file_id,
        size_bytes=entry.size_bytes,
        sha1=entry.content_sha1 or "",
        content_type=entry.content_type,
        width=None,
        height=None,
        duration_seconds=None,
        frames=None,
    )
    return manifest.Manifest(found.source, found.facts, (*found.outputs, mine))
