"""The daemon as a service: what a service manager is told, how it ends, and being a container's first process."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from house import BUCKET, House, clip, processes, wait_for

from watcher import cli, config, database, localb2, service

UNIT = Path(__file__).parent.parent / "watcher/watcher.service"


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    return House(tmp_path, b2)


class Ear:
    """A service manager's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def hears(self, line: str) -> bool:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(4096).decode().splitlines()
        return line in self.heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tmp_path / "notify")
    yield ear
    ear.close()


def test_a_service_manager_is_told_of_the_start_of_life_and_of_the_end(house: House, ear: Ear) -> None:
    process = house.start("run", NOTIFY_SOCKET=str(house.folder / "notify"))
    wait_for(lambda: ear.hears("READY=1"), "the daemon to be ready")
    wait_for(lambda: ear.hears("WATCHDOG=1"), "a sign of life")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert ear.hears("STOPPING=1")
    order = [ear.heard.index(line) for line in ("READY=1", "WATCHDOG=1", "STOPPING=1")]
    assert order == sorted(order)


def test_there_is_no_sign_of_life_while_something_hangs(tmp_path: Path, ear: Ear) -> None:
    with service.Manager(str(tmp_path / "notify")) as manager:
        manager.sign(["poll", "audio"])
        assert ear.hears("STATUS=hangs: poll, audio")
        assert not ear.hears("WATCHDOG=1")


def test_an_abstract_address_is_understood() -> None:
    name = f"watcher-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        with service.Manager("@" + name) as manager:
            manager.ready()
        assert listener.recv(100).startswith(b"READY=1\n")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "watcher.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_grants_the_time_that_the_defaults_need(house: House) -> None:
    facts = dict(re.findall(r"(?m)^(\w+)=(.*)$", UNIT.read_text()))
    drain = config.load({**house.environment, "DRAIN_SECONDS": ""}).drain_timeout
    assert int(facts["TimeoutStopSec"]) > drain.total_seconds()
    assert int(facts["WatchdogSec"]) > 2 * service.SIGN_SECONDS + drain.total_seconds()
    assert int(facts["RestartPreventExitStatus"]) == cli.UNUSABLE
    assert (facts["Type"], facts["KillMode"], facts["OOMPolicy"]) == ("notify", "mixed", "continue")


def test_terminated_it_ends_although_b2_does_not_answer(house: House) -> None:
    """Calls that hang take minutes to be given up, and their threads must not be waited for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    b2 = house.start("localb2", "--folder", "other", "--port", str(port), "--bucket", BUCKET)
    log = house.folder / "log.txt"
    try:
        wait_for(lambda: "B2_REALM" in log.read_text(), "the B2 to listen")
        process = house.start("run", B2_REALM=f"http://127.0.0.1:{port}", DRAIN_SECONDS="1")
        wait_for(lambda: "watching" in log.read_text(), "the daemon to watch")
        b2.send_signal(signal.SIGSTOP)
        wait_for(lambda: has_unread(port), "a call that hangs")
        process.send_signal(signal.SIGTERM)
        # Hung calls end after three minutes, and every other wait of this test is shorter than that.
        assert process.wait(timeout=60) == 0
    finally:
        b2.kill()
        b2.wait()


NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")


def may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


needs_namespace = pytest.mark.skipif(not may_unshare(), reason="no namespace may be made here")


def first_process(house: House) -> int:
    """Return the id, as seen from here, of the process that is number 1 in its own namespace."""
    for process in processes("-m watcher run"):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            folder = Path(f"/proc/{process}/cwd").readlink()
            if re.search(r"^NSpid:\s.*\s1$", status, re.MULTILINE) and folder == house.folder:
                return process
    return 0


@pytest.mark.parametrize("where", ["here", pytest.param("first", marks=needs_namespace)])
def test_a_second_signal_ends_it_at_once_and_ffmpeg_with_it(house: House, where: str) -> None:
    encoding = ("-c:v", "mpeg4", "-q:v", "5", "-c:a", "pcm_s16le")
    house.upload(clip(house.folder / "long.mov", *encoding, seconds=30, size="1280x720"))
    house.cli("db", "upgrade")
    prefix = NAMESPACE if where == "first" else ()
    process = house.start("run", under=prefix, DRAIN_SECONDS="600")
    wait_for(lambda: ("video", "started") in house.events(), "the encode to begin")
    pid = first_process(house) if where == "first" else process.pid
    with closing(database.driver().connect(str(house.folder / "watcher.db"))) as locker:
        locker.execute("BEGIN IMMEDIATE")  # so that nothing can be handed back
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: "stopping" in (house.folder / "log.txt").read_text(), "the drain to begin")
        os.kill(pid, signal.SIGTERM)
        assert process.wait() == (128 + signal.SIGTERM if where == "first" else -signal.SIGTERM)
        wait_for(lambda: not processes(str(house.folder / "scratch")), "ffmpeg to die with its parent")


@needs_namespace
def test_a_containers_first_process_buries_orphans_and_ends_well(house: House) -> None:
    script = '(sleep 0.2 &); (sleep 3 &); exec "$@"'  # one dies before Watcher starts, one later
    process = house.start("run", under=(*NAMESPACE, "sh", "-c", script, "sh"))
    wait_for(lambda: "watching" in (house.folder / "log.txt").read_text(), "the daemon to watch")
    pid = first_process(house)
    wait_for(lambda: not [child for child in children(pid) if child == "sleep"], "the orphan to be buried")
    assert children(pid)  # the daemon itself
    os.kill(pid, signal.SIGTERM)
    assert process.wait() == 0


def children(parent: int) -> list[str]:
    """Return the names of all children of a process, the dead that were not buried too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == parent:
                found.append(name)
    return found


def has_unread(port: int) -> bool:
    """Whether a request to a port of this machine waits to be read."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [row for row in rows if row[3] == "01" and row[1].endswith(f":{port:04X}")]
    return any(int(row[4].partition(":")[2], 16) > 0 for row in established)
