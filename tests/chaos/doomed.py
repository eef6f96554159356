"""A daemon that meets its fate: `python doomed.py LEASE [POINT SIGNAL]`, with settings in the environment.

It does what `watcher run --until-idle` does, with one seat and a lease of LEASE seconds, which the settings do not
allow to be so short. When it comes to the crash point POINT for the first time, the process sends SIGNAL to itself.
"""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import time
from datetime import timedelta

from watcher import config, crashpoint, daemon, log, service, workshop


def meet(point: str, number: signal.Signals) -> None:
    """Put the end of the process in the place of the crash point."""
    once = threading.Lock()

    def here(name: str) -> None:
        if name != point or not once.acquire(blocking=False):
            return
        print(f"reached {name}", flush=True)
        handler = signal.getsignal(number)
        os.kill(os.getpid(), number)
        # The handler runs in the main thread: what follows here is to happen while the daemon drains.
        while number == signal.SIGTERM and signal.getsignal(number) is handler:
            time.sleep(0.01)

    crashpoint.here = here


def main(lease_seconds: str, *fate: str) -> None:
    """Run until nothing is left to do, or until the end that was chosen."""
    settings = config.load()
    log.configure(level="debug", format="human")
    daemon.TIDY = timedelta(seconds=1)
    with workshop.opened(settings) as opened:
        shop = dataclasses.replace(opened, lease=timedelta(seconds=float(lease_seconds)))
        worker = daemon.Daemon(shop, seats=1, poll_every=settings.poll_interval, drain=settings.drain_timeout)
        with contextlib.ExitStack() as stack:
            stack.enter_context(service.signals(worker))
            if fate:
                meet(fate[0], signal.Signals[fate[1]])
            stack.enter_context(worker)
            worker.wait(until_idle=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
