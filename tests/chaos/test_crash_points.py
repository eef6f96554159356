"""The daemon is killed, terminated and frozen at every crash point, and what it was at is done once all the same.

Heavy: a whole video for each crash point and signal. .ci/run names this folder; `make test` leaves it out.
"""

import ast
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import BUCKET, House, clip, processes, wait_for

from watcher import localb2
from watcher.localb2 import operations

ROOT = Path(__file__).parent.parent.parent
LEASE_SECONDS = 1.0

POINTS = (
    *("list", "insert", "claim", "ranges", "probe", "plan", "chunk", "verify", "grown"),
    *("upload.start", "upload.part", "upload.finish", "upload", "record", "commit"),
    *("announce", "stitch", "package", "clean-up.output", "clean-up.debris"),
)
# Steps that run at a time with one seat: the one in it, one that overtakes, and one that only moves bytes any more.
AT_ONCE = 3
# Inside a transaction.
LOCKED = {"insert", "commit"}
# Reached only if an earlier attempt left something in B2.
AFTER_A_DEATH = {"clean-up.debris"}


def test_every_crash_point_of_the_code_has_a_trial() -> None:
    found = [
        node.args[0].value
        for path in sorted((ROOT / "watcher").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "crashpoint.here"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(found) == sorted(POINTS)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    # Of two chunks: there is something to stitch early.
    return clip(folder / "film.mov", "-c:v", "mpeg4", "-g", "25", "-c:a", "aac", seconds=8, size="160x90")


@pytest.fixture
def house(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house with one film in its bucket, and a B2 that takes whatever is larger than a playlist in parts."""
    monkeypatch.setattr(operations, "SMALLEST_PART_BYTES", 1)
    with localb2.serve(tmp_path / "b2", buckets=[BUCKET], part_bytes=8_000) as b2:
        house = House(tmp_path, b2, POLL_SECONDS="0.3", QUALITY="fast", LADDER="144")
        house.upload(film)
        yield house
        for left in processes("doomed.py"):  # only after a failure
            if Path(f"/proc/{left}/cwd").resolve() == tmp_path:
                os.kill(left, signal.SIGKILL)
        print((tmp_path / "log.txt").read_text())


def run(house: House, *fate: str) -> "subprocess.Popen[str]":
    return house.run_program(Path(__file__).with_name("doomed.py"), str(LEASE_SECONDS), *fate)


def state(process: "subprocess.Popen[str]") -> str:
    return (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSTOP"])
@pytest.mark.parametrize("point", POINTS)
def test_what_was_under_way_is_done_once(house: House, point: str, name: str) -> None:
    file_ids = house.objects()["film.mov"]
    if point in AFTER_A_DEATH:
        assert run(house, "upload", "SIGKILL").wait() == -signal.SIGKILL
    first = run(house, point, name)
    if name == "SIGSTOP":
        wait_for(lambda: state(first) == "T" or first.poll() is not None, "the daemon to freeze")
        over_at = time.monotonic() + LEASE_SECONDS
        wait_for(lambda: time.monotonic() > over_at, "its lease to run out")
        # Whatever the point, a thread may have been frozen in a transaction: nobody can write until it goes on.
        locked = house.is_locked()
        assert locked or point not in LOCKED
        second = run(house)
        if locked:
            first.send_signal(signal.SIGCONT)
        assert second.wait() == 0
        first.send_signal(signal.SIGCONT)
        assert first.wait() == 0
    else:
        assert first.wait() == (-signal.SIGKILL if name == "SIGKILL" else 0)
        assert run(house).wait() == 0

    assert f"reached {point}" in (house.folder / "log.txt").read_text()
    assert house.broken() == []
    assert house.rows()["film.mov"]["status"] == "completed"
    assert house.objects()["film.mov"] == file_ids
    assert not processes(str(house.folder))
    started = [step for step, what in house.events() if what == "started" and step != "announce"]
    again = len(started) - len(set(started))
    # What ran when it ended is done again, and nothing else. A frozen daemon that wakes may lose more than that to a
    # machine that is too slow for a lease of a second.
    assert again <= (2 if point in AFTER_A_DEATH else 1) * AT_ONCE or name == "SIGSTOP"
    if name == "SIGTERM" and point not in AFTER_A_DEATH:
        assert house.most_attempts() == 1  # what is handed back does not count
