"""A restored backup learns from the bucket what was published since, and nothing of that is made again."""

import shutil
import threading
from pathlib import Path

import pytest
from house import House, clip

from watcher import database, localb2

UPLOAD, READ = "b2_upload_file", "b2_download_file_by_id"


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    return House(tmp_path, b2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("film") / "film.mov", seconds=1, size="160x90")


def restore(house: House, backup: Path) -> None:
    for path in house.folder.glob("watcher.db*"):
        path.unlink()
    shutil.copy(backup, house.folder / "watcher.db")


def test_what_was_published_since_the_backup_is_recorded_and_not_made_again(
    house: House, b2: localb2.LocalB2, film: Path
) -> None:
    house.upload(film, "known.mov")
    assert house.cli("scan").returncode == 0
    backup = house.folder / "backup.db"
    assert house.cli("db", "backup", str(backup)).returncode == 0
    house.upload(film, "unknown.mov")
    house.run_until_idle()
    before, objects = house.rows(), house.objects()
    assert {row["status"] for row in before.values()} == {"completed"}
    restore(house, backup)
    b2.calls.clear()

    house.run_until_idle()

    after = house.rows()
    same = (
        "file_id",
        "status",
        "reason",
        "width",
        "height",
        "duration_seconds",
        "hls",
        "mp4",
        "poster",
        "storyboard",
    )
    for name in ("known.mov", "unknown.mov"):
        assert {key: after[name][key] for key in same} == {key: before[name][key] for key in same}
    assert (b2.calls[UPLOAD], b2.calls[READ]) == (0, 2)  # the two manifests
    assert house.objects() == objects
    assert house.unaccounted() == set()
    assert house.broken() == []
    # It is an ordinary table again: a second start looks no further, and all can be made anew.
    assert house.cli("requeue", "1", "--from-scratch").returncode == 0
    house.run_until_idle()
    assert house.rows()["known.mov"]["status"] == "completed"
    assert house.unaccounted() == set()


def test_what_is_not_whole_any_more_is_made_again(house: House, b2: localb2.LocalB2, film: Path) -> None:
    house.upload(film, "film.mov")
    assert house.cli("db", "upgrade").returncode == 0
    backup = house.folder / "backup.db"
    assert house.cli("db", "backup", str(backup)).returncode == 0
    house.run_until_idle()
    part = next(name for name in house.objects() if "/parts/" in name)
    house.bucket.delete(house.objects()[part][0], part)
    restore(house, backup)

    house.run_until_idle()

    assert house.rows()["film.mov"]["status"] == "completed"
    assert house.unaccounted() == set()  # what was left of the first time is gone
    assert house.broken() == []


def test_a_backup_that_is_made_while_a_daemon_writes_is_intact(
    house: House, film: Path, tmp_path: Path
) -> None:
    for number in range(3):
        house.upload(film, f"{number}.mov")
    assert house.cli("db", "upgrade").returncode == 0
    worker = threading.Thread(target=house.run_until_idle)
    worker.start()
    db, number = house.readings(), 0
    try:
        while worker.is_alive() or number == 0:
            database.backup(db, tmp_path / f"backup-{number}.db")
            number += 1
            worker.join(0.5)
    finally:
        db.dispose()
        worker.join()
    for each in range(number):
        copy = database.open_for_reading(f"sqlite:///{tmp_path}/backup-{each}.db")
        assert database.check(copy) == []
        copy.dispose()
    restore(house, tmp_path / "backup-0.db")
    house.run_until_idle()
    assert {row["status"] for row in house.rows().values()} == {"completed"}
