"""The live view of the terminal."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import crowd
import pytest
from house import House, clip, wait_for
from rich.cells import cell_len
from rich.console import Console
from sqlalchemy.engine import Engine

from watcher import board, database, localb2, stats
from watcher.models import VideoStatus

VIDEOS = 300
NOW = crowd.FIRST + VIDEOS * crowd.EVERY + timedelta(minutes=5)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Engine]:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    yield engine
    engine.dispose()


def _seen(db: Engine, *, width: int = 80, height: int = 24, status: VideoStatus | None = None) -> list[str]:
    """Return the lines that a terminal of this size shows."""
    console = Console(width=width, height=height)
    view = board.view(db, stats.Tally(db), status=status, limit=None, seats=4, size=(width, height), now=NOW)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def test_it_says_what_is_waiting_what_runs_and_what_was_made(db: Engine) -> None:
    crowd.fill(db, VIDEOS)
    with db.begin() as connection:
        connection.exec_driver_sql("UPDATE steps SET attempts = 2 WHERE status = 'running'")
    lines = "\n".join(_seen(db, width=100))
    assert "49 pending, 1 running" in lines
    assert "49 ready, 99 blocked; the first is due for 13 min" in lines
    assert "running steps: 1; seats here: 4" in lines
    assert "251  uploads/0251/clip-251.mov" in lines
    assert "video (attempt 2)" in lines
    assert "50%" in lines
    assert "not listed yet" in lines
    assert "s for each second that a seat works" in lines


def test_what_the_world_holds_up_is_said(db: Engine) -> None:
    crowd.fill(db, VIDEOS)
    with db.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE steps SET outages = 1, error_code = 'b2_cap_exceeded' WHERE status = 'pending'"
        )
    assert "49 held up: b2_cap_exceeded" in "\n".join(_seen(db, width=120))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 14), (200, 60)])
def test_it_fits_the_screen_whatever_runs(db: Engine, width: int, height: int) -> None:
    crowd.fill(db, VIDEOS)
    name = "'\u4f11\u65e5' || hex(randomblob(100)) || char(27) || '[2J'"
    with db.begin() as connection:  # forty seats, and names that take more than a line
        connection.exec_driver_sql(
            "UPDATE steps SET status = 'running' WHERE kind = 'inspect' AND video_id > 260"
        )
        connection.exec_driver_sql(f"UPDATE videos SET name = {name}")
    lines = _seen(db, width=width, height=height)
    assert len(lines) <= height
    assert max(cell_len(line) for line in lines) <= width
    assert "\x1b[2J" not in "\n".join(lines)


def test_a_narrow_terminal_still_shows_which_video_is_in_which_state(db: Engine) -> None:
    crowd.fill(db, VIDEOS)
    head = next(line for line in _seen(db, width=40) if "Status" in line)
    assert head.split() == ["ID", "Name", "Status", "Length"]


def test_an_empty_table_is_shown_too(db: Engine) -> None:
    lines = "\n".join(_seen(db))
    assert "none yet" in lines
    assert "0 ready, 0 blocked" in lines


def test_only_videos_of_one_state_are_listed_when_asked(db: Engine) -> None:
    crowd.fill(db, VIDEOS)
    listed = "\n".join(_seen(db, status=VideoStatus.FAILED)).partition("newest videos")[2]
    assert "failed unreadable" in listed
    assert "pending" not in listed


def test_ctrl_c_ends_it(tmp_path: Path, b2: localb2.LocalB2) -> None:
    house = House(tmp_path, b2)
    house.upload(clip(tmp_path / "a.mov", seconds=1))
    assert house.cli("scan").returncode == 0
    watching = house.start("watch", FORCE_COLOR="1", COLUMNS="80", LINES="24")
    log = tmp_path / "log.txt"
    wait_for(lambda: "a.mov" in log.read_text(), "the video to be shown")
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=60) == 130
    assert "Traceback" not in log.read_text()
