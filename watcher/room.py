"""What a child process may touch: the files that its program needs, what it was told to read, and one port.

Decides only; the launcher holds the child to it, where the kernel can.
"""

import itertools
import sys
import sysconfig
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Where programs find their libraries: the usual places, and those of Nix and Guix. Nothing of a user's lies there.
SYSTEM = (
    *(
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/lib",
        "/usr/lib32",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/lib64",
    ),
    *("/nix/store", "/gnu/store", "/etc/ld.so.cache", "/dev/null", "/dev/urandom"),
)


@dataclass(frozen=True)
class Room:
    """What a child may read or run, beside writing in its own folder, and the TCP port that it may connect to."""

    readable: tuple[str, ...]
    port: int | None


def of_ffmpeg(binary: Path, arguments: Sequence[str]) -> Room:
    """Return what ffmpeg needs for the inputs that its arguments name."""
    inputs = [value for option, value in itertools.pairwise(arguments) if option == "-i"]
    paths = [value.removeprefix("file:") for value in inputs if not value.startswith("http:")]
    real = binary.resolve()
    own = [str(real)]
    if real.parent.name == "bin":  # a build of one's own keeps its libraries beside it
        own.append(str(real.parent.with_name("lib")))
    return Room((*SYSTEM, *own, *paths), _port(inputs))


def of_prober(program: Path, targets: Sequence[str | Path]) -> Room:
    """Return what the prober needs for its targets: this Python, its libraries, and PyAV."""
    python = Path(sys.executable)
    home = Path(sys.base_prefix)
    own = [python.resolve(), home / "lib", home / "lib64", Path(sys.prefix) / "pyvenv.cfg", program.resolve()]
    own += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths = [str(target) for target in targets if isinstance(target, Path)]
    urls = [target for target in targets if isinstance(target, str)]
    return Room((*SYSTEM, *map(str, own), *paths), _port(urls))


def _port(urls: Sequence[str]) -> int | None:
    ports = {urllib.parse.urlsplit(url).port for url in urls if url.startswith("http:")}
    return ports.pop() if len(ports) == 1 else None
