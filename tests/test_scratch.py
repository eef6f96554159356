"""The scratch folder: who is dead, what is removed, and what is nobody's business."""

import errno
import fcntl
import pathlib
import subprocess
import sys
from pathlib import Path

import pytest

from watcher import scratch
from watcher.errors import Failure, Misconfigured, Outage, Skip, Stopped
from watcher.scratch import Scratch

HOME = Path(__file__).parent.parent
LIVES_UNTIL_KILLED = """
import sys
from pathlib import Path
from watcher.scratch import Scratch
with Scratch(Path(sys.argv[1])) as own:
    own.video(7)
    print(own.worker, flush=True)
    sys.stdin.read()
"""


def dead(own: Scratch) -> list[str]:
    with own.dead_workers() as workers:
        return workers


def killed(root: Path) -> str:
    """Let a process take a scratch folder and die with it; return its worker's name."""
    arguments = [sys.executable, "-c", LIVES_UNTIL_KILLED, str(root)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(HOME)}
    ) as process:
        assert process.stdout is not None
        worker = process.stdout.readline().strip()
        process.kill()
    return worker


def test_daemons_that_live_never_take_each_other_for_dead(tmp_path: Path) -> None:
    with Scratch(tmp_path) as one, Scratch(tmp_path) as two:
        assert (dead(one), dead(two)) == ([], [])
        assert {path.name for path in tmp_path.iterdir()} == {one.worker, two.worker}


def test_a_daemon_that_starts_is_not_taken_for_dead_by_one_that_looks_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scratch(tmp_path) as other:
        lock, seen = fcntl.flock, []

        def look_round_first(file: object, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", lock)
            seen.append(dead(other))
            lock(file, operation)  # type: ignore[arg-type]

        monkeypatch.setattr(fcntl, "flock", look_round_first)
        with Scratch(tmp_path) as own:
            assert own.video(1).is_dir()
            assert seen == [[]]
            assert dead(other) == []


def test_a_killed_daemon_is_found_dead_once_and_its_folder_is_removed(tmp_path: Path) -> None:
    worker = killed(tmp_path)
    assert (tmp_path / worker / "v7").is_dir()

    with Scratch(tmp_path) as own:
        assert dead(own) == [worker]
        assert [path.name for path in tmp_path.iterdir()] == [own.worker]
        assert dead(own) == []


def test_the_folder_of_a_dead_daemon_stays_until_its_steps_were_released(tmp_path: Path) -> None:
    worker = killed(tmp_path)
    with Scratch(tmp_path) as own:
        with pytest.raises(Outage), own.dead_workers():
            raise Outage("database_unavailable", "could not release")
        assert dead(own) == [worker]


def test_a_folder_that_was_half_removed_is_a_dead_daemons(tmp_path: Path) -> None:
    worker = "watcher-host-0123456789ab"
    (tmp_path / worker / "v1").mkdir(parents=True)
    with Scratch(tmp_path) as own:
        assert dead(own) == [worker]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    for name in ("v1", "watcher-notes", "watcher-host-0123456789abc", ".hidden", "0123456789ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").write_text("kept")
    (tmp_path / "film.mov").write_text("kept")
    (tmp_path / "watcher-file-0123456789ab").write_text("kept")
    (tmp_path / "watcher-linked-0123456789ab").symlink_to(tmp_path / "v1")
    before = sorted(path for path in tmp_path.rglob("*"))

    with Scratch(tmp_path) as own:
        dead(own)
        own.video(1)
        own.remove_video(1)

    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_an_attempt_gets_an_empty_folder_that_goes_with_it(tmp_path: Path) -> None:
    with Scratch(tmp_path) as own:
        with own.attempt(3, "token") as folder:
            assert list(folder.iterdir()) == []
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_bytes(b"x")
            assert own.video_ids() == [3]
        assert not folder.exists()
        own.remove_video(3)
        assert own.video_ids() == []


def test_a_folder_that_cannot_be_written_is_the_operators_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="SCRATCH_DIR"), Scratch(tmp_path / "file" / "scratch"):
        pass


@pytest.mark.parametrize("full", ["v1", "token"])
def test_a_full_disk_is_an_outage_whichever_folder_it_hits_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    make = pathlib.Path.mkdir

    def no_space(path: Path, *arguments: object, **named: object) -> None:
        if path.name == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, *arguments, **named)  # type: ignore[arg-type]

    with Scratch(tmp_path) as own:
        monkeypatch.setattr(pathlib.Path, "mkdir", no_space)
        with pytest.raises(Outage) as caught, own.attempt(1, "token"):
            pass
        assert caught.value.code == "disk_full"


def test_a_scratch_folder_that_was_swept_away_is_no_videos_fault(tmp_path: Path) -> None:
    with Scratch(tmp_path) as own:
        own.demand_in_place()
        scratch.shutil.rmtree(tmp_path / own.worker)
        with pytest.raises(Outage, match=own.worker) as caught, own.attempt(1, "token"):
            pass
        assert caught.value.code == "scratch_gone"
        with pytest.raises(Outage, match=own.worker):
            own.demand_in_place()
        assert not (tmp_path / own.worker).exists()  # made again without its lock it would look dead


def bereft(own: Scratch, error: Exception) -> None:
    """Begin an attempt that loses its folder and meets an error."""
    with own.attempt(1, "token") as folder:
        folder.rmdir()  # what deletes the whole begins with what lies deepest
        raise error


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), Skip("not_a_video", "no file"), Failure("bug", "none")]
)
def test_what_an_attempt_met_without_its_folder_is_put_down_to_that(tmp_path: Path, error: Exception) -> None:
    with Scratch(tmp_path) as own:
        with pytest.raises(type(error)), own.attempt(1, "token"):
            raise error
        with pytest.raises(Outage, match=own.worker) as caught:
            bereft(own, error)
        assert caught.value.code == "scratch_gone"


def test_an_attempt_that_was_stopped_stays_so_without_its_folder(tmp_path: Path) -> None:
    with Scratch(tmp_path) as own, pytest.raises(Stopped):
        bereft(own, Stopped())


def test_a_lock_that_another_file_took_the_place_of_is_gone(tmp_path: Path) -> None:
    with Scratch(tmp_path) as own:
        lock = tmp_path / own.worker / "lock"
        lock.rename(lock.with_name("before"))
        lock.write_bytes(b"")
        with pytest.raises(Outage, match="was deleted"):
            own.demand_in_place()
