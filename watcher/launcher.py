"""The program a child process starts as: it gives up what the child must not have, then becomes the child.

Run as `python -I -S launcher.py LIMITS -- ARGV...`, where LIMITS is JSON: `parent` (process id) and any of
`memory_bytes`, `cpu_seconds`, `file_bytes`, `nice`, and `room`: the only things that the child may touch, where the
kernel can see to that (see `confine`). `launcher.py --kernel` prints what this kernel can do, as JSON. Standard
library only, and no import from this package: it starts before every ffmpeg, so it has to start fast (20 ms).
A child must not outlive the daemon, even one that is killed with -9.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
from typing import Any

CANNOT_START = 127  # the shell's code for "command not found"; ffmpeg itself never ends with it
# No PATH, no HOME, no proxy settings, no credentials. Each thread's own arena would take 128 MB of the address space.
ENVIRONMENT = {"LC_ALL": "C", "MALLOC_ARENA_MAX": "4"}
CPU_GRACE = 5  # seconds between the signal that tells why (SIGXCPU) and the one that cannot be ignored

# <sys/prctl.h>
PR_SET_PDEATHSIG, PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 21, 22, 38
SECCOMP_MODE_FILTER = 2

# <linux/landlock.h>; these system calls have the same numbers on all architectures.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG, TRUNCATE = (
    1 << bit for bit in (0, 1, 2, 3, 5, 8, 14)
)
BIND_TCP, CONNECT_TCP = 1, 2
# How many rights over files there are, by the version (ABI) that brought the last of them.
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
NET_SINCE, SCOPES_SINCE = 4, 6
ALL_SCOPES = 3  # abstract unix sockets, signals
READ = EXECUTE | READ_FILE | READ_DIR  # what is executed stays in the same room
WORK = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE
FOR_FILES = EXECUTE | READ_FILE | WRITE_FILE | TRUNCATE

# <linux/audit.h>, and the numbers of: socket, sendto, sendmsg, sendmmsg.
ARCHITECTURES = {"x86_64": (0xC000003E, (41, 44, 46, 307)), "aarch64": (0xC00000B7, (198, 206, 211, 269))}
IO_URING_SETUP = 425
X32 = 0x4000_0000  # the first number of x86-64's second set of system calls
AF_INET, AF_INET6, SOCK_STREAM, IPPROTO_TCP, MSG_FASTOPEN = 2, 10, 1, 6, 0x2000_0000
# <linux/bpf_common.h>: load a word, mask it, compare it, return.
LOAD, AND, IF_EQUAL, IF_ABOVE, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
ALLOW, DENY = 0x7FFF_0000, 0x0005_0000 | 13  # SECCOMP_RET_ERRNO with EACCES


def main(arguments: list[str]) -> None:
    """Confine this process as `arguments` say, and replace it by the program they name."""
    if arguments == ["--kernel"]:
        known = {"landlock": landlock_version(), "sockets": filters_sockets()}
        sys.stdout.write(json.dumps(known))
        return
    limits = json.loads(arguments[0])
    argv = arguments[2:]
    _die_with_parent(limits["parent"])
    _yield_to_others(limits.get("nice") or 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, limits.get("memory_bytes"))
    _limit(resource.RLIMIT_CPU, limits.get("cpu_seconds"), grace=CPU_GRACE)
    _limit(resource.RLIMIT_FSIZE, limits.get("file_bytes"))
    os.umask(0o077)
    try:
        if limits.get("room") is not None:
            confine(**limits["room"])
        os.execve(argv[0], argv, ENVIRONMENT)
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]}: {error.strerror}\n")
        sys.exit(CANNOT_START)


def landlock_version() -> int:
    """Return the version of Landlock that the kernel has; 0 is none."""
    if not _is_linux():
        return 0
    just_ask = 1
    version: int = _libc().syscall(LANDLOCK_CREATE_RULESET, None, _number(0), _number(just_ask))
    return max(0, version)


def filters_sockets() -> bool:
    """Whether the kernel can refuse system calls (seccomp), and their numbers are known here."""
    if not _is_linux() or os.uname().machine not in ARCHITECTURES:
        return False
    state: int = _libc().prctl(PR_GET_SECCOMP, *map(_number, (0, 0, 0, 0)))
    return state >= 0


def confine(*, readable: list[str], writable: str, port: int | None) -> None:
    """Allow this process, for good, nothing but these files and folders, and TCP to one port of this machine.

    As far as the kernel goes: without Landlock everything stays allowed, its versions below 4 know files only.
    Paths that do not exist are left out.
    """
    if not _is_linux():
        return
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # or neither of the two would be allowed
    version = landlock_version()
    if version:
        _landlock(version, [(path, READ) for path in readable] + [(writable, WORK)], port)
    if filters_sockets():
        _only_tcp(*ARCHITECTURES[os.uname().machine])


def _landlock(version: int, paths: list[tuple[str, int]], port: int | None) -> None:
    files = (1 << FILE_RIGHTS[max(since for since in FILE_RIGHTS if since <= version)]) - 1
    handled = [files]
    if version >= NET_SINCE:
        handled.append(BIND_TCP | CONNECT_TCP)
    if version >= SCOPES_SINCE:
        handled.append(ALL_SCOPES)
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    rules = _call(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    for path, rights in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = rights & files & (-1 if stat.S_ISDIR(os.fstat(place).st_mode) else FOR_FILES)
        _call(LANDLOCK_ADD_RULE, rules, RULE_PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    if port is not None and version >= NET_SINCE:
        _call(LANDLOCK_ADD_RULE, rules, RULE_NET_PORT, struct.pack("=QQ", CONNECT_TCP, port), 0)
    _call(LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _only_tcp(architecture: int, calls: tuple[int, int, int, int]) -> None:
    """Refuse what Landlock does not see: sockets other than TCP, TCP without `connect`, and io_uring."""
    socket, sendto, sendmsg, sendmmsg = calls
    filters = [(LOAD, 0, 0, 4), (IF_EQUAL, 1, 0, architecture), (RETURN, 0, 0, DENY), (LOAD, 0, 0, 0)]
    filters += [(IF_ABOVE, 0, 1, X32), (RETURN, 0, 0, DENY)]
    filters += [(IF_EQUAL, 0, 1, IO_URING_SETUP), (RETURN, 0, 0, DENY)]
    family, kind, protocol = (0, -1, (AF_INET, AF_INET6)), (1, 0xF, (SOCK_STREAM,)), (2, -1, (0, IPPROTO_TCP))
    filters += _only(socket, family, kind, protocol)
    filters += _only(sendto, (3, MSG_FASTOPEN, (0,)))
    filters += _only(sendmsg, (2, MSG_FASTOPEN, (0,)))
    filters += _only(sendmmsg, (3, MSG_FASTOPEN, (0,)))
    filters.append((RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("=HBBI", *one) for one in filters)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(filters), ctypes.addressof(buffer))
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)


def _only(call: int, *conditions: tuple[int, int, tuple[int, ...]]) -> list[tuple[int, int, int, int]]:
    """Return the instructions that allow a system call whose arguments, masked, are among given values."""
    body: list[tuple[int, int, int, int]] = []
    for argument, mask, values in conditions:
        body += [(LOAD, 0, 0, 16 + 8 * argument), (AND, 0, 0, mask & 0xFFFF_FFFF)]
        # On a match: over the other values and the refusal.
        body += [(IF_EQUAL, len(values) - number, 0, value) for number, value in enumerate(values)]
        body.append((RETURN, 0, 0, DENY))
    body.append((RETURN, 0, 0, ALLOW))
    return [(IF_EQUAL, 0, len(body), call), *body]


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _is_linux() -> bool:
    return sys.platform.startswith("linux")


def _number(value: Any) -> Any:
    return ctypes.c_ulong(value) if isinstance(value, int) else value  # the kernel looks at all 64 bits


def _call(number: int, *arguments: Any) -> int:
    result: int = _libc().syscall(number, *map(_number, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def _prctl(*arguments: Any) -> None:
    if _libc().prctl(*map(_number, arguments)) != 0:
        raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")


def _die_with_parent(parent: int) -> None:
    if not _is_linux():
        return
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above: nobody would send the signal any more
        sys.exit(CANNOT_START)


def _yield_to_others(niceness: int) -> None:
    if niceness == 0:
        return
    os.nice(niceness)
    # Linux shares the processors out among sessions first, and each child is one of its own: the niceness of
    # their processes alone would change nothing. Not every kernel has that; some refuse two in 0.1 s.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        file.write(str(niceness))


def _limit(kind: int, most: int | None, *, grace: int = 0) -> None:
    if most is None:
        return
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most, grace = min(most, hard), min(grace, max(0, hard - most))
    with contextlib.suppress(OSError, ValueError):  # macOS knows RLIMIT_AS but refuses to set it
        resource.setrlimit(kind, (most, most + grace))


if __name__ == "__main__":
    main(sys.argv[1:])
