"""What a child process can do behind the launcher, tried out: a real child, on the kernel that is here."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from watcher import doctor, ffmpeg, room
from watcher.beat import Beat

# Prints a JSON object: what each attempt gave, or the name of the error.
ATTEMPTS = """
import json, os, socket, sys

def attempt(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"

def connect(port, *kind):
    with socket.socket(*kind) as opened:
        opened.connect(("127.0.0.1", port))

def without_connect(send):
    with socket.socket() as opened:
        send(opened)

secret, outside, allowed, other = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
there, at_once = ("127.0.0.1", other), 0x20000000  # MSG_FASTOPEN
print(json.dumps({
    "work": attempt(lambda: open("made", "w").write(open(__file__).read())),
    "remove": attempt(lambda: os.remove("made")),
    "allowed port": attempt(lambda: connect(allowed)),
    "read": attempt(lambda: open(secret).read()),
    "list": attempt(lambda: os.listdir(os.path.dirname(secret))),
    "write": attempt(lambda: open(outside, "w")),
    "append": attempt(lambda: open(secret, "a")),
    "link": attempt(lambda: os.symlink(secret, "link")),
    "environment": attempt(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "run": attempt(lambda: os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "true"], {}), 0)),
    "other port": attempt(lambda: connect(other)),
    "listen": attempt(lambda: socket.create_server(("127.0.0.1", 0))),
    "signal": attempt(lambda: os.kill(os.getppid(), 0)),
    "udp": attempt(lambda: connect(other, socket.AF_INET, socket.SOCK_DGRAM)),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX)),
    "multipath": attempt(lambda: connect(other, socket.AF_INET, socket.SOCK_STREAM, 262)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "sendto": attempt(lambda: without_connect(lambda opened: opened.sendto(b"x", at_once, there))),
    "sendmsg": attempt(lambda: without_connect(lambda opened: opened.sendmsg([b"x"], [], at_once, there))),
}))
"""
WORK = ("work", "remove", "allowed port")
# Since which version of Landlock; without one, what the socket filter sees to.
FILES = ("read", "list", "write", "append", "link", "environment", "run")
NETWORK = ("other port", "listen")
SOCKETS = ("udp", "unix", "multipath", "netlink", "sendto", "sendmsg")


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Two ports at which somebody listens."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as one,
        closing(socket.create_server(("127.0.0.1", 0))) as other,
    ):
        yield one.getsockname()[1], other.getsockname()[1]


def tried(folder: Path, ports: tuple[int, int], *, is_confined: bool) -> dict[str, str]:
    """Run the attempts in `folder`/work behind the launcher."""
    (folder / "work").mkdir()
    (folder / "secret").write_text("secret")
    (folder / "attempts.py").write_text(ATTEMPTS)
    limits: dict[str, object] = {"parent": os.getpid()}
    if is_confined:
        readable = room.of_prober(folder / "attempts.py", ()).readable
        limits["room"] = {"readable": readable, "writable": str(folder / "work"), "port": ports[0]}
    launch = [
        sys.executable,
        "-I",
        "-S",
        str(ffmpeg.LAUNCHER),
        json.dumps(limits),
        "--",
        sys.executable,
        "-I",
    ]
    names = [str(folder / name) for name in ("attempts.py", "secret", "outside")]
    done = subprocess.run(
        [*launch, *names, *map(str, ports)], cwd=folder / "work", capture_output=True, text=True, check=True
    )
    result: dict[str, str] = json.loads(done.stdout)
    return result


def test_a_confined_child_works_in_its_folder_and_can_do_nothing_else(
    tmp_path: Path, ports: tuple[int, int]
) -> None:
    kernel = ffmpeg.kernel()
    closed = FILES if kernel.landlock >= 3 else ()
    closed += NETWORK if kernel.landlock >= 4 else ()
    closed += ("signal",) if kernel.landlock >= 6 else ()
    closed += SOCKETS if kernel.sockets else ()
    if not closed:
        pytest.skip("this kernel has neither Landlock nor a known architecture")

    found = tried(tmp_path, ports, is_confined=True)

    assert {name: found[name] for name in WORK} == dict.fromkeys(WORK, "done")
    assert {name: found[name] for name in closed} == dict.fromkeys(closed, "PermissionError")
    assert not (tmp_path / "outside").exists()


def test_a_child_that_is_not_confined_can_do_most_of_it(tmp_path: Path, ports: tuple[int, int]) -> None:
    found = tried(tmp_path, ports, is_confined=False)

    # Else the test above could not fail.
    assert {name: found[name] for name in ("read", "write", "other port", "udp")} == dict.fromkeys(
        ("read", "write", "other port", "udp"), "done"
    )


def test_a_child_holds_no_secret_and_no_file_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setenv("B2_APPLICATION_KEY", "canary")
    look = tmp_path / "ffmpeg"
    look.write_text(
        f"#!{sys.executable}\n"
        "import os\n"
        "said = [open(f'/proc/self/{name}').read() for name in ('environ', 'cmdline')]\n"
        "said += [os.readlink(f'/proc/self/fd/{name}') for name in os.listdir('/proc/self/fd') if int(name) > 2\n"
        "         and os.path.exists(f'/proc/self/fd/{name}')]\n"
        "open('seen', 'w').write('\\n'.join(said))\n"
    )
    look.chmod(0o755)

    with (tmp_path / "canary").open("w") as mine:
        os.set_inheritable(mine.fileno(), True)
        ffmpeg.run(
            (),
            binary=look,
            folder=tmp_path,
            beat=Beat(),
            limits=ffmpeg.Limits(is_confined=False),
            duration=None,
        )

    seen = (tmp_path / "seen").read_text()
    assert "LC_ALL" in seen
    assert "canary" not in seen


@pytest.mark.parametrize(
    ("kernel", "verdict", "words"),
    [
        (ffmpeg.Kernel(landlock=7, sockets=True), "ok", "Landlock ABI 7"),
        (ffmpeg.Kernel(landlock=3, sockets=True), "warning", "still open: TCP to any address, signals"),
        (ffmpeg.Kernel(landlock=6, sockets=False), "warning", "still open: sockets other than TCP"),
        (ffmpeg.Kernel(landlock=0, sockets=True), "warning", "no: a hole in ffmpeg would let an upload"),
    ],
)
def test_doctor_says_what_the_kernel_leaves_open(kernel: ffmpeg.Kernel, verdict: str, words: str) -> None:
    finding = doctor.confinement(kernel)

    assert (finding.verdict, bool(finding.hint)) == (verdict, verdict != "ok")
    assert words in finding.detail
