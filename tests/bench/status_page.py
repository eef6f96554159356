"""How long the status page and the API take with a million videos while a daemon writes: run this file.

Makes the table first, in the folder given (about 6 GB and some minutes; a second run with `--folder` takes it as it
is). Another process then does what a busy daemon does to it, without a pause: records new videos, claims steps,
renews leases. Prints the median and the 95th percentile of what a client on this machine waits for each address, in
ms. Nothing is kept from one request to the next but the count of videos by state (see `stats.Tally`).
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import crowd
from house import BUCKET
from serving import served

from watcher import config, daemon, database, ledger, localb2, stats

ROUNDS = 100
GOAL_MS = 50
LEASE = timedelta(seconds=60)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", metavar="URL", help=argparse.SUPPRESS)  # what the other process is told
    asked = parser.parse_args()
    if asked.write:
        _write(asked.write)
    elif asked.folder:
        asked.folder.mkdir(parents=True, exist_ok=True)
        _measure(asked.folder, asked.videos)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), asked.videos)


def _measure(folder: Path, videos: int) -> None:
    url = f"sqlite:///{folder}/watcher.db"
    if not (folder / "watcher.db").exists():
        _make(url, videos)
    with localb2.serve(folder / "b2") as b2:
        settings = config.load(
            {
                "B2_APPLICATION_KEY_ID": b2.key_id,
                "B2_APPLICATION_KEY": b2.key,
                "B2_BUCKET_NAME": BUCKET,
                "B2_REALM": b2.realm,
                "DATABASE_URL": url,
                "SCRATCH_DIR": str(folder / "scratch"),
            }
        )
        writer = subprocess.Popen(
            [sys.executable, __file__, "--write", url], stdout=subprocess.PIPE, text=True
        )
        try:
            with served(settings) as base:
                table = _ask(base, videos)
        finally:
            writer.terminate()
            written = writer.communicate()[0]
    table.caption = f"{written.strip()}; goal: {GOAL_MS} ms"
    Console().print(table)


def _make(url: str, videos: int) -> None:
    began = time.monotonic()
    db = database.open_for_writing(url)
    database.upgrade(db)
    with closing(db.raw_connection()) as raw:  # the pool hands this one out again
        for pragma in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "foreign_keys = OFF",
            "cache_size = -500000",
        ):
            raw.cursor().execute(f"PRAGMA {pragma}")
    crowd.fill(db, videos)
    db.dispose()
    database.revision(db)  # connecting anew makes it a file with a WAL again
    db.dispose()
    print(f"made {videos} videos in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _ask(base: str, videos: int) -> Table:
    middle = videos // 2
    addresses = [
        "/healthz",  # which asks nothing of the table: what the machine itself takes
        "/",
        f"/?before={middle}",
        "/?status=failed",
        f"/?status=completed&before={middle}",
        "/?q=holiday",
        "/?q=no+such+name",
        f"/?q=no+such+name&before={middle}",
        f"/videos/{middle + 50}",
        "/operations",
        "/api/v1/videos",
        f"/api/v1/videos?before={middle}&limit=200",
        "/api/v1/videos?status=failed",
        "/api/v1/videos?search=no+such+name",
        f"/api/v1/videos?name=uploads/{(middle + 51) % 1000:04d}/clip-{middle + 51}.mov",
        f"/api/v1/videos/{middle + 50}",
        f"/api/v1/videos/{middle + 50}/events",
        "/api/v1/status",
        "/metrics",
    ]
    table = Table("address", "median ms", "95 % ms", "kB", title=f"{videos:,} videos, {ROUNDS} rounds")
    took: dict[str, list[float]] = {address: [] for address in addresses}
    bytes_of = {}
    with requests.Session() as session:
        for _ in range(ROUNDS):  # one after the other, so that none is asked twice in a row
            for address in addresses:
                began = time.perf_counter()
                answer = session.get(base + address, timeout=60)
                took[address].append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
                bytes_of[address] = len(answer.content)
    for address in addresses:
        median, late = statistics.median(took[address]), statistics.quantiles(took[address], n=20)[-1]
        style = "" if median < GOAL_MS else "bold red"
        table.add_row(address, f"{median:.1f}", f"{late:.1f}", f"{bytes_of[address] / 1000:.1f}", style=style)
    return table


def _write(url: str) -> None:
    """Do what a daemon does, until terminated."""
    db = database.open_for_writing(url)
    began, written, number = time.monotonic(), 0, 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        while True:
            number += 1
            now = daemon.now()
            ledger.record_page(
                db,
                bucket_id="bucket",
                bucket=BUCKET,
                prefix="",
                found=[
                    ledger.Found(
                        file_id=f"4_znew{began}-{number}-{each}",
                        name=f"uploads/new/{began}-{number}-{each}.mov",
                        size_bytes=1000,
                        content_type="video/quicktime",
                        content_sha1=None,
                        uploaded_at=now,
                    )
                    for each in range(20)
                ],
                unread=[],
                cursor="more",
                seen=20,
                transactions={"C": 1},
                as_of=stats.last_event(db),
                now=now,
            )
            claim = ledger.claim(db, worker="bench", now=now, lease=LEASE)
            assert claim is not None
            for step in range(5):
                ledger.renew(db, claim, fraction=step / 5, now=daemon.now(), lease=LEASE)
            ledger.skip(db, claim, reason="not_a_video", detail="", now=daemon.now())
            written += 8
    finally:
        seconds = time.monotonic() - began
        print(f"meanwhile {written / seconds:.0f} transactions a second were written")
        db.dispose()


if __name__ == "__main__":
    main()
