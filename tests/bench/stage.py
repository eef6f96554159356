"""A whole Watcher, as a process of its own, on a local B2 with a bandwidth: what each run of the benchmark needs."""

import contextlib
import datetime as dt
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from house import House
from spent import Meter, Spent

from watcher import localb2, stats
from watcher.models import StepKind

MOST_SECONDS = 900  # for one film: a benchmark that waits longer has found out enough
ENDS = ("completed", "failed", "skipped", "cancelled")


@dataclass(frozen=True)
class Took:
    """Seconds from the listing that found the object; CPU seconds of the whole daemon."""

    playable: float
    complete: float
    spent: Spent


class Stage:
    """A local B2 and its bucket; daemons come and go."""

    def __init__(self, folder: Path, b2: localb2.LocalB2) -> None:
        self.folder = folder
        self.house = House(folder, b2)
        self._b2 = b2

    @contextlib.contextmanager
    def daemon(self, prefix: str, *, is_again: bool = False, **settings: str) -> Iterator["Daemon"]:
        """Run a daemon that watches `prefix`, in a folder and with a database of its own, or in the last one again."""
        number = len(list(self.folder.glob("run-*"))) - is_again
        folder = self.folder / f"run-{number}"
        folder.mkdir(exist_ok=is_again)
        house = House(
            folder,
            self._b2,
            WATCH_PREFIX=prefix,
            OUTPUT_PREFIX=f"out-{number}",
            LOG_LEVEL="warning",
            **{"POLL_SECONDS": "2", **settings},
        )
        process = house.start("run")
        try:
            yield Daemon(house, process)
        finally:
            process.terminate()
            process.wait()
            said = (folder / "log.txt").read_text()
            if said:
                print(said)


class Daemon:
    """A running `watcher run`."""

    def __init__(self, house: House, process: "subprocess.Popen[str]") -> None:
        self.house = house
        self.pid = process.pid
        self._process = process
        database = house.folder / "watcher.db"
        while not database.exists() or not self._is_upgraded():
            self._look_whether_it_lives()
            time.sleep(0.05)
        self._db = house.readings()

    def _is_upgraded(self) -> bool:
        with contextlib.suppress(Exception):  # not all tables are there yet
            self.house.rows()
            return True
        return False

    def playable(self, name: str) -> float:
        """Wait until a film begins to play; return the seconds that took."""
        return self._wait(name, "playable_at")

    def complete(self, name: str) -> float:
        """Wait until all of it is there."""
        return self._wait(name, "completed_at")

    def made_bytes(self) -> int:
        """Return the size of all that was published and is still there."""
        with self._db.begin() as connection:
            query = "SELECT sum(size_bytes) FROM outputs WHERE obsolete_at IS NULL"
            return int(connection.exec_driver_sql(query).scalar_one())

    def waited(self, playable: float) -> float:
        """Return the seconds that a viewer, who began when a film was `playable`, waited for chunks meanwhile."""
        with self._db.begin() as connection:
            row = connection.exec_driver_sql("SELECT id, discovered_at, plan FROM videos").one()
        chunks, waited = json.loads(row.plan)["chunks"], 0.0
        for step in stats.steps(self._db, row.id):
            if step.kind == StepKind.VIDEO:
                at = (step.finished_at - _time(row.discovered_at)).total_seconds()
                waited += max(0.0, at - (playable + chunks[step.ordinal]["start_seconds"] + waited))
        return waited

    def _look_whether_it_lives(self) -> None:
        if self._process.poll() is not None:
            raise SystemExit(f"the daemon ended with {self._process.returncode}")

    def _row(self, name: str) -> dict[str, str]:
        return next((row for row in stats.list_videos(self._db) if row["name"] == name), {})

    def _wait(self, name: str, column: str) -> float:
        for _ in range(int(MOST_SECONDS / 0.1)):
            row = self._row(name)
            if row.get(column):
                return (_time(row[column]) - _time(row["discovered_at"])).total_seconds()
            if row.get("status") in ENDS:
                raise SystemExit(f"{name} ended {row['status']}: {row['error_code']}: {row['error']}")
            self._look_whether_it_lives()
            time.sleep(0.1)
        raise SystemExit(f"{name} was not {column} within {MOST_SECONDS} s")


@contextlib.contextmanager
def opened(folder: Path, *, megabits: int | None = None) -> Iterator[Stage]:
    """Give a stage whose B2 has so many Mbit/s each way, or as many as it can; what it held is there again."""
    folder.mkdir(exist_ok=True)
    bandwidth = megabits * 1_000_000 if megabits else None
    with localb2.serve(folder / "b2", bandwidth=bandwidth) as b2:
        yield Stage(folder, b2)


def make(stage: Stage, name: str, **settings: str) -> tuple[Took, Daemon]:
    """Have a fresh daemon make one film, from end to end."""
    with stage.daemon(name, **settings) as daemon, Meter(daemon.pid) as meter:
        playable = daemon.playable(name)
        complete = daemon.complete(name)
    return Took(playable, complete, meter.spent), daemon


def _time(text: object) -> dt.datetime:
    return text if isinstance(text, dt.datetime) else dt.datetime.fromisoformat(str(text))
