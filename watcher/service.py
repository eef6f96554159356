"""The daemon as a service: it is assembled, obeys signals, and tells the service manager how it is.

The protocol is that of systemd, lines of text on a datagram socket: see sd_notify(3). Knows nothing of what the
daemon does.
"""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Self

from watcher import config, log, stats, workshop
from watcher.daemon import Daemon
from watcher.models import VideoStatus

# Far more often than a manager asks for, as rarely as makes no difference.
SIGN_SECONDS = 5.0

_log = log.get()


def run(settings: config.Settings, *, until_idle: bool) -> bool:
    """Watch and work until a signal comes, or with `until_idle` until nothing is left; False if a video failed then."""
    with Manager(config.notify_socket()) as manager, workshop.opened(settings) as shop:
        worker = Daemon(
            shop, seats=settings.seats, poll_every=settings.poll_interval, drain=settings.drain_timeout
        )
        with signals(worker), worker:
            _log.info(
                "watching",
                bucket=settings.bucket,
                prefix=settings.watch_prefix,
                every=settings.poll_interval,
                seats=settings.seats,
                worker=shop.scratch.worker,
            )
            manager.ready()
            is_idle = worker.wait(until_idle=until_idle, tick=lambda: manager.sign(worker.late()))
            manager.stopping()
        return not (is_idle and stats.counts(shop.readings).get(VideoStatus.FAILED))


@contextlib.contextmanager
def signals(daemon: Daemon) -> Iterator[None]:
    """Let SIGINT, SIGTERM and a closed terminal drain the daemon; the second signal ends the process at once.

    Leases make that safe. Under nohup a closed terminal goes on meaning nothing.
    """
    heeded = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heeded.append(signal.SIGHUP)

    def drain() -> None:
        _log.info("stopping", hint="a second signal stops at once")
        daemon.stop()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)
        # Stopping takes locks that the interrupted thread may hold: leave it to another one.
        threading.Thread(target=drain).start()

    before = {each: signal.signal(each, on_signal) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Manager:
    """The socket of the service manager; without an address nobody is told anything."""

    def __init__(self, address: str | None) -> None:
        # A leading @ is how the environment writes the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._signed_at = 0.0

    def __enter__(self) -> Self:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def ready(self) -> None:
        """Tell that the start is over."""
        self._tell("READY=1", "STATUS=watching")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1", "STATUS=handing running steps back")

    def sign(self, late: Sequence[str]) -> None:
        """Give the sign of life, but not while something is `late`: then the manager may start us anew."""
        now = time.monotonic()
        if now - self._signed_at < SIGN_SECONDS:
            return
        self._signed_at = now
        if late:
            self._tell(f"STATUS=hangs: {', '.join(late)}")
        else:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        with contextlib.suppress(OSError):  # a manager that is gone is no reason to stop working
            self._socket.sendto("\n".join(lines).encode(), self._address)
