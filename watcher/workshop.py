"""What every step works with: the table, the buckets, the source server, the scratch folder, the profile.

Assembled once for a daemon from the settings, and taken apart in the reverse order.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import Engine

from watcher import bucket, config, database, discovery, ffmpeg, plan, source
from watcher.errors import Misconfigured
from watcher.scratch import Scratch

# What the application key must be allowed, and what for.
NEEDED = {
    "listFiles": "find new videos",
    "readFiles": "read sources",
    "writeFiles": "publish outputs",
}


@dataclass(frozen=True, slots=True)
class Workshop:
    """One daemon's tools. Shared by all its threads."""

    db: Engine
    readings: Engine
    account: bucket.Account
    watched: discovery.Watched
    target: bucket.Bucket
    output_prefix: str
    server: source.Server
    scratch: Scratch
    profile: plan.Profile
    binary: Path  # ffmpeg
    limits: ffmpeg.Limits  # of any child; `steps` narrows them to the work there is
    cpu_per_second: float  # seconds of processor time that a second of video may take
    lease: timedelta
    stall: timedelta
    max_attempts: int
    is_salvaging: bool  # publish what can be read of damaged sources

    def blocks(self, video_id: int) -> Path:
        """Return the folder of a source's cached blocks."""
        return self.scratch.video(video_id) / "blocks"

    def parts(self, video_id: int) -> Path:
        """Return the folder of the intermediates that were made here; others are downloaded."""
        folder = self.scratch.video(video_id) / "parts"
        folder.mkdir(exist_ok=True)
        return folder

    def forget_video(self, video_id: int) -> None:
        """Drop all that is kept on disk for a video that nobody here works on."""
        self.server.forget(self.blocks(video_id))
        self.scratch.remove_video(video_id)


def limits(settings: config.Settings) -> ffmpeg.Limits:
    """Return what any child process may use."""
    return ffmpeg.Limits(
        memory_bytes=settings.max_memory_mb * 1024**2,
        clock=settings.max_step,
        file_bytes=settings.max_output_mb * 10**6,
        media=settings.max_duration,
        pixels=settings.max_pixels,
        streams=settings.max_streams,
        is_confined=settings.confine == "auto",
    )


@contextlib.contextmanager
def opened(settings: config.Settings) -> Iterator[Workshop]:
    """Connect to B2, upgrade and open the database, take a scratch folder, start the source server.

    Raises Misconfigured for what the operator must mend, and Outage when B2 does not answer.
    """
    url = settings.database_url.get_secret_value()
    binary = ffmpeg.locate(settings.ffmpeg)
    ffmpeg.version(binary, is_confined=settings.confine == "auto")  # or every video would fail
    with contextlib.ExitStack() as stack:
        db = database.open_for_writing(url)
        stack.callback(db.dispose)
        database.upgrade(db)
        readings = database.open_for_reading(url)
        stack.callback(readings.dispose)
        account = bucket.connect(
            key_id=settings.key_id, key=settings.key.get_secret_value(), realm=settings.realm
        )
        if missing := [name for name in NEEDED if name not in account.capabilities]:
            lacks = ", ".join(f"{name} (to {NEEDED[name]})" for name in missing)
            raise Misconfigured([f"B2_APPLICATION_KEY_ID: the key lacks {lacks}: make a key that has it."])
        watched = account.bucket(settings.bucket)
        same = settings.output_bucket == settings.bucket
        target = watched if same else account.bucket(settings.output_bucket)
        scratch = stack.enter_context(Scratch(settings.scratch))
        server = stack.enter_context(source.Server(watched))
        yield Workshop(
            db=db,
            readings=readings,
            account=account,
            watched=discovery.Watched(account, watched, settings.watch_prefix, settings.own_prefix),
            target=target,
            output_prefix=settings.output_prefix,
            server=server,
            scratch=scratch,
            profile=plan.Profile(
                ladder=settings.ladder, quality=settings.quality, loudness=settings.loudness
            ),
            binary=binary,
            limits=limits(settings),
            cpu_per_second=settings.max_cpu_per_second,
            lease=settings.lease,
            stall=settings.stall_timeout,
            max_attempts=settings.max_attempts,
            is_salvaging=settings.salvage,
        )
