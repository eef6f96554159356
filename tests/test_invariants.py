"""What has to hold whatever breaks: a house in order has no violation, and each kind of damage is found."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from house import House, clip

from watcher import config, database, invariants, localb2, names, workshop
from watcher.beat import Beat

TOKEN = "f" * 32


@dataclass(frozen=True)
class Made:
    """A house with one completed video and a copy of its database."""

    house: House
    site: invariants.Site
    database: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("house")
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2)
        house.upload(clip(folder / "film.mov", "-c:v", "mpeg4", "-c:a", "aac", seconds=1, size="160x90"))
        house.run_until_idle(seats=1)
        readings = house.readings()
        database.backup(readings, folder / "copy.db")
        yield Made(house, house.site(readings), folder / "copy.db")
        readings.dispose()


@pytest.fixture
def there(made: Made) -> Iterator[dict[str, str]]:
    """The file ids of the objects by name; what a test adds is deleted afterwards."""
    before = made.house.objects()
    yield {name: ids[0] for name, ids in before.items()}
    for name, ids in made.house.objects().items():
        for file_id in ids:
            if file_id not in before.get(name, []):
                made.house.bucket.delete(file_id, name)


def check(
    made: Made, tmp_path: Path, *changes: str, is_settled: bool = True, films: int = 0
) -> list[invariants.Broken]:
    """Return what is found after the database was changed behind the ledger's back."""
    path = shutil.copy(made.database, tmp_path / "changed.db")
    with closing(database.driver().connect(str(path))) as connection:
        for change in changes:
            assert connection.execute(change).rowcount > 0, change
        connection.commit()
    readings = database.open_for_reading(f"sqlite:///{path}")
    try:
        return invariants.check(replace(made.site, readings=readings), is_settled=is_settled, films=films)
    finally:
        readings.dispose()


def test_a_house_in_order_has_no_violation_and_its_films_play(made: Made) -> None:
    assert invariants.check(made.site, is_settled=True) == []


DAMAGE = {
    "a source that was never recorded": ("forgotten", "UPDATE videos SET file_id = 'other'"),
    "a video that nobody will ever go on with": (
        "stuck",
        "UPDATE videos SET status = 'pending'; UPDATE steps SET status = 'blocked'",
    ),
    "a status that no event tells of": ("illegal", "UPDATE videos SET status = 'failed'"),
    "a step that works on after the end": ("illegal", "UPDATE steps SET status = 'pending' WHERE kind = 'audio'"),
    "an event that is missing": ("illegal", "DELETE FROM events WHERE what = 'started' AND step = 'audio'"),
    "a step that was begun again after it had finished": (
        "twice",
        "INSERT INTO events SELECT NULL, at, video_id, step, 'started', detail FROM events"
        " WHERE what = 'started' AND step = 'audio'",
    ),
    "an output of an attempt that did not finish": (
        "twice",
        f"UPDATE outputs SET token = '{TOKEN}' WHERE kind = 'video_part'",
    ),
    "a part that is recorded twice": (
        "twice",
        "UPDATE outputs SET kind = 'video_part', rung = 90, ordinal = 0 WHERE kind = 'audio_part'",
    ),
    "an attempt too many": ("attempts", "UPDATE steps SET attempts = 5 WHERE kind = 'video'"),
    "an object of another size": ("missing", "UPDATE outputs SET size_bytes = 1 WHERE kind = 'mp4'"),
    "an object with another SHA-1": ("missing", "UPDATE outputs SET sha1 = 'abc' WHERE kind = 'mp4'"),
    "an object that is not there": ("missing", "UPDATE outputs SET file_id = 'none' WHERE kind = 'mp4'"),
    "a film without its file": ("missing", "DELETE FROM outputs WHERE kind = 'mp4'"),
    "a source that is another one now": ("source", "UPDATE videos SET content_sha1 = 'abc'"),
    "a video that is not over": ("unfinished", "UPDATE videos SET status = 'running'"),
    "a lease": ("leftover", "UPDATE steps SET lease_until = '2026-01-01T00:00:00.000000Z' WHERE kind = 'audio'"),
    "an obsolete output": (
        "leftover",
        "UPDATE outputs SET obsolete_at = '2026-01-01T00:00:00.000000Z' WHERE kind = 'poster'",
    ),
    "debris": ("leftover", f"INSERT INTO debris VALUES (NULL, 1, '{TOKEN}', '2026-01-01T00:00:00.000000Z', NULL)"),
    "an object that is recorded nowhere": ("leftover", "DELETE FROM outputs WHERE kind = 'audio_part'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_table_is_found(made: Made, tmp_path: Path, damage: str) -> None:
    invariant, changes = DAMAGE[damage]
    found = check(made, tmp_path, *changes.split("; "))
    assert invariant in {broken.invariant for broken in found}


def test_every_invariant_has_damage_that_breaks_it() -> None:
    assert {invariant for invariant, _ in DAMAGE.values()} == set(invariants.INVARIANTS) - {"unplayable"}


@pytest.mark.usefixtures("there")
def test_what_an_attempt_left_is_found_unless_it_runs(made: Made, tmp_path: Path) -> None:
    """Objects and unfinished large files with the token of an attempt that nobody knows."""
    info = names.info("source", TOKEN)
    made.house.bucket.upload(
        made.house.folder / "film.mov", "transcoded/x", content_type="video/mp4", info=info, beat=Beat()
    )
    for is_settled in (True, False):
        found = check(made, tmp_path, "UPDATE steps SET attempts = 1", is_settled=is_settled)
        assert [broken.invariant for broken in found] == ["leftover"]
        assert "transcoded/x" in found[0].what
    running = f"INSERT INTO debris VALUES (NULL, 1, '{TOKEN}', '2026-01-01T00:00:00.000000Z', NULL)"
    assert check(made, tmp_path, running, is_settled=False) == []


def test_a_name_that_shows_another_version_is_found(
    made: Made, there: dict[str, str], tmp_path: Path
) -> None:
    name = "transcoded/film.mov/video.mp4"
    assert name in there
    made.house.bucket.upload(
        made.house.folder / "film.mov",
        name,
        content_type="video/mp4",
        info=names.info("s", TOKEN),
        beat=Beat(),
    )
    found = check(made, tmp_path, "UPDATE steps SET attempts = 1")
    assert {broken.invariant for broken in found} == {"twice", "leftover"}


@pytest.mark.usefixtures("there")
def test_films_that_do_not_play_and_playlists_that_name_nothing_are_found(made: Made, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"no film" * 1000)
    stored = made.house.bucket.upload(
        rubbish, "transcoded/film.mov/video.mp4", content_type="video/mp4", info={}, beat=Beat()
    )
    found = check(
        made,
        tmp_path,
        f"UPDATE outputs SET file_id = '{stored.file_id}', size_bytes = 7000 WHERE kind = 'mp4'",
        "UPDATE outputs SET name = name || 'x' WHERE kind = 'audio_part'",
        films=1,
    )
    told = [broken.what for broken in found if broken.invariant == "unplayable"]
    assert any("video.mp4" in what and "ffmpeg" in what for what in told)
    assert any(
        "/audio-" in what and ".m3u8 names" in what and "which is not recorded" in what for what in told
    )


def test_a_completed_film_whose_playlist_has_no_end_is_found_and_not_waited_for(
    made: Made, there: dict[str, str], tmp_path: Path
) -> None:
    [name] = [name for name in there if name.startswith("transcoded/film.mov/audio-")]
    growing = tmp_path / "growing"
    made.house.bucket.download(there[name], growing, beat=Beat())
    growing.write_text(growing.read_text().replace("#EXT-X-ENDLIST", ""))
    stored = made.house.bucket.upload(
        growing, name, content_type="application/vnd.apple.mpegurl", info={}, beat=Beat()
    )
    found = check(
        made,
        tmp_path,
        f"UPDATE outputs SET file_id = '{stored.file_id}', size_bytes = {stored.size_bytes} WHERE name = '{name}'",
        films=1,
    )
    assert f"{name} is not finished" in [broken.what for broken in found]


def test_scratch_folders_and_processes_are_found_when_nobody_works(made: Made) -> None:
    with workshop.opened(config.load(made.house.environment)):
        found = invariants.check(made.site, is_settled=True, films=0)
        assert [broken.invariant for broken in found] == ["leftover"]
        assert invariants.check(made.site, is_settled=False, films=0) == []
    dead = made.house.folder / "scratch" / f"watcher-host-{'0' * 12}"
    dead.mkdir()
    try:
        assert len(invariants.check(made.site, is_settled=True, films=0)) == 1
        assert invariants.check(made.site, is_settled=False, films=0) == []
    finally:
        dead.rmdir()


def test_a_deep_look_names_what_is_wrong_and_says_what_to_do(made: Made) -> None:
    done = made.house.cli("doctor", "--deep", COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(re.search(rf"^ok +{name} ", done.stdout, re.MULTILINE) for name in invariants.INVARIANTS)

    with closing(database.driver().connect(str(made.house.folder / "watcher.db"))) as connection:
        connection.execute("UPDATE steps SET attempts = 9 WHERE kind = 'audio'")
        connection.commit()
    done = made.house.cli("doctor", "--deep", COLUMNS="200")
    assert done.returncode == 1
    assert "step audio was tried 9 times, of 4" in done.stdout
    assert "Nothing to do if MAX_ATTEMPTS was lowered" in done.stdout
