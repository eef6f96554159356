"""Whatever an upload asks for, nothing else is opened: files that point to a secret and to an address, in the daemon.

A suite of its own, as it runs about a hundred videos (`pytest tests/hostile`). `strace`, where there is one,
records what ffmpeg and the prober open.
"""

import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import traps
from clips import BINARY
from house import House

from watcher import ffmpeg, localb2, room
from watcher.beat import Beat
from watcher.errors import Failure

WORDS = "canary-4f1d0c2a"
# What the C library and codecs ask of any machine, and do without when the kernel says no.
HARMLESS = ("/proc/self/", "/sys/devices/system/", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/resolv.conf")
HARMLESS += ("/etc/hosts", "/etc/gai.conf", "/etc/ld.so.preload", "/dev/null", "/etc/localtime")
HARMLESS += ("/proc/sys/vm/overcommit_memory",)  # glibc, when it gives memory of a thread back
# Films that play, whatever else they hold: they have to come out, green.
HARMLESS_FILMS = ("attachment.mkv", "linked.mkv", "names-in-tags.mp4", "locator.mxf", "subtitle-playlist.avi")
HARMLESS_FILMS += ("subtitle-script.avi", "playlist-in-free-box.mp4", "playlist-then-stream.ts")

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[tuple[traps.Bait, list[str]]]:
    """The secret film, the secret words, and an address; and who called there."""
    folder = tmp_path / "secret-canary"
    folder.mkdir()
    words = folder / "words.txt"
    words.write_text(WORDS)
    film = traps.film(folder / "film.ts", traps.MAGENTA, "-c:v", "mpeg2video")
    with listener() as (port, calls):
        yield traps.Bait(film, words, port), calls


@contextmanager
def listener() -> Iterator[tuple[int, list[str]]]:
    """Listen on one port, TCP and UDP; give the port and the list of those who called."""
    calls: list[str] = []
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as packets,
    ):
        port = server.getsockname()[1]
        packets.bind(("127.0.0.1", port))

        def take_calls() -> None:
            while True:
                connection, caller = server.accept()
                connection.close()
                if calls_end.is_set():
                    return
                calls.append(f"tcp {caller}")

        def take_packets() -> None:
            while (received := packets.recvfrom(100))[0] != b"end":
                calls.append(f"udp {received}")

        calls_end = threading.Event()
        threads = [threading.Thread(target=take_calls), threading.Thread(target=take_packets)]
        for thread in threads:
            thread.start()
        try:
            yield port, calls
        finally:
            calls_end.set()
            socket.create_connection(("127.0.0.1", port)).close()
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as last:
                last.sendto(b"end", ("127.0.0.1", port))
            for thread in threads:
                thread.join()


# Without the kernel's help, the lists of demuxers and protocols must do alone.
@pytest.mark.parametrize("confine", ["auto", "no"])
def test_no_trap_leads_anywhere(
    bait: tuple[traps.Bait, list[str]], b2: localb2.LocalB2, tmp_path: Path, confine: str
) -> None:
    target, calls = bait
    house = House(tmp_path, b2, CONFINE=confine, MAX_ATTEMPTS="1")
    work = tmp_path / "work"
    work.mkdir()
    names = []
    for name, data in [*traps.texts(target), *traps.carriers(target, work)]:
        (work / "trap").write_bytes(data)
        names.append(name)
        house.upload(work / "trap", name)
    for name in traps.object_names(target):
        names.append(name)
        house.upload(work / "plain.mp4", name)
    trace = tmp_path / "trace.txt"
    under = _strace(trace) if confine == "no" else []

    assert house.start("run", "--until-idle", under=under).wait() in (0, 1)

    rows = house.rows()
    assert set(names) == set(rows)
    assert {row["status"] for row in rows.values()} <= {"completed", "failed", "skipped"}
    assert {row["error_code"] for row in rows.values()} & {"bug", "stalled", "worker_lost"} == set()
    expected = {*HARMLESS_FILMS, *traps.object_names(target)}
    assert {name: rows[name]["error"] for name in expected if rows[name]["status"] != "completed"} == {}
    assert calls == []
    _check_outputs(house, target, work)
    if under:
        _check_trace(trace.read_text(errors="replace"), tmp_path, target)
    elif confine == "no":
        pytest.skip("all of it holds, but there is no strace here: what was opened is not known")


def test_the_traps_are_real(bait: tuple[traps.Bait, list[str]], tmp_path: Path) -> None:
    """An ffmpeg that is not told what it may open falls into them; the kernel alone keeps ours out."""
    target, calls = bait
    for name, data in [*traps.texts(target), *traps.carriers(target, tmp_path)]:
        (tmp_path / name).write_bytes(data)
    careless = ("-f", "hls", "-allowed_extensions", "ALL", "-extension_picky", "0")
    careless += ("-allowed_segment_extensions", "ALL", "-protocol_whitelist", "file,http,tcp")

    assert _colour(tmp_path / "dash.mp4") == pytest.approx(traps.MAGENTA, abs=12)
    assert _colour(tmp_path / "hls-file.mp4", *careless) == pytest.approx(traps.MAGENTA, abs=12)
    _colour(tmp_path / "hls-http.mp4", *careless)
    assert calls != []

    calls.clear()
    if ffmpeg.kernel().landlock < 4:
        pytest.skip("the kernel has no Landlock that knows the network")
    for name, options in (("dash.mp4", ()), ("hls-file.mp4", careless), ("hls-http.mp4", careless)):
        place = tmp_path / "room"
        place.mkdir(exist_ok=True)
        arguments = [*options, "-i", str(tmp_path / name), "-frames:v", "1", "leak.mkv"]
        with pytest.raises(Failure):
            ffmpeg.run(
                arguments,
                binary=BINARY,
                folder=place,
                beat=Beat(),
                limits=ffmpeg.Limits(),
                duration=None,
            )
    assert calls == []


def _strace(trace: Path) -> list[str]:
    program = shutil.which("strace")
    if program is None:
        return []
    kinds = "trace=open,openat,openat2,connect,sendto,execve,clone,clone3,vfork,fork"
    return [
        program,
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-s",
        "300",
        "-e",
        kinds,
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]


def _check_outputs(house: House, target: traps.Bait, work: Path) -> None:
    for number, (name, ids) in enumerate(sorted(house.objects().items())):
        if not name.startswith("transcoded/"):
            continue
        path = work / f"output-{number}"
        house.bucket.download(ids[0], path, beat=Beat())
        data = path.read_bytes()
        for secret in (WORDS, target.url, str(target.film), "/etc/fstab"):
            told = secret.encode() in data
            # Texts name the parts, whose folder is named after the source: see `object_names`.
            is_text = name.endswith((".m3u8", ".vtt", "/watcher.json"))
            assert not told or (is_text and secret != WORDS), f"{name} holds {secret}"
        if name.endswith(("video.mp4", ".jpg")):
            assert _colour(path) == pytest.approx(traps.GREEN, abs=12), name


def _check_trace(trace: str, folder: Path, target: traps.Bait) -> None:
    lines = trace.splitlines()
    opened = _children(lines)
    assert len(opened) > 100  # it did record them
    seen = {path for path, _ in opened}
    assert not [line for line in lines if re.match(r"\d+ open\w*\(.*secret-canary", line)]
    assert not [line for line in lines if f"htons({target.port})" in line]
    own = room.of_prober(ffmpeg.PROBER, ()).readable + room.of_ffmpeg(BINARY, ()).readable
    allowed = (
        *own,
        sys.prefix,
        str(folder / "scratch"),
        *HARMLESS,
        str(Path(sys.executable).resolve().parent),
    )
    foreign = {path for path in seen if path.startswith("/") and not path.startswith(allowed)}
    # As it starts, Python looks for a home (in vain: it may not read it), and into folders that it may import from.
    assert foreign <= {"/etc/passwd", str(Path(ffmpeg.__file__).parents[2])}


def _children(lines: list[str]) -> list[tuple[str, str]]:
    """Return (path, line) of everything that ffmpeg and the prober opened, or tried to."""
    mine: set[str] = set()
    started: dict[str, str] = {}
    for line in lines:
        if made := re.match(r"(\d+) .*\b(?:clone3?|vfork|fork)\b.* = (\d+)$", line):
            started[made[2]] = made[1]

    def is_mine(pid: str) -> bool:
        while pid not in mine and pid in started:
            pid = started[pid]
        return pid in mine

    found = []
    for line in lines:
        pid = line.split(" ", 1)[0]
        if "execve(" in line and "launcher.py" not in line:
            if f'"{BINARY}"' in line.partition("[")[0] or str(ffmpeg.PROBER) in line:
                mine.add(pid)
        elif is_mine(pid) and (path := re.search(r'\bopen(?:at2?)?\(.*?"([^"]*)"', line)):
            found.append((path[1], line))
    return found


def _colour(path: Path, *options: str) -> tuple[int, ...]:
    """Return the mean colour of the first picture."""
    command = [
        str(BINARY),
        "-nostdin",
        "-loglevel",
        "error",
        "-rw_timeout",
        "5000000",
        *options,
        "-i",
        str(path),
    ]
    command += ["-frames:v", "1", "-vf", "scale=1:1:flags=area", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    return tuple(subprocess.run(command, capture_output=True, check=False, timeout=60).stdout[:3])
