"""The disk fills up at any moment of the work, or cannot be written to; what was under way is done once all the same.

Real mounts, which need root: without it all of it is skipped. Minutes: run by .ci/run.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import BUCKET, House, clip, wait_for

from watcher import localb2
from watcher.localb2 import operations

DOOMED = Path(__file__).with_name("doomed.py")
LEASE_SECONDS = 2.0
# More than is free at least when a step is begun: see watcher/leftovers.py.
SCRATCH_MB, DATABASE_MB = 300, 16

# Where the disk fills up: behind each of these some more is written there.
SCRATCH = ("claim", "ranges", "plan", "chunk", "grown", "upload.part", "record", "announce", "package")
DATABASE = ("list", "insert", "claim", "plan", "upload.finish", "record", "commit", "announce", "package")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return clip(folder / "film.mov", "-c:v", "mpeg4", "-c:a", "aac", seconds=1, size="160x90")


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {done.stderr}")


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own, of so many megabytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write in a folder who opens a file there from now on, root included."""
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def b2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[localb2.LocalB2]:
    """A B2 that takes whatever is larger than a playlist in parts."""
    monkeypatch.setattr(operations, "SMALLEST_PART_BYTES", 1)
    with localb2.serve(tmp_path / "b2", buckets=[BUCKET], part_bytes=8_000) as server:
        yield server


def open_house(folder: Path, b2: localb2.LocalB2, film: Path, **settings: str) -> House:
    house = House(folder, b2, **{"POLL_SECONDS": "0.3", "QUALITY": "fast", "LADDER": "144", **settings})
    house.upload(film)
    return house


def log_of(house: House) -> str:
    return (house.folder / "log.txt").read_text()


def fill_and_heal(house: House, point: str, filling: Path, sign: str) -> bool:
    """Run until all is done, with a disk that is full from `point` on until `sign` is logged; whether it was."""
    process = house.run_program(DOOMED, str(LEASE_SECONDS), point, "FULL", str(filling))
    try:
        wait_for(lambda: sign in log_of(house) or process.poll() is not None, "the disk to be missed")
        filling.unlink()
        wait_for(lambda: process.poll() is not None, "the work to be done")
    finally:
        process.kill()
        process.wait()
        print(log_of(house))
    assert f"reached {point}" in log_of(house)
    assert process.returncode == 0
    assert house.rows()["film.mov"]["status"] == "completed"
    assert house.broken() == []
    return sign in log_of(house)


@pytest.mark.parametrize("disk", [SCRATCH_MB], indirect=True)
@pytest.mark.parametrize("point", SCRATCH)
def test_a_scratch_disk_that_fills_up_at_any_moment_costs_no_attempt(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path, point: str
) -> None:
    house = open_house(tmp_path, b2, film, SCRATCH_DIR=str(disk / "scratch"))

    assert fill_and_heal(house, point, disk / "fill", "disk_full")

    assert house.most_attempts() == 1


@pytest.mark.parametrize("disk", [DATABASE_MB], indirect=True)
@pytest.mark.parametrize("point", DATABASE)
def test_a_disk_that_fills_up_under_the_database_at_any_moment_loses_nothing(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path, point: str
) -> None:
    house = open_house(tmp_path, b2, film, DATABASE_URL=f"sqlite:///{disk}/watcher.db")

    assert fill_and_heal(house, point, disk / "fill", "database_unavailable")

    assert house.most_attempts() <= 2  # nobody can hand an attempt back then: its lease runs out


@pytest.mark.parametrize("disk", [SCRATCH_MB], indirect=True)
def test_a_scratch_folder_that_turns_read_only_is_waited_for(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path
) -> None:
    house = open_house(tmp_path, b2, film, SCRATCH_DIR=str(disk / "scratch"))
    process = house.run_program(DOOMED, "30", "claim", "SIGSTOP")
    try:
        wait_for(lambda: "reached claim" in log_of(house), "the first step")
        (worker,) = (disk / "scratch").iterdir()
        with read_only(worker):
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: "disk_full" in log_of(house), "the folder to be missed")
        wait_for(lambda: process.poll() is not None, "the work to be done")
    finally:
        process.kill()
        process.wait()
        print(log_of(house))
    assert process.returncode == 0
    assert house.broken() == []
    assert house.most_attempts() == 1


@pytest.mark.parametrize(
    ("disk", "what"), [(DATABASE_MB, "DATABASE_URL"), (SCRATCH_MB, "SCRATCH_DIR")], indirect=["disk"]
)
def test_a_folder_that_cannot_be_written_to_at_the_start_is_named(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path, what: str
) -> None:
    places = {"DATABASE_URL": f"sqlite:///{disk}/watcher.db", "SCRATCH_DIR": str(disk)}
    house = open_house(tmp_path, b2, film, **{what: places[what]})
    assert house.cli("scan").returncode == 0
    with read_only(disk):
        done = house.cli("run", "--until-idle")
        assert (done.returncode, what in done.stderr, str(disk) in done.stderr) == (2, True, True)
    assert house.cli("run", "--until-idle").returncode == 0
    assert house.broken() == []
