"""The program a child process starts as: it gives up what the child must not have, then becomes the child.

Run as `python -I -S launcher.py LIMITS -- ARGV...`, where LIMITS is JSON: `parent` (process id) and any of
`memory_bytes`, `cpu_seconds`, `file_bytes`. Standard library only, and no import from this package: it starts
before every ffmpeg, so it has to start fast (20 ms). A child must not outlive the daemon, even one that is
killed with -9.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

CANNOT_START = 127  # the shell's code for "command not found"; ffmpeg itself never ends with it
ENVIRONMENT = {"LC_ALL": "C"}  # no PATH, no HOME, no proxy settings, no credentials
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def main(arguments: list[str]) -> None:
    """Confine this process as `arguments` say, and replace it by the program they name."""
    limits = json.loads(arguments[0])
    argv = arguments[2:]
    _die_with_parent(limits["parent"])
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, limits.get("memory_bytes"))
    _limit(resource.RLIMIT_CPU, limits.get("cpu_seconds"))
    _limit(resource.RLIMIT_FSIZE, limits.get("file_bytes"))
    os.umask(0o077)
    try:
        os.execve(argv[0], argv, ENVIRONMENT)
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        sys.exit(CANNOT_START)


def _die_with_parent(parent: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above: nobody would send the signal any more
        sys.exit(CANNOT_START)


def _limit(kind: int, most: int | None) -> None:
    if most is None:
        return
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS knows RLIMIT_AS but refuses to set it
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main(sys.argv[1:])
