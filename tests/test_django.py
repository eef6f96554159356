"""A real Django site beside a daemon: it shows progress, plays the video, and cannot write."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from house import FFMPEG, House, clip, wait_for

from watcher import contract, database, localb2

SITE = Path(__file__).parent / "django_site"
OWNER = {"X-User": "alice"}


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    """A bucket and an empty table."""
    return _house(tmp_path, b2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One video that is completed, one that failed and one that was skipped: the uploads 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("made")
    with localb2.serve(folder / "b2") as b2:
        house = _house(folder, b2)
        broken = folder / "broken"
        broken.write_bytes(b"\x00\x00\x00\x18ftypmp42" + b"no film" * 100)
        song = clip(folder / "song.mov", "-vn", "-c:a", "aac", seconds=1)
        for number, path in enumerate((clip(folder / "cat.mov", seconds=1), broken, song), start=1):
            house.upload(path, f"media/private/cat{number}.mov")
        house.run_until_idle()
        yield house


def _house(folder: Path, b2: localb2.LocalB2) -> House:
    house = House(folder, b2, WATCH_PREFIX="media/private/", OUTPUT_PREFIX="media/private-transcoded/")
    writer = database.open_for_writing(house.environment["DATABASE_URL"])
    database.upgrade(writer)
    writer.dispose()
    return house


def _changed(made: House, folder: Path, *statements: str) -> Path:
    """Return a copy of the table in which something else is so."""
    copy = folder / "changed.db"
    with closing(sqlite3.connect(made.folder / "watcher.db")) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
        with other:
            for statement in statements:
                other.execute(statement)
    return copy


def _environment(house: House, state: Path, table: Path | None = None) -> dict[str, str]:
    state = state / "site"
    state.mkdir(exist_ok=True)
    return {
        **house.environment,
        "PATH": os.environ["PATH"],
        "HOME": str(house.folder),
        "PYTHONPATH": str(SITE),
        "SITE_STATE": str(state),
        "WATCHER_DB": str(table or house.folder / "watcher.db"),
    }


@contextmanager
def _site(house: House, state: Path, *owners: str, table: Path | None = None) -> Iterator[str]:
    """Run the site with one upload of each owner; gives its base URL."""
    with (state / "site.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SITE / "serve.py"), *owners],
            env=_environment(house, state, table),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.match(r"port (\d+)", line):
                break
        assert found, (state / "site.txt").read_text()
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers or OWNER, timeout=60)


def test_a_site_shows_progress_and_plays_what_the_daemon_makes(house: House) -> None:
    name = "media/private/cat1.mov"
    with _site(house, house.folder, "alice", "bob") as base:
        detail = f"{base}/api/videos/{name}"
        assert _get(detail).json()["status"] == "uploaded"
        assert "data-watcher-reload" in _get(f"{base}/watch/1/").text
        house.upload(clip(house.folder / "cat.mov", seconds=1), name)
        assert house.cli("scan").returncode == 0
        assert _get(detail).json()["status"] == "pending"
        page = _get(f"{base}/watch/1/").text
        assert '<progress max="1" value="0.0000" aria-label="Progress">' in page
        assert 'data-watcher-status="/watcher/1/status"' in page

        daemon = house.start("run", "--until-idle")
        wait_for(lambda: bool(_get(detail).json()["transcoded"]), "the site to see the MP4")
        state = _get(detail).json()
        assert (state["status"], state["progress"]) == ("completed", 1.0)
        assert state["thumbnail"].endswith("/poster.jpg")
        assert daemon.wait(timeout=120) == 0
        assert "cat 1: completed 1.00" in _get(base).text
        assert "cat 2: not seen yet" in _get(base).text

        page = _get(f"{base}/watch/1/").text
        assert 'width="320" height="180"' in page
        assert "<progress" not in page
        mp4 = _unescaped(_found(r'<source src="([^"]+)" type="video/mp4">', page))
        poster = _unescaped(_found(r'poster="([^"]+)"', page))
        assert _frames(requests.get(mp4, timeout=60).content) == 30
        assert requests.get(poster, timeout=60).content.startswith(b"\xff\xd8")
        for script in ("watcher/hls.js", "watcher/player.js"):
            assert _get(f"{base}/static/{script}").status_code == 200

        _plays(base, _found(r'data-watcher-hls="([^"]+)"', page))
        assert house.environment["B2_APPLICATION_KEY"] not in page


def _plays(base: str, address: str) -> None:
    """Follow the playlists as a player does, down to bytes of every rung."""
    master = _get(urllib.parse.urljoin(base, address))
    assert master.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    names = [line for line in master.text.splitlines() if line and not line.startswith("#")]
    names += re.findall(r'URI="([^"]+)"', master.text)
    assert len(names) >= 2  # a picture and the sound
    for name in names:
        media = _get(urllib.parse.urljoin(master.url, name))
        addresses = [line for line in media.text.splitlines() if line and not line.startswith("#")]
        addresses += re.findall(r'URI="([^"]+)"', media.text)
        assert len(addresses) >= 2
        for part in set(addresses):
            # Without the site: the address alone opens the object, as a player's request for a range.
            answer = requests.get(part, headers={"Range": "bytes=0-99"}, timeout=60)
            assert (answer.status_code, len(answer.content)) == (206, 100)
            bare = requests.get(part.partition("?")[0], timeout=60)
            assert bare.status_code == 401


def test_a_video_that_is_being_made_shows_how_far_it_is_and_plays_already(
    made: House, tmp_path: Path
) -> None:
    table = _changed(  # as it is after the first chunk was announced
        made,
        tmp_path,
        "UPDATE videos SET status = 'running', progress = 0.375, completed_at = NULL, width = NULL WHERE id = 1",
        "UPDATE outputs SET obsolete_at = published_at WHERE kind IN ('mp4', 'poster')",
    )
    with _site(made, tmp_path, "alice", table=table) as base:
        assert "cat 1: running 0.38" in _get(base).text
        state = _get(f"{base}/watcher/1/status").json()
        assert (state["progress"], state["is_playable"], state["is_over"]) == (0.375, True, False)
        page = _get(f"{base}/watch/1/").text
        assert '<progress max="1" value="0.3750" aria-label="Progress">' in page
        assert "<source" not in page
        _plays(base, _found(r'data-watcher-hls="([^"]+)"', page))


def test_only_who_may_watch_is_told_anything(made: House, tmp_path: Path) -> None:
    with _site(made, tmp_path, "alice") as base:
        assert _get(f"{base}/watcher/1/status").json()["is_playable"] is True
        for path in ("/watcher/1/status", "/watcher/1/hls/master.m3u8", "/watcher/999/status"):
            assert _get(f"{base}{path}", **{"X-User": "mallory"}).status_code == 404
        for name in ("nothing.m3u8", "..%2Fmaster.m3u8", "video.mp4", "%2E%2E"):
            assert _get(f"{base}/watcher/1/hls/{name}").status_code == 404
        assert requests.post(f"{base}/watcher/1/status", timeout=60).status_code == 405


def test_a_failed_or_skipped_upload_says_so_and_its_words_are_harmless(made: House, tmp_path: Path) -> None:
    table = _changed(
        made, tmp_path, "UPDATE videos SET error = '<script>alert(1)</script>' WHERE status = 'failed'"
    )
    with _site(made, tmp_path, "alice", "alice", "alice", table=table) as base:
        failed, skipped = (_get(f"{base}/watch/{number}/").text for number in (2, 3))
    assert "could not be made playable: &lt;script&gt;" in failed
    assert "<script>alert" not in failed
    assert "There is nothing to play here (audio_only)." in skipped


def test_the_site_cannot_write_whatever_it_tries(made: House, tmp_path: Path) -> None:
    before = made.dump()
    done = subprocess.run(
        [sys.executable, str(SITE / "write.py")],
        env=_environment(made, tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = done.stdout.splitlines()
    assert len(told) == 12
    refused = re.compile(
        r"[\w ]+: (ReadOnly|OperationalError): .*(only Watcher writes|readonly database|because it is a view)"
    )
    assert [line for line in told if not refused.match(line)] == ["migrate: done"]
    assert made.dump() == before


PROGRAM = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import django; django.setup()
from datetime import timedelta
from watcher.contrib.django.models import Video
import json
done = Video.objects.get(status='completed')
print(json.dumps({
    "fields": [field.name for field in Video._meta.get_fields()],
    "aware": str(done.completed_at.tzinfo),
    "since": Video.objects.filter(completed_at__gte=done.completed_at).count(),
    "after": Video.objects.filter(completed_at__gt=done.completed_at).count(),
    "within": Video.objects.filter(
        completed_at__range=(done.completed_at - timedelta(seconds=1), done.completed_at)).count(),
    "ours": sorted(name for name in sys.modules if name.split(".")[0] == "watcher" and "contrib" not in name),
    "theirs": sorted({"sqlalchemy", "b2sdk", "av", "pydantic", "fastapi", "rich"} & set(sys.modules)),
    "same": str(Video.objects.of(done.name)) == done.name and Video.objects.of("nothing") is None,
}))
"""


def test_the_model_is_the_contract_and_needs_nothing_else_of_watcher(made: House, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=_environment(made, tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["fields"] == list(contract.NAMES)
    assert told["aware"] in ("UTC", "datetime.timezone.utc")
    assert (told["since"], told["after"], told["within"]) == (1, 0, 1)
    assert told["ours"] == ["watcher", "watcher.contract"]
    assert told["theirs"] == []
    assert told["same"]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE x (y)", "watcher.E002"),
        ("CREATE VIEW video_status_version AS SELECT 2 AS version", "watcher.E003"),
    ],
)
def test_a_table_that_the_app_cannot_read_is_found_by_djangos_check(
    tmp_path: Path, statement: str, code: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute(statement)
    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--database", "watcher", "--settings", "settings"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SITE),
            "SITE_STATE": str(tmp_path),
            "WATCHER_DB": str(tmp_path / "other.db"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert code in done.stderr


def _frames(mp4: bytes) -> int:
    done = subprocess.run(
        [FFMPEG, "-v", "error", "-i", "pipe:", "-map", "0:v", "-c", "copy", "-f", "framecrc", "-"],
        input=mp4,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return len([line for line in done.stdout.splitlines() if not line.startswith(b"#")])


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def _unescaped(attribute: str) -> str:
    return attribute.replace("&amp;", "&")
