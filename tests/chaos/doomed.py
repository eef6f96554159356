"""A daemon that meets its fate: `python doomed.py LEASE [POINT SIGNAL [DELAY] | POINT FULL FILE]`.

Settings are in the environment. It does what `watcher run --until-idle` does, with one seat, no long pauses, a lease of
LEASE seconds, which the settings do not allow to be so short, and the MP4 begun early of small films too. When it comes
to the crash point POINT for the first time, or with a number when it has come to so many, the process sends SIGNAL to
itself, DELAY seconds later; or it makes FILE so large that the disk is full, and goes on.
"""

import contextlib
import dataclasses
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from watcher import config, crashpoint, daemon, log, retry, service, workshop
from watcher.plan import ahead
from watcher.steps import film


def meet(point: str, act: Callable[[], None]) -> None:
    """Put what is to happen in the place of the crash points."""
    lock = threading.Lock()
    met: list[str] = []

    def here(name: str) -> None:
        with lock:
            met.append(name)
            is_it = len(met) == int(point) if point.isdecimal() else name == point and met.count(name) == 1
        if not is_it:
            return
        print(f"reached {name}", flush=True)
        act()

    crashpoint.here = here


def end(number: signal.Signals, delay: float | None) -> None:
    """End the process, or begin to."""
    if delay is not None:
        threading.Timer(delay, os.kill, (os.getpid(), number)).start()
        return
    handler = signal.getsignal(number)
    os.kill(os.getpid(), number)
    # The handler runs in the main thread: what follows here is to happen while the daemon drains.
    while number == signal.SIGTERM and signal.getsignal(number) is handler:
        time.sleep(0.01)


def fill(file: Path) -> None:
    """Leave no byte on the disk of a file."""
    with file.open("wb") as large, contextlib.suppress(OSError):
        while True:
            large.write(bytes(1 << 20))
            large.flush()


def main(lease: str, point: str = "", number: str = "", delay: str = "") -> None:
    """Run until nothing is left to do, or until the end that was chosen."""
    settings = config.load()
    log.configure(level="debug", format="human")
    daemon.TIDY = timedelta(seconds=1)
    retry.FIRST, retry.LONGEST = timedelta(seconds=0.3), timedelta(seconds=3)
    # Of films this small, too, there is something to stitch early.
    ahead.LEAST_BYTES, film.UNSURE_BYTES = 0, 4_000
    with workshop.opened(settings) as opened:
        shop = dataclasses.replace(opened, lease=timedelta(seconds=float(lease)))
        worker = daemon.Daemon(shop, seats=1, poll_every=settings.poll_interval, drain=settings.drain_timeout)
        with contextlib.ExitStack() as stack:
            stack.enter_context(service.signals(worker))
            if point:
                is_full = number == "FULL"
                meet(
                    point,
                    functools.partial(fill, Path(delay))
                    if is_full
                    else functools.partial(end, signal.Signals[number], float(delay) if delay else None),
                )
            stack.enter_context(worker)
            worker.wait(until_idle=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
