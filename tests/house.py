"""A whole Watcher for a test: a local B2, settings in a folder, the daemon in this process or in one of its own."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from sqlalchemy.engine import Engine

from watcher import bucket, config, daemon, database, discovery, ffmpeg, invariants, localb2, stats, workshop
from watcher.beat import Beat

BUCKET = "watcher-demo"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
# For waiting on other processes only: long enough for a machine that does ten other things.
PATIENCE_SECONDS = 120


class House:
    """Everything in one folder, on one local B2."""

    def __init__(self, folder: Path, b2: localb2.LocalB2, **settings: str) -> None:
        self.folder = folder
        self.environment = {
            "B2_APPLICATION_KEY_ID": b2.key_id,
            "B2_APPLICATION_KEY": b2.key,
            "B2_BUCKET_NAME": BUCKET,
            "B2_REALM": b2.realm,
            "DATABASE_URL": f"sqlite:///{folder}/watcher.db",
            "SCRATCH_DIR": str(folder / "scratch"),
            "POLL_SECONDS": "0.5",
            **settings,
        }
        self.account = bucket.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm)
        self.bucket = self.account.bucket(BUCKET)

    def upload(self, path: Path, name: str | None = None, content_type: str = "b2/x-auto") -> str:
        """Upload a file as a user would; return its file id."""
        stored = self.bucket.upload(path, name or path.name, content_type=content_type, info={}, beat=Beat())
        return stored.file_id

    def run_until_idle(self, *, seats: int = 2) -> None:
        """Run the daemon in this process until the bucket was listed and nothing is left to do."""
        with workshop.opened(config.load(self.environment)) as shop:
            every = timedelta(seconds=0.5)
            with daemon.Daemon(shop, seats=seats, poll_every=every, drain=timedelta(seconds=10)) as worker:
                worker.wait(until_idle=True)

    def start(
        self, *arguments: str, under: Sequence[str] = (), **environment: str
    ) -> "subprocess.Popen[str]":
        """Start a `watcher` command as a process of its own; its output goes to `log.txt`.

        `under` is the command line of a program that runs and watches it.
        """
        return self._start([*under, sys.executable, "-m", "watcher", *arguments], environment)

    def run_program(self, program: Path, *arguments: str) -> "subprocess.Popen[str]":
        """Start a Python program with the settings of this house; its output goes to `log.txt`."""
        return self._start([sys.executable, str(program), *arguments], {})

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                command,
                env={**self._bare(), **environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                text=True,
            )

    def cli(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a `watcher` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "watcher", *arguments],
            env={**self._bare(), "COLUMNS": "80", **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def readings(self) -> Engine:
        """Open the status table for reading."""
        return database.open_for_reading(self.environment["DATABASE_URL"])

    def site(self, readings: Engine) -> invariants.Site:
        """Return what the invariants examine: this house, with `readings` for its table."""
        settings = config.load(self.environment)
        return invariants.Site(
            readings=readings,
            watched=discovery.Watched(self.account, self.bucket, "", settings.own_prefix),
            target=self.bucket,
            output_prefix=settings.output_prefix,
            scratch=settings.scratch,
            binary=ffmpeg.locate(None),
            max_attempts=settings.max_attempts,
        )

    def broken(self) -> list[invariants.Broken]:
        """Return every violation of an invariant, once no daemon runs and all should be done."""
        db = self.readings()
        try:
            return invariants.check(self.site(db), is_settled=True)
        finally:
            db.dispose()

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return `video_status` by object name, for names that are there once."""
        db = self.readings()
        try:
            return {row["name"]: row for row in stats.list_videos(db)}
        finally:
            db.dispose()

    def events(self, video_id: int = 1) -> list[tuple[str | None, str]]:
        """Return the story of a video as (step, what)."""
        db = self.readings()
        try:
            return [(event.step, event.what) for event in stats.events(db, video_id)]
        finally:
            db.dispose()

    def is_locked(self) -> bool:
        """Whether a process holds the database's write lock."""
        with contextlib.closing(database.driver().connect(str(self.folder / "watcher.db"), timeout=0)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except database.driver().OperationalError:
                return True
        return False

    def most_attempts(self) -> int:
        """Return the largest number of attempts that a step was given."""
        db = self.readings()
        try:
            return max(step.attempts for story in stats.stories(db) for step in story.steps)
        finally:
            db.dispose()

    def objects(self) -> dict[str, list[str]]:
        """Return the file ids of all versions in the bucket, by name."""
        found: dict[str, list[str]] = {}
        for entry in self.bucket.list_versions(""):
            found.setdefault(entry.name, []).append(entry.file_id)
        return found

    def unaccounted(self) -> set[str]:
        """Return the names of objects that the table does not know of, and of outputs that are not there."""
        db = self.readings()
        try:
            with db.begin() as connection:
                query = (
                    "SELECT file_id, name FROM videos"
                    " UNION SELECT file_id, name FROM outputs WHERE obsolete_at IS NULL"
                )
                known = {tuple(row) for row in connection.exec_driver_sql(query)}
                sources = set(connection.exec_driver_sql("SELECT file_id FROM videos").scalars())
        finally:
            db.dispose()
        there = {(file_id, name) for name, ids in self.objects().items() for file_id in ids}
        return {name for file_id, name in there ^ known if file_id not in sources}

    def download(self, name: str, path: Path) -> Path:
        """Fetch the current version of an object."""
        self.bucket.download(self.objects()[name][0], path, beat=Beat())
        return path

    def dump(self) -> dict[str, list[Any]]:
        """Return the content of all tables but the two that count calls and sweeps."""
        db = self.readings()
        try:
            with db.begin() as connection:
                names = connection.exec_driver_sql(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                ).scalars()
                return {
                    name: [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")]
                    for name in names
                    if name not in ("scans", "transactions")
                }
        finally:
            db.dispose()

    def _bare(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment}


def clip(path: Path, *encoding: str, seconds: float = 2, size: str = "320x180", rate: str = "30") -> Path:
    """Make a clip with a test picture and a tone; H.264 and AAC unless `encoding` says otherwise."""
    subprocess.run(
        [
            *(FFMPEG, "-nostdin", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"),
            *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}"),
            *(encoding or ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")),
            str(path),
        ],
        check=True,
    )
    return path


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until another process has brought `condition` about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_SECONDS} s for {what}")
        time.sleep(0.05)


def processes(needle: str) -> list[int]:
    """Return the ids of living processes whose command line holds `needle`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it ended meanwhile
        if needle in command and state != "Z":
            found.append(int(entry.name))
    return found
