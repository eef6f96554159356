"""ffmpeg's only view of a source: an HTTP server on 127.0.0.1 that fetches byte ranges from the bucket.

The credentials stay in this process; a URL works for one source while it is open. Blocks are cached on disk and
shared by all steps of a video. Knows nothing of steps or media.
"""

import functools
import http.server
import re
import secrets
import shutil
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from watcher import crashpoint
from watcher.beat import Beat
from watcher.errors import Outage, Stopped

# One B2 call each: small enough to answer a probe quickly, large enough to keep calls and latency down.
BLOCK_BYTES = 2 * 1024 * 1024
# Blocks fetched ahead of a reader that reads on: four connections fill most lines.
READ_AHEAD = 4
# What one video may keep on disk: a film fits; beyond it the blocks longest unused are dropped.
CACHE_BYTES = 4 * 1024**3
# The line is short while a reader had to wait for a block, and for so long after.
SHORT_SECONDS = 1.0


# Keeps a reader back before each of its blocks, for the sake of others. It is given what tells whether the block would
# have to be fetched while other readers of the source wait for theirs.
Wait = Callable[[Callable[[], bool]], None]


class Ranges(Protocol):
    """The part of `bucket.Bucket` that is needed here."""

    def read_range(self, file_id: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` (exclusive) of a file version."""
        ...


class _Blocks:
    """The blocks of one source in one folder; each is fetched once, whoever asks."""

    def __init__(
        self, bucket: Ranges, file_id: str, size_bytes: int, folder: Path, pool: ThreadPoolExecutor
    ) -> None:
        self.size_bytes = size_bytes
        self.users = 0
        self._bucket = bucket
        self._file_id = file_id
        self._folder = folder
        self._pool = pool
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[Path]] = OrderedDict()
        self._waiting = 0  # readers for whose blocks the line is too slow; those that stand back do not count
        self._waited_at = -SHORT_SECONDS
        folder.mkdir(exist_ok=True)

    def open(self, number: int, *, ahead: int, is_urgent: bool) -> BinaryIO:
        """Return the open file of a block, fetched if need be; start fetching the `ahead` blocks after it."""
        while True:
            future = self._request(number)
            for later in range(number + 1, min(number + 1 + ahead, -(-self.size_bytes // BLOCK_BYTES))):
                self._request(later)
            try:
                path = self._await(future) if is_urgent else future.result()
                return path.open("rb")
            except FileNotFoundError:  # dropped from the cache in between
                with self._lock:
                    if self._blocks.get(number) is future:
                        del self._blocks[number]

    def is_short_of(self, number: int) -> bool:
        """Tell whether a block would have to be fetched while others wait for theirs."""
        with self._lock:
            future = self._blocks.get(number)
            is_here = future is not None and future.done()
            is_short = self._waiting > 0 or time.monotonic() < self._waited_at + SHORT_SECONDS
            return is_short and not is_here

    def _await(self, future: "Future[Path]") -> Path:
        if future.done():
            return future.result()
        with self._lock:
            self._waiting += 1
        try:
            return future.result()
        finally:
            with self._lock:
                self._waiting -= 1
                self._waited_at = time.monotonic()

    def _request(self, number: int) -> "Future[Path]":
        with self._lock:
            future = self._blocks.get(number)
            if future is None or (future.done() and future.exception() is not None):
                future = self._blocks[number] = self._pool.submit(self._fetch, number)
                self._evict(keep=number)  # which may be there already, and all the others still on their way
            self._blocks.move_to_end(number)
            return future

    def _fetch(self, number: int) -> Path:
        start = number * BLOCK_BYTES
        data = self._bucket.read_range(self._file_id, start, min(start + BLOCK_BYTES, self.size_bytes))
        path = self._folder / f"{number:08d}"
        # Under its own name only when whole: who was about to read it when it was dropped may open it now.
        fresh = self._folder / f"{number:08d}.{secrets.token_hex(4)}"
        try:
            fresh.write_bytes(data)
            crashpoint.here("ranges")
            fresh.rename(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise Outage(
                "disk_full", f"could not write {len(data)} bytes of the source to scratch: {error}"
            ) from error
        with self._lock:
            self._evict(keep=number)  # when it was asked for, too many others may have been on their way
        return path

    def _evict(self, *, keep: int) -> None:
        while len(self._blocks) * BLOCK_BYTES > CACHE_BYTES:
            number = next((n for n, future in self._blocks.items() if future.done() and n != keep), None)
            if number is None:
                return
            del self._blocks[number]
            (self._folder / f"{number:08d}").unlink(missing_ok=True)


@dataclass(slots=True)
class Opened:
    """A source while it can be read. After ffmpeg ended, `check` says whether it got every byte it asked for."""

    url: str
    blocks: _Blocks
    beat: Beat
    wait: Wait | None
    error: Exception | None = field(default=None)
    is_closed: bool = field(default=False)

    def check(self) -> None:
        """Raise what kept a byte range from ffmpeg, which takes a missing end for the end of the file."""
        if self.error is not None:
            raise self.error


class Server:
    """The loopback server; one for a daemon. `with` starts and stops it."""

    def __init__(self, bucket: Ranges) -> None:
        self._bucket = bucket
        self._opened: dict[str, Opened] = {}
        self._blocks: dict[Path, _Blocks] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(READ_AHEAD * 2, thread_name_prefix="source")
        opened = self._opened

        class Handler(_Handler):
            sources = opened

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, name="source", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def open(
        self,
        file_id: str,
        size_bytes: int,
        *,
        folder: Path,
        beat: Beat,
        wait: Wait | None = None,
    ) -> Iterator[Opened]:
        """Serve a file version, keeping its blocks in `folder`, which several openings of it may share."""
        secret = secrets.token_urlsafe(24)
        with self._lock:
            blocks = self._blocks.get(folder)
            if blocks is None:
                shutil.rmtree(folder, ignore_errors=True)  # blocks of a video that was cleaned up meanwhile
                blocks = self._blocks[folder] = _Blocks(self._bucket, file_id, size_bytes, folder, self._pool)
            blocks.users += 1
        url = f"http://127.0.0.1:{self._http.server_address[1]}/{secret}"
        opened = self._opened[secret] = Opened(url, blocks, beat, wait)
        try:
            yield opened
        finally:
            del self._opened[secret]
            opened.is_closed = True
            with self._lock:
                blocks.users -= 1

    def forget(self, folder: Path) -> None:
        """Drop what is known of the blocks in `folder`, which is about to be deleted, unless they are in use."""
        with self._lock:
            blocks = self._blocks.get(folder)
            if blocks is not None and blocks.users == 0:
                del self._blocks[folder]


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: ffmpeg hangs up whenever it seeks."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    timeout = 60.0  # for the request; whoever knows a secret is sent bytes for as long as it takes
    sources: dict[str, Opened]

    def do_GET(self) -> None:
        """Answer one request for a range, or for all of it."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the size alone."""
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the path is a secret."""

    def _answer(self, *, with_body: bool) -> None:
        opened = self.sources.get(self.path.removeprefix("/"))
        if opened is None:
            self.send_error(404)
            return
        # ffmpeg reads as slowly as it encodes; the end of the step ends both.
        self.connection.settimeout(None)
        size = opened.blocks.size_bytes
        wanted = _range(self.headers.get("Range"), size)
        if wanted is None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end = wanted
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        # Said aloud: ffmpeg asks for it, and yet sends its next request on a connection not said to close.
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(end - start))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if with_body:
            self._send(opened, start, end)

    def _send(self, opened: Opened, start: int, end: int) -> None:
        first = start // BLOCK_BYTES
        for number in range(first, -(-end // BLOCK_BYTES)):
            # A reader that came this far reads on; one that only looks at a header costs one block.
            ahead = min(number - first, READ_AHEAD) if number > first else 0
            offset = max(start - number * BLOCK_BYTES, 0)
            count = min(end - number * BLOCK_BYTES, BLOCK_BYTES) - offset
            try:
                if opened.wait is not None:
                    opened.wait(functools.partial(opened.blocks.is_short_of, number))
                with opened.blocks.open(number, ahead=ahead, is_urgent=opened.wait is None) as file:
                    if opened.is_closed:
                        raise Stopped
                    opened.beat.advance()
                    self.connection.sendfile(file, offset, count)
            except (Stopped, ConnectionError, TimeoutError):
                self.close_connection = True  # ffmpeg hung up, or is about to be ended
                return
            except Exception as error:  # noqa: BLE001 - it must reach the step, or a lack passes for the end
                self.close_connection = True
                if not opened.is_closed:  # else the step has gone on: nobody waits for these bytes
                    opened.error = error
                    opened.beat.stop(error)
                return

    def setup(self) -> None:
        """Send answers at once: ffmpeg waits for each before it asks for the next."""
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive) of what a Range header asks for; None when it cannot be satisfied."""
    if header is None:
        return 0, size
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end) if start < end else None
