"""The only door to other programs: runs ffmpeg and the prober, each confined, watched and always waited for.

Knows argument lists, not what they are for. A child runs in its own folder and process group, under limits,
without the environment, and is killed when the beat says so or when this process dies.
"""

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import imageio_ffmpeg

from watcher import transcript
from watcher.beat import Beat
from watcher.errors import Failure, Misconfigured, Outage

LAUNCHER = Path(__file__).with_name("launcher.py")
PROBER = Path(__file__).with_name("probe")

CHECK_SECONDS = 0.5  # how late a stop may take effect; also how often ffmpeg reports progress
LINE_BYTES = 2000  # a longer line of output is hostile text, not a message
ANSWER_BYTES = 4 * 1024 * 1024  # of the prober: some hundred bytes a stream, and streams are limited

_NO_MEMORY = re.compile(r"Cannot allocate memory|exceeds specified max pixel count|larger than max_pixels")


@dataclass(frozen=True)
class Limits:
    """What one child may use; None is no limit."""

    # Address space, not what is used: 720p needs 0.5 GB, an 8K source about 2 GB.
    memory_bytes: int | None = 4 * 1024**3
    cpu: timedelta | None = None  # the beat's stall watch bounds time; a long film is no offence
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Child:
    """A process that works in a scratch folder."""

    id: int
    folder: Path


def locate(user_path: Path | None) -> Path:
    """Return the ffmpeg to use: the operator's, else the one that came with the package."""
    try:
        path = user_path or Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        problem = "FFMPEG: none came with the package; install ffmpeg and set FFMPEG to its path"
        raise Misconfigured([problem]) from error
    if not os.access(path, os.X_OK):
        raise Misconfigured([f"FFMPEG: {path} is not a program that can be run"])
    return path.absolute()


def version(binary: Path) -> str:
    """Return what the ffmpeg at `binary` calls itself, such as "9.0.2-static"."""
    try:
        done = subprocess.run(
            [binary, "-version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=True,
            env={"LC_ALL": "C"},  # the operator's program, too, has no need of our key
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured([f"FFMPEG: {binary} -version fails: {error}"]) from error
    words = done.stdout.decode(errors="replace").split()
    if words[:2] != ["ffmpeg", "version"]:
        raise Misconfigured([f"FFMPEG: {binary} is not an ffmpeg"])
    return words[2]


def run(
    arguments: Sequence[str],
    *,
    binary: Path,
    folder: Path,
    beat: Beat,
    limits: Limits,
    duration: timedelta | None,
    on_progress: Callable[[], None] | None = None,
) -> transcript.Report:
    """Run ffmpeg in `folder` to its end and return what it did.

    With the `duration` of the output the beat learns how far it is. `on_progress` is called in this thread
    about every `CHECK_SECONDS`; what it raises ends ffmpeg and is raised here. Raises Failure("encode_failed" |
    "source_too_large"), Outage("disk_full"), and whatever the beat raises, after ffmpeg was killed; output
    files are then incomplete.
    """
    listener = transcript.Listener(beat, duration, on_progress)
    # Info and progress lines would be mixed on a terminal; the totals per stream are only said at "verbose".
    # It would give up itself at two errors in three frames: the caller judges that, from the same totals.
    fixed = [
        "-nostdin",
        "-hide_banner",
        "-nostats",
        "-loglevel",
        "level+verbose",
        "-y",
        "-max_error_rate",
        "1",
    ]
    argv = [str(binary), *fixed, "-progress", "pipe:1", "-stats_period", str(CHECK_SECONDS), *arguments]
    started = time.monotonic()
    out, err = listener.progress, listener.message
    code = _execute(argv, folder=folder, beat=beat, limits=limits, out=out, err=err)
    if code != 0:
        raise _translate(code, argv, listener)
    if listener.has_no_space:  # some muxers fail to write and still end with 0
        raise Outage("disk_full", f"ffmpeg could not write to {folder}: no space left")
    return listener.report(time.monotonic() - started)


def probe(
    targets: Sequence[str | Path],
    *,
    folder: Path,
    beat: Beat,
    limits: Limits,
    container: str | None,
    scan: Literal["none", "packets", "start", "keyframes"],
    formats: Sequence[str],
    protocols: Sequence[str],
    max_streams: int,
    max_pixels: int,
) -> list[dict[str, Any]]:
    """Look into each container with the prober, whose module says what comes back.

    With `container` None it is recognised. Raises Failure: "unreadable" when nothing allowed opens it,
    "source_too_large", or "encode_failed" when the bytes could not be fetched.
    """
    request: dict[str, Any] = {
        "targets": [str(target) for target in targets],
        "container": container,
        "scan": scan,
        "formats": list(formats),
    }
    request |= {"protocols": list(protocols), "max_streams": max_streams, "max_pixels": max_pixels}
    answer: list[str] = [""]

    def listen(line: str) -> None:
        beat.advance()
        answer[0] = line

    said: deque[str] = deque(maxlen=transcript.TAIL_LINES)
    argv = [sys.executable, "-I", str(PROBER), json.dumps(request)]
    code = _execute(
        argv, folder=folder, beat=beat, limits=limits, out=listen, err=said.append, line_bytes=ANSWER_BYTES
    )
    if code == -signal.SIGKILL or code == -signal.SIGXCPU:
        raise Failure("source_too_large", f"reading its structure was stopped: {_ended(code)}")
    try:
        told: dict[str, Any] = json.loads(answer[0])
    except ValueError as error:
        detail = f"reading its structure failed: {_ended(code)}: {transcript.last(said)}"
        raise Failure("unreadable", detail) from error
    if "error" in told:
        code_of = {"open": "unreadable", "read": "encode_failed", "too_large": "source_too_large"}
        raise Failure(code_of[told["kind"]], transcript.clean(told["error"]))
    return [{**found, "log": told["log"]} for found in told["found"]]


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


def _execute(
    argv: list[str],
    *,
    folder: Path,
    beat: Beat,
    limits: Limits,
    out: Callable[[str], None],
    err: Callable[[str], Any],
    line_bytes: int = LINE_BYTES,
) -> int:
    """Run a program behind the launcher; return its exit code, negative for the signal that ended it."""
    beat.check()
    bounds = {"parent": os.getpid(), "memory_bytes": limits.memory_bytes, "file_bytes": limits.file_bytes}
    bounds["cpu_seconds"] = int(limits.cpu.total_seconds()) if limits.cpu else None
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
                beat.check()
        while True:
            try:
                return process.wait(CHECK_SECONDS)
            except subprocess.TimeoutExpired:
                beat.check()
    finally:
        if process.returncode is None:
            # It has not been waited for, so its number cannot belong to another group yet.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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


def _translate(code: int, argv: list[str], listener: transcript.Listener) -> Failure | Outage:
    said = "\n".join(listener.lines())
    if transcript.NO_SPACE.search(said):
        return Outage("disk_full", "ffmpeg could not write: no space left on the device")
    command = transcript.clean(" ".join(["ffmpeg", *argv[1:]]))
    detail = f"ffmpeg {_ended(code)}: {listener.text()}\ncommand: {command}"
    if _NO_MEMORY.search(said):
        return Failure("source_too_large", detail)
    return Failure("encode_failed", detail)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
