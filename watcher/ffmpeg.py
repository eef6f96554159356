"""The only door to other programs: runs ffmpeg and the prober, each confined, watched and always waited for.

Knows argument lists, not what they are for. A child runs in its own folder and process group, under limits,
without the environment, and is killed when the beat says so or when this process dies.
"""

import contextlib
import json
import math
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import imageio_ffmpeg

from watcher import room, transcript
from watcher.beat import Beat
from watcher.errors import Failure, Misconfigured, Outage
from watcher.room import Room

LAUNCHER = Path(__file__).with_name("launcher.py")
PROBER = Path(__file__).with_name("probe")

CHECK_SECONDS = 0.5  # how late a stop may take effect; also how often ffmpeg reports progress
LINE_BYTES = 2000  # a longer line of output is hostile text, not a message
ANSWER_BYTES = 4 * 1024 * 1024  # of the prober: some hundred bytes a stream, and streams are limited

_TOO_LARGE = re.compile(
    r"Cannot allocate memory|exceeds specified max pixel count|larger than max_pixels|larger than max_streams"
    r"|File too large"
)


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


def version(binary: Path, *, is_confined: bool = False) -> str:
    """Return what the ffmpeg at `binary` calls itself, such as "9.0.2-static"."""
    said: list[str] = []
    argv = [str(binary), "-version"]
    limits = Limits(clock=timedelta(seconds=30), is_confined=is_confined)
    try:
        with tempfile.TemporaryDirectory() as folder:
            code = _execute(
                argv,
                folder=Path(folder),
                beat=Beat(),
                limits=limits,
                room=room.of_ffmpeg(binary, ()),
                out=said.append,
                err=said.append,
            )
    except (OSError, Failure) as error:
        raise Misconfigured([f"FFMPEG: {binary} -version fails: {error}"]) from error
    words = said[0].split() if said else []
    if code != 0:
        raise Misconfigured(
            [f"FFMPEG: {binary} -version {_ended(code)}: {transcript.clean(transcript.last(said))}"]
        )
    if words[:2] != ["ffmpeg", "version"]:
        raise Misconfigured([f"FFMPEG: {binary} is not an ffmpeg"])
    return words[2]


def kernel() -> Kernel:
    """Return what this machine's kernel can keep a child from."""
    argv = [sys.executable, "-I", "-S", str(LAUNCHER), "--kernel"]
    try:
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured([f"{sys.executable} {LAUNCHER} fails: {error}"]) from error
    return Kernel(**json.loads(done.stdout))


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
    "source_too_large" | "source_too_long" | "source_too_costly"), Outage("disk_full"), and whatever the beat
    raises, after ffmpeg was killed; output files are then incomplete.
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
    argv = [str(binary), *fixed, "-progress", "pipe:1", "-stats_period", str(CHECK_SECONDS)]
    for argument in arguments:
        if argument == "-i":  # every input is bounded
            argv += ["-max_streams", str(limits.streams), "-max_pixels", str(limits.pixels)]
        argv.append(argument)

    # With -copyts the output's times are those of a source, which may begin anywhere; a chunk has its end.
    longest = None if "-copyts" in arguments else limits.media

    def progress(line: str) -> None:
        listener.progress(line)
        if longest is not None and listener.made > longest:
            raise Failure("source_too_long", f"it goes on after {longest.total_seconds():.0f} s")

    started = time.monotonic()
    code = _execute(
        argv,
        folder=folder,
        beat=beat,
        limits=limits,
        room=room.of_ffmpeg(binary, arguments),
        out=progress,
        err=listener.message,
    )
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
    size_bytes: int | None = None,
) -> list[dict[str, Any]]:
    """Look into each container with the prober, whose module says what comes back.

    With `container` None it is recognised. Raises Failure: "unreadable" when nothing allowed opens it,
    "source_too_large", "source_too_costly", or "encode_failed" when the bytes could not be fetched.
    """
    request: dict[str, Any] = {
        "targets": [str(target) for target in targets],
        "container": container,
        "scan": scan,
        "formats": list(formats),
    }
    request |= {"protocols": list(protocols), "max_streams": limits.streams, "max_pixels": limits.pixels}
    request["size_bytes"] = size_bytes
    answer: list[str] = [""]

    def listen(line: str) -> None:
        beat.advance()
        answer[0] = line

    said: deque[str] = deque(maxlen=transcript.TAIL_LINES)
    argv = [sys.executable, "-I", str(PROBER), json.dumps(request)]
    code = _execute(
        argv,
        folder=folder,
        beat=beat,
        limits=limits,
        room=room.of_prober(PROBER, targets),
        out=listen,
        err=said.append,
        line_bytes=ANSWER_BYTES,
    )
    if code == -signal.SIGXCPU:
        raise Failure("source_too_costly", f"reading its structure was stopped: {_ended(code)}")
    if code == -signal.SIGKILL:
        raise Failure("source_too_large", f"reading its structure was stopped: {_ended(code)}")
    try:
        told: dict[str, Any] = json.loads(answer[0])
    except ValueError as error:
        detail = f"reading its structure failed: {_ended(code)}: {transcript.clean(transcript.last(said))}"
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
        bounds["room"] = {"readable": room.readable, "writable": str(folder), "port": room.port}
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
            raise Failure("source_too_costly", f"it was stopped after {limits.clock.total_seconds():.0f} s")

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
    if code == -signal.SIGXCPU or listener.signal == signal.SIGXCPU:
        return Failure("source_too_costly", f"it took all the processor time that it may: {detail}")
    if _TOO_LARGE.search(said):
        return Failure("source_too_large", detail)
    return Failure("encode_failed", detail)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
