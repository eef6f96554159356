"""What the machine may do to Watcher: full disks, an ffmpeg that misbehaves, workers that are killed.

Real mounts, which need root: without it the tests that need them are skipped. Minutes: run by .ci/run.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from house import FFMPEG, House, clip, wait_for

from watcher import config, daemon, localb2, retry, stats, workshop

DOOMED = Path(__file__).with_name("doomed.py")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return clip(folder / "film.mov", "-c:v", "mpeg4", "-q:v", "2", "-c:a", "pcm_s16le", seconds=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 512 MB at most."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk to its last byte; return the file to delete."""
    path = disk / "fill"
    with path.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            return path


def log_of(house: House) -> str:
    path = house.folder / "log.txt"
    return path.read_text() if path.exists() else ""


def attempts(house: House) -> set[int]:
    """Return how many attempts were counted for the steps that did one thing once."""
    db = house.readings()
    try:
        videos = stats.list_videos(db)
        return {
            step.attempts for row in videos for step in stats.steps(db, row["id"]) if step.kind != "announce"
        }
    finally:
        db.dispose()


def finish(house: House, process: "subprocess.Popen[str]") -> None:
    wait_for(lambda: process.poll() is not None, "the daemon to be done")
    assert {row["status"] for row in house.rows().values()} == {"completed"}


def test_a_full_scratch_disk_is_waited_for_and_no_attempt_counts(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path
) -> None:
    house = House(tmp_path, b2, SCRATCH_DIR=str(disk / "scratch"))
    process = house.start("run")
    try:
        wait_for(lambda: "watching" in log_of(house), "the daemon to start")
        filling = fill(disk)
        house.upload(film)
        wait_for(lambda: "disk_full" in log_of(house), "the disk to be missed")
        filling.unlink()
        wait_for(lambda: [row["status"] for row in house.rows().values()] == ["completed"], "the film")
        assert attempts(house) == {1}
    finally:
        process.kill()
        process.wait()


def test_a_full_disk_under_the_database_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, disk: Path
) -> None:
    house = House(tmp_path, b2, DATABASE_URL=f"sqlite:///{disk}/watcher.db")
    house.upload(film)
    process = house.start("run")
    try:
        wait_for(lambda: "discovered" in log_of(house), "the daemon to start")
        filling = fill(disk)
        house.upload(film, "later.mov")
        wait_for(lambda: "database_unavailable" in log_of(house), "the database to be missed")
        filling.unlink()
        wait_for(
            lambda: [row["status"] for row in house.rows().values()] == ["completed"] * 2,
            "both to be completed",
        )
    finally:
        process.kill()
        process.wait()


def test_a_log_that_nobody_can_write_stops_no_work(tmp_path: Path, b2: localb2.LocalB2, film: Path) -> None:
    house = House(tmp_path, b2)
    house.upload(film)
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "watcher", "run", "--until-idle"],
            env={**house.environment, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            cwd=tmp_path,
            stdout=full,
            stderr=full,
            text=True,
        )
    try:
        finish(house, process)
    finally:
        process.kill()
        process.wait()


# What an ffmpeg may do instead of its work, and the error code that follows.
PRANKS = {
    "crashes": ("kill -SEGV $$", "encode_failed"),
    "hangs": ("exec sleep 600", "stalled"),
    "floods": ("yes rubbish | head -c 20000000 >&2; exit 3", "encode_failed"),
    "says that all is well": ("exit 0", "output_invalid"),
    "writes rubbish": ('for last; do :; done; echo rubbish > "$last"; exit 0', "output_invalid"),
    "has too little memory": (f'ulimit -v 60000; exec {FFMPEG} "$@"', "encode_failed"),
}


@pytest.mark.parametrize("prank", PRANKS)
def test_an_ffmpeg_that_misbehaves_on_one_film_fails_that_film_and_no_other(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, monkeypatch: pytest.MonkeyPatch, prank: str
) -> None:
    act, code = PRANKS[prank]
    binary = tmp_path / "ffmpeg"
    binary.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = -version ] && exec {FFMPEG} -version\n'
        # The folder of an attempt is that of its video.
        f'case "$PWD" in */v1/*) {act} ;; esac\nexec {FFMPEG} "$@"\n'
    )
    binary.chmod(0o755)
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    patience = "20" if prank == "hangs" else "120"
    house = House(tmp_path, b2, FFMPEG=str(binary), CONFINE="no", MAX_ATTEMPTS="2", STALL_SECONDS=patience)
    house.upload(film, "bad.mov")
    with workshop.opened(config.load(house.environment)) as shop:
        daemon.sweep_once(shop)  # so that the bad one is video 1, and first
        house.upload(film, "good.mov")
    house.run_until_idle()
    rows = house.rows()
    assert rows["good.mov"]["status"] == "completed"
    assert (rows["bad.mov"]["status"], rows["bad.mov"]["error_code"]) == ("failed", code)
    assert len(rows["bad.mov"]["error"]) < 20_000
    assert house.unaccounted() == set()


def test_a_film_that_kills_its_worker_every_time_ends_failed_and_the_others_go_on(
    tmp_path: Path, b2: localb2.LocalB2, film: Path
) -> None:
    binary = tmp_path / "ffmpeg"
    binary.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = -version ] && exec {FFMPEG} -version\n'
        f'case "$PWD" in */v1/*) kill -KILL $PPID; sleep 600 ;; esac\nexec {FFMPEG} "$@"\n'
    )
    binary.chmod(0o755)
    house = House(tmp_path, b2, FFMPEG=str(binary), CONFINE="no", MAX_ATTEMPTS="3")
    house.upload(film, "poison.mov")
    assert house.cli("scan").returncode == 0
    house.upload(film, "good.mov")
    ends = []
    while not ends or ends[-1] == -signal.SIGKILL:  # as a supervisor does
        assert len(ends) < 20
        process = house.start("run", "--until-idle")
        wait_for(lambda process=process: process.poll() is not None, "the daemon to end")
        ends.append(process.returncode)
    rows = house.rows()
    assert ends[-1] == 1  # a video failed
    assert ends.count(-signal.SIGKILL) >= 3
    assert (rows["poison.mov"]["status"], rows["poison.mov"]["error_code"]) == ("failed", "worker_lost")
    assert rows["good.mov"]["status"] == "completed"


def test_every_command_works_beside_a_daemon_that_writes(
    tmp_path: Path, b2: localb2.LocalB2, film: Path
) -> None:
    house = House(tmp_path, b2)
    for number in range(3):
        house.upload(film, f"{number}.mov")
    process = house.start("run")
    try:
        wait_for(lambda: "discovered" in log_of(house), "the daemon to start")
        for command in (
            ("status",),
            ("scan",),
            ("show", "1"),
            ("db", "check"),
            ("db", "backup", str(tmp_path / "backup.db")),
            ("doctor",),
        ):
            done = house.cli(*command)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        wait_for(
            lambda: [row["status"] for row in house.rows().values()] == ["completed"] * 3,
            "all to be completed",
        )
        assert house.cli("requeue", "1", "--from-scratch").returncode == 0
        wait_for(lambda: house.rows()["0.mov"]["status"] == "completed", "the one that is made again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.wait()


def moved(file: Path, folder: Path) -> None:
    """Move a database away, and then the files that belong to it: nobody opens it without them in between."""
    folder.mkdir()
    for each in sorted(file.parent.glob(f"{file.name}*")):
        each.rename(folder / each.name)


def test_a_database_that_vanishes_under_a_daemon_stops_it_and_nothing_is_lost_once_it_is_back(
    tmp_path: Path, b2: localb2.LocalB2, film: Path
) -> None:
    house = House(tmp_path, b2, LEASE_SECONDS="10")
    for number in range(3):
        house.upload(film, f"{number}.mov")
    process = house.start("run")
    try:
        wait_for(lambda: "inspected" in log_of(house), "the daemon to work")
        moved(tmp_path / "watcher.db", tmp_path / "away")
        wait_for(lambda: process.poll() is not None, "the daemon to notice")
        assert process.returncode == 2  # after which systemd does not begin anew, with an empty table
        assert "has vanished while it was in use: put it back" in log_of(house)
        assert not (tmp_path / "watcher.db").exists()
        for each in sorted((tmp_path / "away").iterdir(), reverse=True):
            each.rename(tmp_path / each.name)
        process = house.start("run", "--until-idle")
        finish(house, process)
        assert len(house.rows()) == 3
        assert house.broken() == []
    finally:
        process.kill()
        process.wait()


def test_a_backup_that_is_put_in_place_of_the_database_of_a_running_daemon_is_gone_on_with(
    tmp_path: Path, b2: localb2.LocalB2, film: Path
) -> None:
    house = House(tmp_path, b2)
    house.upload(film, "early.mov")
    process = house.start("run")
    try:
        wait_for(lambda: "watching" in log_of(house), "the daemon to start")
        wait_for(lambda: house.rows().get("early.mov", {}).get("status") == "completed", "the first film")
        assert house.cli("db", "backup", str(tmp_path / "backup.db")).returncode == 0
        house.upload(film, "late.mov")
        wait_for(lambda: house.rows().get("late.mov", {}).get("status") == "completed", "the second film")
        moved(tmp_path / "watcher.db", tmp_path / "away")
        (tmp_path / "backup.db").rename(tmp_path / "watcher.db")
        wait_for(lambda: process.poll() is not None, "the daemon to notice")
        assert process.returncode == 3  # after which systemd starts it again
        assert "was replaced by another file" in log_of(house)
        process = house.start("run", "--until-idle")
        finish(house, process)
        assert [what for _, what in house.events(2)] == ["discovered", "adopted", "completed"]
        assert house.broken() == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("swept", ["scratch", "scratch/watcher-*", "scratch/watcher-*/lock"])
def test_a_daemon_whose_scratch_folder_is_deleted_ends_with_what_to_do_and_the_next_one_goes_on(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, swept: str
) -> None:
    house = House(tmp_path, b2)
    for number in range(3):
        house.upload(film, f"{number}.mov")
    process = house.start("run")
    try:
        wait_for(lambda: "inspected" in log_of(house), "the daemon to work")
        (found,) = tmp_path.glob(swept)
        found.rename(tmp_path / "away")  # at one moment, whatever is written there meanwhile
        wait_for(lambda: process.poll() is not None, "the daemon to notice")
        assert process.returncode == 3  # after which systemd starts it again
        assert "was deleted while it was in use" in log_of(house)
        assert "off SCRATCH_DIR, and start again" in log_of(house)
        assert list(tmp_path.glob("scratch/watcher-*")) == []
        process = house.start("run", "--until-idle")
        finish(house, process)
        assert house.broken() == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("point", ["claim", "probe", "plan", "ranges", "chunk", "record", "package"])
def test_a_scratch_folder_that_is_deleted_at_any_moment_of_a_step_costs_no_attempt(
    tmp_path: Path, b2: localb2.LocalB2, film: Path, point: str
) -> None:
    house = House(tmp_path, b2, QUALITY="fast", LADDER="144")
    house.upload(film)
    process = house.run_program(DOOMED, "60", point, "SIGSTOP")
    try:
        wait_for(lambda: f"reached {point}" in log_of(house), "the moment")
        shutil.rmtree(tmp_path / "scratch")
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: process.poll() is not None, "the daemon to notice")
        assert "was deleted while it was in use" in log_of(house)
        process = house.start("run", "--until-idle")
        finish(house, process)
        assert house.most_attempts() == 1
        assert house.broken() == []
    finally:
        process.kill()
        process.wait()
        print(log_of(house))
