"""What the operator types, reads and gets as an exit code."""

import json
import re
import signal
from pathlib import Path

import iscc_samples
import pytest
from house import House, clip, processes, wait_for
from rich.cells import cell_len

from watcher import localb2


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    return House(tmp_path, b2)


@pytest.fixture
def worked(house: House) -> House:
    """Three videos: one completed, one failed, one skipped."""
    house.upload(clip(house.folder / "good.mov", seconds=1), "uploads/good film.mov")
    broken = house.folder / "broken.mp4"
    broken.write_bytes(b"this is no film" * 100)
    house.upload(broken)
    house.upload(iscc_samples.TEXT / "demo.txt")
    house.run_until_idle()
    return house


def test_wrong_settings_are_all_named_at_once_and_no_secret_is_shown(house: House) -> None:
    done = house.cli("run", B2_BUCKET_NAME="", POLL_SECONDS="often", SEATS="0", B2_APPLICATION_KEY="hush")
    assert done.returncode == 2
    for variable in ("B2_BUCKET_NAME", "POLL_SECONDS", "SEATS"):
        assert variable in done.stderr
    assert "hush" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_refused_key_ends_with_3_and_says_what_to_check(house: House) -> None:
    done = house.cli("run", B2_APPLICATION_KEY="wrong-key-of-mine")
    assert done.returncode == 3
    assert "B2_APPLICATION_KEY" in done.stderr
    assert "wrong-key-of-mine" not in done.stderr


def test_an_unknown_bucket_ends_with_2(house: House) -> None:
    done = house.cli("scan", B2_BUCKET_NAME="no-such-bucket")
    assert (done.returncode, "no-such-bucket" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", [["status"], ["show", "1"], ["requeue", "--failed"], ["db", "check"]])
def test_reading_commands_need_no_key_and_make_no_database(house: House, command: list[str]) -> None:
    done = house.cli(*command, B2_APPLICATION_KEY_ID="", B2_APPLICATION_KEY="", B2_BUCKET_NAME="")
    assert done.returncode == 2
    assert "there is no database" in done.stderr
    assert not (house.folder / "watcher.db").exists()


def test_scan_records_and_does_no_work(house: House) -> None:
    house.upload(clip(house.folder / "a.mov", seconds=1))
    done = house.cli("scan")
    assert "1 new of 1 objects" in done.stdout
    assert house.rows()["a.mov"]["status"] == "pending"


def test_status_fits_80_columns_and_says_why(worked: House) -> None:
    done = worked.cli("status")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert re.search(r"uploads/good film.mov +completed", done.stdout)
    assert re.search(r"broken.mp4 +failed unreadable", done.stdout)
    assert re.search(r"demo.txt +skipped not_a_video", done.stdout)
    assert "1 completed, 1 failed, 1 skipped" in lines[-1]


def test_long_names_leave_room_for_the_rest(house: House) -> None:
    house.upload(clip(house.folder / "a.mov", seconds=1), "a " + "very " * 40 + "long name.mov")
    house.run_until_idle()
    done = house.cli("status")
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert re.search(r"a very.*….*name\.mov +completed +0:01\.0 +[\d.]+ kB +\d+ s", done.stdout)


def test_status_as_json_has_the_columns_of_the_view(worked: House) -> None:
    rows = json.loads(worked.cli("status", "--json").stdout)
    assert {row["name"]: row["status"] for row in rows} == {
        "uploads/good film.mov": "completed",
        "broken.mp4": "failed",
        "demo.txt": "skipped",
    }
    good = next(row for row in rows if row["status"] == "completed")
    assert good["mp4"] == "transcoded/uploads/good film.mov/video.mp4"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", good["completed_at"])
    only = json.loads(worked.cli("status", "--json", "--status", "failed", "-n", "5").stdout)
    assert [row["name"] for row in only] == ["broken.mp4"]


def test_show_tells_the_story_and_what_to_do(worked: House) -> None:
    done = worked.cli("show", "broken.mp4")
    assert done.returncode == 0
    for words in ("unreadable", "what to do", "discovered", "inspect failed"):
        assert words in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    good = worked.cli("show", "uploads/good film.mov").stdout
    assert (
        "transcoded/uploads/good film.mov/video.mp4" in re.sub(r"\s*\n\s+", "", good) or "video.mp4" in good
    )
    assert worked.cli("show", "nothing").returncode == 2


def test_a_wide_script_takes_no_more_than_its_room(house: House) -> None:
    house.upload(clip(house.folder / "a.mov", seconds=1), "休日の動画" * 8 + ".mov")
    house.cli("scan")
    lines = house.cli("status").stdout.splitlines()
    assert max(cell_len(line) for line in lines) <= 80
    assert re.search(r"休日.*…\S*\.mov +pending +- +[\d.]+ kB +\d+ s", "\n".join(lines))


def test_numbers_beyond_the_database_are_a_usage_error(worked: House) -> None:
    huge = "9" * 20
    for command in (["show", huge], ["requeue", huge], ["status", "-n", huge]):
        done = worked.cli(*command)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_requeue_by_id_by_code_and_all(worked: House) -> None:
    ids = {row["name"]: row["id"] for row in worked.rows().values()}
    by_code = worked.cli("requeue", "--code", "unreadable")
    assert (by_code.returncode, by_code.stdout) == (0, f"video {ids['broken.mp4']} is pending again\n")
    worked.run_until_idle()
    assert worked.cli("requeue", "--failed").stdout == f"video {ids['broken.mp4']} is pending again\n"
    worked.run_until_idle()
    refused = worked.cli("requeue", str(ids["uploads/good film.mov"]), "999")
    assert refused.returncode == 1
    assert "--from-scratch" in refused.stderr
    assert "no such video" in refused.stderr
    again = worked.cli("requeue", "--from-scratch", str(ids["uploads/good film.mov"]))
    assert again.returncode == 0
    worked.run_until_idle()
    assert worked.rows()["uploads/good film.mov"]["status"] == "completed"
    assert worked.unaccounted() == set()


def test_requeue_wants_to_know_what(worked: House) -> None:
    assert worked.cli("requeue").returncode == 2
    unknown = worked.cli("requeue", "--code", "nonsense")
    assert (unknown.returncode, "known are" in unknown.stderr) == (2, True)


def test_run_until_idle_says_by_its_exit_code_that_something_failed(house: House) -> None:
    (house.folder / "broken.mp4").write_bytes(b"x" * 999)
    house.upload(house.folder / "broken.mp4")
    assert house.cli("run", "--until-idle").returncode == 1


def test_one_videos_story_takes_fewer_than_ten_info_lines_of_json(house: House) -> None:
    house.upload(clip(house.folder / "a.mov", "-c:v", "mpeg4", "-c:a", "mp3", seconds=1))
    done = house.cli("run", "--until-idle")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    story = [line for line in lines if line["event"] != "watching"]
    assert [line["event"] for line in story][-1] == "completed"
    assert len(story) < 10
    assert {line["level"] for line in story} == {"info"}


def test_doctor_finds_all_well(house: House) -> None:
    done = house.cli("doctor")
    assert (done.returncode, "problem" in done.stdout) == (0, False)
    for subject in ("b2 key", "b2 bucket", "ffmpeg", "confined", "scratch", "sqlite", "database"):
        assert subject in done.stdout
    assert not (house.folder / "watcher.db").exists()


def test_doctor_names_what_is_wrong_and_looks_at_the_rest(house: House) -> None:
    nowhere = {"SCRATCH_DIR": "/proc/nowhere", "DATABASE_URL": "sqlite:////proc/nowhere/watcher.db"}
    done = house.cli("doctor", B2_APPLICATION_KEY="wrong", **nowhere)
    assert done.returncode == 1
    assert "SCRATCH_DIR" in done.stdout
    assert "/proc/nowhere is no folder" in done.stdout
    assert done.stdout.count("problem") == 3
    assert "ffmpeg" in done.stdout


def test_backup_makes_a_copy_that_works(worked: House) -> None:
    assert worked.cli("db", "backup", "copy.db").returncode == 0
    assert worked.cli("db", "backup", "copy.db").returncode == 2
    done = worked.cli("status", "--json", DATABASE_URL=f"sqlite:///{worked.folder}/copy.db")
    assert len(json.loads(done.stdout)) == 3
    assert worked.cli("db", "check").stdout == "the database is intact\n"
    assert "is up to date" in worked.cli("db", "upgrade").stdout


def test_the_demo_ends_with_the_table_and_files_that_play(house: House) -> None:
    done = house.cli("demo")
    assert done.returncode == 0, done.stderr
    assert re.search(r"holiday clip.mov +completed", done.stdout)
    assert "transcoded/uploads/holiday clip.mov/video.mp4" in done.stdout
    assert (house.folder / "watcher-demo" / "video.mp4").stat().st_size > 100_000
    assert (house.folder / "watcher-demo" / "poster.jpg").stat().st_size > 5_000


def test_the_demo_takes_a_video_and_says_what_is_wrong_with_it(house: House) -> None:
    clip(house.folder / "-mine $(x).mov", seconds=1)
    assert house.cli("demo", "--", "-mine $(x).mov").returncode == 0
    assert house.cli("demo", "absent.mov").returncode == 2
    (house.folder / "text.mp4").write_text("no film")
    failed = house.cli("demo", "text.mp4")
    assert (failed.returncode, "unreadable" in failed.stdout) == (1, True)


def test_the_demo_harms_nothing_of_the_users(house: House) -> None:
    mine = house.folder / "mine"
    (mine / "state").mkdir(parents=True)
    (mine / "state" / "diary.txt").write_text("dear diary")
    assert house.cli("demo", "--folder", "mine").returncode == 2
    assert (mine / "state" / "diary.txt").read_text() == "dear diary"
    first = clip(house.folder / "a.mov", seconds=1)
    assert house.cli("demo", first.name, "--folder", "odd a?b%20").returncode == 0
    (house.folder / "odd a?b%20" / "state-killed").mkdir()  # as a demo leaves it that is killed
    assert house.cli("demo", first.name, "--folder", "odd a?b%20").returncode == 0
    made = house.folder / "odd a?b%20" / "video.mp4"
    before = made.read_bytes()
    refused = house.cli("demo", str(made), "--folder", "odd a?b%20")
    assert (refused.returncode, "lies in" in refused.stderr) == (2, True)
    assert made.read_bytes() == before
    assert sorted(path.name for path in made.parent.iterdir()) == [".watcher-demo", "poster.jpg", "video.mp4"]


def test_ctrl_c_ends_the_demo_and_leaves_no_process(house: House) -> None:
    clip(house.folder / "long.mov", "-c:v", "mpeg4", "-c:a", "mp3", seconds=60, size="1280x720")
    demo = house.start("demo", "long.mov")
    wait_for(lambda: len(processes(str(house.folder / "watcher-demo"))) > 0, "ffmpeg to run")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=60) == 130
    assert not processes(str(house.folder))


def test_help_and_version_work_without_settings(house: House) -> None:
    bare = dict.fromkeys(house.environment, "")
    assert "Exit codes" in house.cli("--help", **bare).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", house.cli("--version", **bare).stdout)
