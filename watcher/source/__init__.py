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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from watcher.beat import Beat
from watcher.errors import Stopped
from watcher.source import blocks
from watcher.source.line import MOST_AHEAD, Line

# Keeps a reader back before each of its blocks, for the sake of others. It is given what tells whether the block would
# have to be fetched while other readers of the source wait for theirs, and how large it is: 1 is the largest.
Wait = Callable[[Callable[[], bool], float], None]


@dataclass(slots=True)
class Opened:
    """A source while it can be read. After ffmpeg ended, `check` says whether it got every byte it asked for."""

    url: str
    blocks: blocks.Blocks
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

    def __init__(self, bucket: blocks.Ranges) -> None:
        self._bucket = bucket
        self._opened: dict[str, Opened] = {}
        self._blocks: dict[Path, blocks.Blocks] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(MOST_AHEAD * 2, thread_name_prefix="source")
        self._line = Line()
        opened = self._opened

        class Handler(_Handler):
            sources = opened

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._serve, name="source", daemon=True)
        self._is_closing = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        socket.create_connection(("127.0.0.1", self._http.server_port)).close()  # or it would wait for ffmpeg
        self._thread.join()
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
            held = self._blocks.get(folder)
            if held is None:
                shutil.rmtree(folder, ignore_errors=True)  # blocks of a video that was cleaned up meanwhile
                held = blocks.Blocks(self._bucket, file_id, size_bytes, folder, self._pool, self._line)
                self._blocks[folder] = held
            held.users += 1
        url = f"http://127.0.0.1:{self._http.server_port}/{secret}"
        opened = self._opened[secret] = Opened(url, held, beat, wait)
        try:
            yield opened
        finally:
            del self._opened[secret]
            opened.is_closed = True
            with self._lock:
                held.users -= 1

    def forget(self, folder: Path) -> None:
        """Drop what is known of the blocks in `folder`, which is about to be deleted, unless they are in use."""
        with self._lock:
            held = self._blocks.get(folder)
            if held is not None and held.users == 0:
                del self._blocks[folder]

    def _serve(self) -> None:
        # Not `serve_forever`: it wakes up several times a second to see whether it is to end.
        while not self._is_closing:
            self._http.handle_request()


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
        size = opened.blocks.grid.size_bytes
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
        grid = opened.blocks.grid
        first = grid.number_at(start)
        for number in range(first, grid.number_at(end - 1) + 1):
            begins, ends = grid.bounds(number)
            # A reader that came this far reads on; one that only looks at a header costs one block.
            read_bytes = begins - grid.bounds(first)[0]
            offset = max(start - begins, 0)
            count = min(end, ends) - begins - offset
            try:
                if opened.wait is not None:
                    is_short = functools.partial(opened.blocks.is_short_of, number)
                    opened.wait(is_short, (ends - begins) / blocks.BLOCK_BYTES)
                with opened.blocks.open(number, read_bytes=read_bytes, is_urgent=opened.wait is None) as file:
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
