"""One child process: started behind the launcher, listened to, held to its limits, and always waited for."""

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from watcher.beat import Beat
from watcher.errors import Failure, Misconfigured
from watcher.room import Room

LAUNCHER = Path(__file__).parent.with_name("launcher.py")

CHECK_SECONDS = 0.5  # how late a stop may take effect; also how often ffmpeg reports progress
LINE_BYTES = 2000  # a longer line of output is hostile text, not a message


@dataclass(frozen=True)
class Limits:
    """What one child may use; None is no limit."""

    # Address space, not what is used: 720p needs 0.5 GB, an 8K source about 2 GB.
    memory_bytes: int | None = 4 * 1024**3
    cpu: timedelta | None = None
    clock: timedelta | None = None
    file_bytes: int | None = None  # of each file that it writes
    media: timedelta | None = None  # how long what it makes may play
    pixels: int = 40_000_000  # a little above 8K UHD (7680x4320); 16384x8192 took 1.3 GB in one picture
    streams: int = 64  # a disc with many languages has about 40; a file with thousands is an attack on memory
    nice: int = 0  # how far it stands back behind others for the processors: 0 (not at all) to 19
    is_confined: bool = True  # where the kernel can


@dataclass(frozen=True)
class Kernel:
    """What the kernel can keep a child from."""

    landlock: int  # the version; 0 is none, 1 knows files, 4 also TCP, 6 also signals
    sockets: bool  # whether other sockets than TCP can be refused


@dataclass(frozen=True, slots=True)
class Child:
    """A process that works in a scratch folder."""

    id: int
    folder: Path


def execute(
    argv: list[str],
    *,
    folder: Path,
    beat: Beat,
    limits: Limits,
    room: Room,
    out: Callable[[str], Any],
    err: Callable[[str], Any],
    line_bytes: int = LINE_BYTES,
) -> int:
    """Run a program behind the launcher; return its exit code, negative for the signal that ended it."""
    beat.check()
    bounds: dict[str, Any] = {"parent": os.getpid(), "memory_bytes": limits.memory_bytes}
    bounds |= {"file_bytes": limits.file_bytes, "nice": limits.nice}
    bounds["cpu_seconds"] = math.ceil(limits.cpu.total_seconds()) if limits.cpu else None
    if limits.is_confined:
        bounds["room"] = {"readable": room.readable, "writable": str(folder.resolve()), "port": room.port}
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(bounds), "--", *argv]
    # The launcher's death signal is sent when the thread that starts it here ends; that thread waits below.
    process = subprocess.Popen(
        launch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={"LC_ALL": "C"},
        start_new_session=True,
    )
    deadline = time.monotonic() + limits.clock.total_seconds() if limits.clock else math.inf

    def check() -> None:
        beat.check()
        if time.monotonic() > deadline and limits.clock:
            raise Failure(
                "source_too_costly",
                f"it was stopped after {limits.clock.total_seconds():.0f} s, MAX_STEP_SECONDS",
            )

    try:
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for pipe, take in ((process.stdout, out), (process.stderr, err)):
                if pipe is not None:
                    lines = _Lines(take, line_bytes)
                    selector.register(stack.enter_context(pipe), selectors.EVENT_READ, lines)
            while selector.get_map():
                for key, _ in selector.select(CHECK_SECONDS):
                    data = os.read(key.fd, 65536)
                    key.data.feed(data)
                    if not data:
                        selector.unregister(key.fileobj)
                check()
        while True:
            try:
                return process.wait(CHECK_SECONDS)
            except subprocess.TimeoutExpired:
                check()
    finally:
        if process.returncode is None:
            # It has not been waited for, so its number cannot belong to another group yet.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def kernel() -> Kernel:
    """Return what this machine's kernel can keep a child from."""
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), "--kernel"]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured([f"{sys.executable} {LAUNCHER} fails: {error}"]) from error
    return Kernel(**json.loads(done.stdout))


def children_in(root: Path) -> list[Child]:
    """Return the processes that work in a folder below `root`, whoever started them; none where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            folder = (entry / "cwd").readlink()
        except OSError:
            continue  # it ended, or is another user's
        if folder.is_relative_to(root.resolve()):
            found.append(Child(int(entry.name), folder))
    return found


def ended(code: int) -> str:
    """Say how a program ended, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@dataclass
class _Lines:
    """Cuts a stream of bytes into lines, of which no more than `most` bytes each are kept."""

    take: Callable[[str], Any]
    most: int
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        """Take the next bytes; none means the end."""
        for piece in data.splitlines(keepends=True):
            self._rest += piece[: max(0, self.most - len(self._rest))]
            if piece.endswith((b"\n", b"\r")):
                self._flush()
        if not data:
            self._flush()

    def _flush(self) -> None:
        line = self._rest.decode(errors="replace").strip()
        self._rest.clear()
        if line:
            self.take(line)
