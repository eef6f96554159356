"""A B2 of one's own for the demo, the tests and a laptop: the native API on 127.0.0.1. A development tool."""

import collections
import contextlib
import dataclasses
import pathlib
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

from watcher import errors
from watcher.localb2 import operations, simulator, store, wire

Fault = wire.Fault

KEY_ID = "0000000000000000000000001"  # shaped like real ones, and nobody's
KEY = "K000local-development-only"
BUCKETS = ("watcher-demo",)
PORT = 8900  # for `run`; free on most machines
PART_BYTES = 100_000_000  # what B2 recommends


@dataclasses.dataclass(frozen=True)
class LocalB2:
    """A running local B2: what a client needs to use it, and handles for trials."""

    realm: str
    key_id: str
    key: str
    buckets: tuple[str, ...]
    faults: list[Fault]  # append one, and the next matching request meets it
    calls: collections.Counter[str]  # requests so far, by operation
    _simulator: simulator.Simulator

    def expire_tokens(self) -> None:
        """Make every account token given so far an expired one."""
        with self._simulator.lock:
            self._simulator.expired_auth_tokens.update(self._simulator.auth_token_to_key)


@contextlib.contextmanager
def serve(
    folder: pathlib.Path,
    *,
    port: int = 0,
    key_id: str = KEY_ID,
    key: str = KEY,
    buckets: Sequence[str] = BUCKETS,
    bandwidth: int | None = None,
    latency: timedelta | None = None,
    part_bytes: int = PART_BYTES,
) -> Iterator[LocalB2]:
    """Serve the B2 kept in `folder` until the block ends; what it holds is there again next time.

    `port` 0 takes a free one. `bandwidth` is in bits per second, each way, for all connections together;
    `latency` is added to each request; `part_bytes` is the part size that clients are told to use.
    """
    try:
        files = store.Store(folder)
    except (OSError, sqlite3.OperationalError) as error:
        raise errors.Misconfigured(
            [f"localb2 cannot use the folder {folder}: {error}. Is another localb2 running on it?"]
        ) from error
    with contextlib.closing(files):
        try:
            httpd = wire.Httpd(port, bandwidth=bandwidth, latency=latency)
        except OSError as error:
            raise errors.Misconfigured(
                [f"localb2 cannot listen on port {port}: {error.strerror}: name another with --port"]
            ) from error
        with httpd:
            realm = f"http://127.0.0.1:{httpd.server_port}"
            sim = simulator.Simulator(files, realm=realm, key_id=key_id, key=key, part_bytes=part_bytes)
            sim.ensure_buckets(buckets)
            httpd.operations = operations.Operations(sim, files)
            listener = threading.Thread(
                target=httpd.serve_forever,
                kwargs={"poll_interval": 0.05},
                name="localb2-listener",
                daemon=True,
            )
            listener.start()
            try:
                yield LocalB2(realm, key_id, key, tuple(buckets), httpd.faults, httpd.calls, sim)
            finally:
                httpd.shutdown()
                listener.join()
                httpd.hang_up()


def run(
    folder: pathlib.Path,
    *,
    port: int = PORT,
    buckets: Sequence[str] = BUCKETS,
    bandwidth: int | None = None,
    latency: timedelta | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, after saying what this is and which settings use it."""
    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopped.set())
    with serve(folder, port=port, buckets=buckets, bandwidth=bandwidth, latency=latency) as b2:
        print(  # noqa: T201 - the settings are this command's output
            "Local B2: a development tool, for trying things out. It is not a place to keep anything.\n"
            f"It keeps its files in {folder.resolve()} and listens on this machine only. Ctrl-C stops it.\n\n"
            "For .env:\n"
            f"B2_REALM={b2.realm}\nB2_APPLICATION_KEY_ID={b2.key_id}\nB2_APPLICATION_KEY={b2.key}\n"
            f"B2_BUCKET_NAME={b2.buckets[0]}",
            flush=True,
        )
        stopped.wait()
