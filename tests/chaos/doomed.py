"""A daemon that meets its fate: `python doomed.py LEASE [POINT SIGNAL [DELAY]]`, with settings in the environment.

It does what `watcher run --until-idle` does, with one seat, no long pauses, and a lease of LEASE seconds, which the
settings do not allow to be so short. When it comes to the crash point POINT for the first time, or with a number
when it has come to so many, the process sends SIGNAL to itself, DELAY seconds later.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from datetime import timedelta

from watcher import config, crashpoint, daemon, log, retry, service, workshop


def meet(point: str, number: signal.Signals, delay: float | None) -> None:
    """Put the end of the process in the place of the crash points."""
    lock = threading.Lock()
    met: list[str] = []

    def here(name: str) -> None:
        with lock:
            met.append(name)
            is_it = len(met) == int(point) if point.isdecimal() else name == point and met.count(name) == 1
        if not is_it:
            return
        print(f"reached {name}", flush=True)
        if delay is not None:
            threading.Timer(delay, os.kill, (os.getpid(), number)).start()
            return
        handler = signal.getsignal(number)
        os.kill(os.getpid(), number)
        # The handler runs in the main thread: what follows here is to happen while the daemon drains.
        while number == signal.SIGTERM and signal.getsignal(number) is handler:
            time.sleep(0.01)

    crashpoint.here = here


def main(lease: str, point: str = "", number: str = "", delay: str = "") -> None:
    """Run until nothing is left to do, or until the end that was chosen."""
    settings = config.load()
    log.configure(level="debug", format="human")
    daemon.TIDY = timedelta(seconds=1)
    retry.FIRST, retry.LONGEST = timedelta(seconds=0.3), timedelta(seconds=3)
    with workshop.opened(settings) as opened:
        shop = dataclasses.replace(opened, lease=timedelta(seconds=float(lease)))
        worker = daemon.Daemon(shop, seats=1, poll_every=settings.poll_interval, drain=settings.drain_timeout)
        with contextlib.ExitStack() as stack:
            stack.enter_context(service.signals(worker))
            if point:
                meet(point, signal.Signals[number], float(delay) if delay else None)
            stack.enter_context(worker)
            worker.wait(until_idle=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
