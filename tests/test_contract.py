"""What other programs rely on: a migration or a change of the code that would break it fails here.

`contract/` holds a table as version 1 found it, and what its view has to answer for ever.
"""

import itertools
import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from house import House, clip, wait_for

from watcher import contract, database, localb2, models

HERE = Path(__file__).parent / "contract"

# Written out here and not taken from the code: name, kind, may be null, fixed. Never edit a line; add below.
VERSION_1 = [
    ("id", "integer", False, True),
    ("file_id", "text", False, True),
    ("bucket", "text", False, True),
    ("name", "text", False, True),
    ("size_bytes", "integer", False, True),
    ("status", "text", False, False),
    ("reason", "text", True, False),
    ("error_code", "text", True, False),
    ("error", "text", True, False),
    ("progress", "number", False, False),
    ("discovered_at", "time", False, True),
    ("playable_at", "time", True, False),
    ("completed_at", "time", True, False),
    ("duration_seconds", "number", True, False),
    ("width", "integer", True, False),
    ("height", "integer", True, False),
    ("hls", "text", True, False),
    ("mp4", "text", True, False),
    ("poster", "text", True, False),
    ("storyboard", "text", True, False),
    ("audio_language", "text", True, False),
    ("loudness_lufs", "number", True, False),
]
NAMES = [name for name, *_ in VERSION_1]
STATUSES = {"pending", "running", "completed", "failed", "skipped", "cancelled"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_TYPES = {"integer": int, "number": float, "text": str, "time": str}


def test_the_promise_of_version_1_is_kept_word_for_word() -> None:
    written = [(one.name, one.kind, one.may_be_null, one.fixed) for one in contract.COLUMNS]
    assert written[: len(VERSION_1)] == VERSION_1
    assert set(contract.STATUSES) == STATUSES == {status.value for status in models.VideoStatus}
    assert contract.VERSION == 1


def test_a_table_of_version_1_is_answered_the_same_after_all_migrations(tmp_path: Path) -> None:
    file = tmp_path / "watcher.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript((HERE / "version_1.sql").read_text(encoding="utf-8"))
    _upgrade(file)
    expected = json.loads((HERE / "version_1.json").read_text(encoding="utf-8"))
    with closing(_reader(file)) as db:
        assert db.execute("SELECT version FROM video_status_version").fetchone()[0] == 1
        columns = [row[1] for row in db.execute("PRAGMA table_info(video_status)")]
        rows = _rows(db)
    assert columns[: len(NAMES)] == NAMES
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    assert {row["status"] for row in rows} == STATUSES
    for row in rows:
        _check(row)


@pytest.mark.parametrize(
    "damage",
    [
        "SELECT id, file_id, bucket, name AS object_name FROM videos",
        "SELECT *, NULL AS hls, NULL AS mp4, NULL AS poster, NULL AS storyboard FROM videos",
        "SELECT v.*, o.name AS hls, o.name AS mp4, o.name AS poster, o.name AS storyboard"
        " FROM videos v JOIN outputs o ON o.video_id = v.id",
    ],
)
def test_a_migration_that_breaks_the_view_would_be_noticed(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "watcher.db"
    with closing(sqlite3.connect(file)) as old:
        old.executescript((HERE / "version_1.sql").read_text(encoding="utf-8"))
        old.executescript(f"DROP VIEW video_status; CREATE VIEW video_status AS {damage};")
    expected = json.loads((HERE / "version_1.json").read_text(encoding="utf-8"))
    with closing(_reader(file)) as db:
        rows = _rows(db)
    assert [{name: row.get(name) for name in expected[0]} for row in rows] != expected


def test_whoever_looks_while_the_daemon_works_finds_the_promise_kept(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    house = House(tmp_path, b2)
    house.upload(clip(tmp_path / "a.mov", seconds=2), "a.mov")
    house.upload(_text(tmp_path / "b.txt"), "b.txt")
    _upgrade(tmp_path / "watcher.db")
    seen: list[dict[int, dict[str, Any]]] = []
    with closing(_reader(tmp_path / "watcher.db")) as db:

        def has_ended() -> bool:
            rows = _rows(db)
            if not seen or list(seen[-1].values()) != rows:
                seen.append({row["id"]: row for row in rows})
            return {row["status"] for row in rows} == {"completed", "skipped"}

        daemon = house.start("run", "--until-idle")
        wait_for(has_ended, "both to be done")
        assert daemon.wait(timeout=120) == 0
    assert len(seen) > 2
    fixed = [name for name, _, _, is_fixed in VERSION_1 if is_fixed]
    for earlier, later in itertools.pairwise(seen):
        assert earlier.keys() <= later.keys()
        for video_id, row in earlier.items():
            assert [row[name] for name in fixed] == [later[video_id][name] for name in fixed]
    for rows in seen:
        for row in rows.values():
            _check(row)


def test_a_reader_of_the_file_cannot_write(tmp_path: Path) -> None:
    _upgrade(tmp_path / "watcher.db")
    with closing(_reader(tmp_path / "watcher.db")) as db:
        for statement in ("DELETE FROM videos", "UPDATE videos SET status = 'x'", "DROP VIEW video_status"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                db.execute(statement)


def _check(row: dict[str, Any]) -> None:
    """Check what holds for every row at every moment."""
    for name, kind, may_be_null, _ in VERSION_1:
        value = row[name]
        assert value is not None or may_be_null, name
        assert value is None or type(value) is _TYPES[kind], name
        assert value is None or kind != "time" or TIME.fullmatch(value), name
    assert 0 <= row["progress"] <= 1
    assert row["status"] != "completed" or row["progress"] == 1
    assert row["status"] != "failed" or row["error_code"] is not None
    if row["status"] == "completed":
        assert row["completed_at"] is not None
    if row["hls"] is not None:
        assert row["playable_at"] is not None


def _reader(file: Path) -> sqlite3.Connection:
    """Open the table as a program without Watcher would: Python's own SQLite."""
    db = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=60)
    db.row_factory = sqlite3.Row
    return db


def _rows(db: sqlite3.Connection) -> list[dict[str, Any]]:
    rows: Sequence[sqlite3.Row] = db.execute("SELECT * FROM video_status ORDER BY id").fetchall()
    return [dict(row) for row in rows]


def _upgrade(file: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{file}")
    database.upgrade(engine)
    engine.dispose()


def _text(path: Path) -> Path:
    path.write_text("not a video\n" * 20)
    return path
