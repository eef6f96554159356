"""The door to other programs, with real ones behind it."""

import os
import select
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import av
import pytest
from clips import BINARY, cut, make
from house import wait_for

from watcher import command, ffmpeg, transcript
from watcher.beat import Beat
from watcher.errors import Failure, Misconfigured, Outage, Stopped

FOREVER = ("-re", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10", "-f", "null", "-")


def run(
    *arguments: str,
    folder: Path,
    beat: Beat | None = None,
    limits: ffmpeg.Limits | None = None,
    binary: Path = BINARY,
) -> transcript.Report:
    return ffmpeg.run(
        arguments,
        binary=binary,
        folder=folder,
        beat=beat or Beat(),
        # A stand-in is a script, and needs all of Python.
        limits=limits or ffmpeg.Limits(is_confined=binary == BINARY),
        duration=timedelta(seconds=2),
    )


def script(path: Path, text: str) -> Path:
    """Write a program that takes ffmpeg's place."""
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_report_counts_what_was_read_decoded_and_written(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4")
    beat = Beat()

    report = run("-i", str(clip), *("-map", "0:v", "-c:v", "mpeg4", "out.mp4"), folder=tmp_path, beat=beat)

    with av.open(str(clip)) as container:
        size_bytes = sum(packet.size for packet in container.demux(video=0))
    assert report.read[0, 0] == transcript.Read(packets=50, frames=50, errors=0, size_bytes=size_bytes)
    assert report.wrote[0, 0] == transcript.Wrote(packets=50, frames=50)
    assert not report.is_cut
    assert not report.is_unread
    assert beat.fraction > 0.9


@pytest.mark.parametrize(
    "line",
    [
        "[Eval @ 0x55d4] [warning] 4250000000978.667000",
        "[aost#0:0/copy @ 0x55d4] [warning] Non-monotonic DTS; previous: 103443, current: 677124250000000978.667000",
    ],
    ids=["alone", "in a line of another thread"],
)
def test_a_clock_that_goes_back_is_understood_although_other_threads_of_ffmpeg_speak_meanwhile(
    line: str,
) -> None:
    listener = transcript.Listener(Beat(), None, None)

    for one in ("[mp4 @ 0x55d4] [warning] 4250", line, "[mp4 @ 0x55d4] [warning] 0.978667"):
        listener.message(one)

    assert listener.report(1.0).back_seconds == 0.978


def test_a_child_that_is_to_stand_back_does_so_for_its_session_too(tmp_path: Path) -> None:
    """Linux may share the processors out among sessions before it looks at the niceness of processes."""
    text = (
        "import os, pathlib\n"
        "group = pathlib.Path('/proc/self/autogroup')\n"
        "pathlib.Path('said').write_text(f\"{os.nice(0)} {group.read_text() if group.exists() else ''}\")"
    )
    run(
        folder=tmp_path,
        binary=script(tmp_path / "program", text),
        limits=ffmpeg.Limits(nice=7, is_confined=False),
    )

    niceness, _, group = (tmp_path / "said").read_text().partition(" ")
    assert int(niceness) == os.nice(0) + 7
    if group and os.geteuid() == 0:  # others are refused when another child stood back just before
        assert group.split()[-2:] == ["nice", "7"]


def test_a_failure_says_command_exit_code_and_last_lines_but_no_secret(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        run("-i", "http://127.0.0.1:1/secret-token", "-f", "null", "-", folder=tmp_path)

    assert caught.value.code == "encode_failed"
    assert "exit code" in caught.value.detail
    assert "Connection refused" in caught.value.detail
    assert "command: ffmpeg -nostdin" in caught.value.detail
    assert "secret-token" not in caught.value.detail


def test_an_ffmpeg_ended_by_a_signal_is_no_success_although_its_file_plays(tmp_path: Path) -> None:
    stand_in = script(
        tmp_path / "ffmpeg", "import os, signal; os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    )

    with pytest.raises(Failure, match="SIGTERM"):
        run(folder=tmp_path, binary=stand_in)


def test_terminal_codes_in_a_message_are_made_harmless(tmp_path: Path) -> None:
    stand_in = script(
        tmp_path / "ffmpeg",
        "import sys; sys.stderr.write('[error] \\x1b[2J\\u202egnp\\u2066\\u200f\\x9b1m\\x07'); sys.exit(1)",
    )

    with pytest.raises(Failure) as caught:
        run(folder=tmp_path, binary=stand_in)

    assert not set("\x1b\u202e\u2066\u200f\x9b\x07") & set(caught.value.detail)


def test_endless_output_is_not_kept(tmp_path: Path) -> None:
    stand_in = script(
        tmp_path / "ffmpeg",
        "import sys\nfor i in range(2000): sys.stderr.write('[error] ' + 'x' * 20000 + '\\n')\nsys.exit(1)",
    )

    with pytest.raises(Failure) as caught:
        run(folder=tmp_path, binary=stand_in)

    assert len(caught.value.detail) < 20_000


def test_a_stopped_beat_ends_ffmpeg_and_whatever_it_started(tmp_path: Path) -> None:
    stand_in = script(
        tmp_path / "ffmpeg",
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([{str(BINARY)!r}, '-nostdin', *{FOREVER!r}], stderr=subprocess.DEVNULL)\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "print('out_time_us=1', flush=True)\n"
        "child.wait()",
    )
    beat = _StopsWhenItMoves()

    with pytest.raises(Stopped):
        run(folder=tmp_path, binary=stand_in, beat=beat)

    parent, child = (int(number) for number in (tmp_path / "pids").read_text().split())
    assert not _is_alive(parent)
    wait_for(lambda: not _is_alive(child), "the kernel to end what was killed")


def test_ffmpeg_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom watcher import ffmpeg\nfrom watcher.beat import Beat\n"
        "class Loud(Beat):\n"
        "    def advance(self, fraction=None):\n"
        "        print('moved', flush=True)\n"
        f"ffmpeg.run({FOREVER!r}, binary=Path({str(BINARY)!r}), folder=Path({str(tmp_path)!r}), beat=Loud(),\n"
        "    limits=ffmpeg.Limits(), duration=None)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent
    )
    assert parent.stdout is not None
    with parent.stdout:
        parent.stdout.readline()
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        if not children.exists():
            parent.kill()
            parent.wait()
            pytest.skip("needs Linux")
        child = int(children.read_text())
        parent.kill()
        parent.wait()
        # ffmpeg held the other end of nothing of ours: its death shows in its process entry only.
        ended = os.pidfd_open(child) if _is_alive(child) else None
        if ended is not None:
            _wait_for_end(ended)
    assert not _is_alive(child)


def test_a_child_sees_no_environment_and_works_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "secret")
    stand_in = script(
        tmp_path / "ffmpeg", "import os; open('seen', 'w').write(f'{dict(os.environ)} {os.getcwd()}')"
    )

    run(folder=tmp_path, binary=stand_in)

    seen = (tmp_path / "seen").read_text()
    assert "secret" not in seen
    assert "PATH" not in seen
    assert str(tmp_path) in seen


def test_a_child_may_write_in_its_folder_although_that_was_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("below")
    folder.mkdir()

    run("-f", "lavfi", "-i", "testsrc2=size=64x64:duration=1", "out.mp4", folder=folder)

    assert (folder / "out.mp4").stat().st_size > 0


def test_a_child_that_wants_more_memory_than_its_limit_does_not_get_it(tmp_path: Path) -> None:
    stand_in = script(tmp_path / "ffmpeg", "bytearray(2 * 1024**3)")

    limits = ffmpeg.Limits(memory_bytes=512 * 1024**2, is_confined=False)

    with pytest.raises(Failure, match="MemoryError"):
        run(folder=tmp_path, binary=stand_in, limits=limits)


def test_an_output_beyond_its_limit_ends_ffmpeg(tmp_path: Path) -> None:
    arguments = ("-f", "lavfi", "-i", "testsrc2=duration=2", "-c:v", "rawvideo", "out.avi")

    with pytest.raises(Failure) as caught:
        run(*arguments, folder=tmp_path, limits=ffmpeg.Limits(file_bytes=100_000))

    assert caught.value.code == "source_too_large"
    assert (tmp_path / "out.avi").stat().st_size <= 100_000


ENDLESS = ("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10", "-f", "null", "-")


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ffmpeg.Limits(cpu=timedelta(seconds=1)), "source_too_costly"),
        (ffmpeg.Limits(clock=timedelta(seconds=0.1)), "source_too_costly"),
        (ffmpeg.Limits(media=timedelta(seconds=9)), "source_too_long"),
    ],
)
def test_what_does_not_end_is_ended_by_a_limit(tmp_path: Path, limits: ffmpeg.Limits, code: str) -> None:
    with pytest.raises(Failure) as caught:
        run(*ENDLESS, folder=tmp_path, limits=limits)

    assert caught.value.code == code


@pytest.mark.parametrize("limits", [ffmpeg.Limits(pixels=1000), ffmpeg.Limits(streams=1)])
def test_an_input_beyond_a_limit_is_not_decoded(tmp_path: Path, limits: ffmpeg.Limits) -> None:
    clip = make(tmp_path / "clip.mp4")

    with pytest.raises(Failure) as caught:
        run("-i", str(clip), "-f", "null", "-", folder=tmp_path, limits=limits)

    assert caught.value.code == "source_too_large"


def test_an_ffmpeg_that_cannot_start_confined_is_named_at_once(tmp_path: Path) -> None:
    stand_in = script(tmp_path / "ffmpeg", "print('ffmpeg version 1')")

    assert ffmpeg.version(stand_in) == "1"
    if ffmpeg.kernel().landlock:
        with pytest.raises(Misconfigured, match="cannot start"):
            ffmpeg.version(stand_in, is_confined=True)


def test_a_full_disk_is_an_outage_and_not_the_videos_fault(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "out.nut").symlink_to("/dev/full")

    limits = ffmpeg.Limits(is_confined=False)  # or it could not follow the link
    arguments = ("-f", "lavfi", "-i", "testsrc2=duration=2", "-c:v", "rawvideo", "out.nut")

    with pytest.raises(Outage) as caught:
        run(*arguments, folder=tmp_path, limits=limits)

    assert caught.value.code == "disk_full"


def test_a_program_that_is_no_ffmpeg_is_refused() -> None:
    with pytest.raises(Misconfigured, match="not an ffmpeg"):
        ffmpeg.version(Path("/bin/echo"))
    with pytest.raises(Misconfigured, match="can be run"):
        ffmpeg.locate(Path("/nowhere/ffmpeg"))


def test_the_version_is_the_one_that_ffmpeg_says() -> None:
    said = subprocess.run([BINARY, "-version"], capture_output=True, text=True, check=True).stdout

    assert f"ffmpeg version {ffmpeg.version(BINARY)} " in said


def probe(path: Path, folder: Path, **changes: object) -> dict[str, object]:
    settings: dict[str, object] = {
        "container": None,
        "scan": "keyframes",
        "formats": command.VIDEO_FORMATS,
        "limits": ffmpeg.Limits(),
    }
    [found] = ffmpeg.probe(
        [path],
        folder=folder,
        beat=Beat(),
        protocols=("file",),
        **(settings | changes),  # type: ignore[arg-type]
    )
    return found


def test_the_prober_counts_packets_and_the_keyframes_that_decode_alone(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", *("-c:v", "libx264", "-g", "10", "-bf", "2", "-c:a", "aac"))

    scan = probe(clip, tmp_path)["scan"]

    picture = scan["0"]  # type: ignore[index]
    assert (picture["packets"], picture["keyframes"], picture["pictures"]) == (50, 5, 5)
    assert (picture["first"], round(picture["end"], 3)) == (0.0, 2.0)


def test_a_prober_out_of_memory_fails_the_source_and_not_the_caller(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", sound=False)

    with pytest.raises(Failure):
        probe(clip, tmp_path, limits=ffmpeg.Limits(memory_bytes=64 * 1024**2))


def test_the_prober_opens_no_demuxer_that_was_not_named(tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mkv", sound=False)

    with pytest.raises(Failure) as caught:
        probe(clip, tmp_path, formats=("mov",))

    assert caught.value.code == "unreadable"
    assert "matroska" in caught.value.detail


def test_a_prober_reads_a_broken_file_to_its_end(tmp_path: Path) -> None:
    clip = cut(make(tmp_path / "whole.mkv", sound=False), tmp_path / "cut.mkv", share=0.5)

    scan = probe(clip, tmp_path, scan="packets")["scan"]

    assert 10 < scan["0"]["packets"] < 50  # type: ignore[index]


class _StopsWhenItMoves(Beat):
    def advance(self, fraction: float | None = None) -> None:
        self.stop(Stopped("the step was lost"))
        super().advance(fraction)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _wait_for_end(pidfd: int) -> None:
    try:
        assert select.select([pidfd], [], [], 30)[0]
    finally:
        os.close(pidfd)
