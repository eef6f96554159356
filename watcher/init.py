"""What the first process of a container owes it: it passes signals on, and buries who lost its parent.

The kernel hands it every orphan, and lets it ignore each signal that it has no handler for: a daemon that is the
first process would collect the dead, and a second SIGTERM would not end it. Knows nothing of what the program does.
"""

import os
import signal

FIRST = 1  # the process that the kernel starts in a container, and makes the parent of all orphans
_EXITED_BY_SIGNAL = 128  # as a shell adds it to the signal's number


def step_back() -> None:
    """Where this process is a container's first: go on in a child, and stay behind as its init, until it ends.

    To be called before there is any thread.
    """
    if os.getpid() != FIRST:
        return
    # Blocked, they wait for `sigwait`; and no signal can come between the fork and the handler.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_attend(child))


def _attend(child: int) -> int:
    """Pass on signals and bury the dead until `child` is among them; return its exit code."""
    number = signal.SIGCHLD  # of who died before signals were blocked, nobody will tell
    while True:
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (code := _bury(child)) is not None:
            return code
        number = signal.Signals(signal.sigwait(signal.valid_signals()))


def _bury(child: int) -> int | None:
    """Collect all processes that ended; return the exit code of `child` if it is one of them."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else _EXITED_BY_SIGNAL - code
