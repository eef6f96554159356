"""What stands between a bucket and its viewers: an HTTP server that gives out the objects, by their names.

It hands on what the local B2 answers (type, ranges, bytes), allows pages of other origins to read it, and
keeps nothing. Pages of the tests are served beside the objects, below `PAGES`.
"""

import base64
import http.server
import mimetypes
import socket
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import urllib3

from watcher import localb2

PAGES = "/-/"
_HANDED_ON = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges")
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Cdn:
    """A running server."""

    port: int

    def page(self, name: str) -> str:
        """Return the address of a page; of another origin than the objects, as a web site's is."""
        return f"http://localhost:{self.port}{PAGES}{name}"

    def url(self, name: str) -> str:
        """Return the address of an object."""
        return f"http://127.0.0.1:{self.port}/{urllib.parse.quote(name)}"


@contextmanager
def serve(b2: localb2.LocalB2, bucket: str, pages: Mapping[str, Path] | None = None) -> Iterator[Cdn]:
    """Serve `bucket`, and files as pages, until the block ends."""

    source, files = _Objects(b2, bucket), dict(pages or {})

    class Handler(_Handler):
        objects = source
        pages = files

    with _Http(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Cdn(server.server_port)
        finally:
            server.shutdown()
            thread.join()


class _Objects:
    """The objects of a bucket, as B2 gives them to who asks by name."""

    def __init__(self, b2: localb2.LocalB2, bucket: str) -> None:
        self._pool = urllib3.PoolManager(maxsize=8)
        self._folder = f"{b2.realm}/file/{bucket}"
        basic = base64.b64encode(f"{b2.key_id}:{b2.key}".encode()).decode()
        answer = self._pool.request(
            "GET", f"{b2.realm}/b2api/v4/b2_authorize_account", headers={"Authorization": f"Basic {basic}"}
        )
        self._token = answer.json()["authorizationToken"]

    def get(self, path: str, wanted: str | None) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": self._token, **({"Range": wanted} if wanted else {})}
        return self._pool.request("GET", self._folder + path, headers=headers, preload_content=False)


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of players that hang up between two requests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: _Objects
    pages: Mapping[str, Path]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with suppress(ConnectionError):  # players hang up whenever they seek
            if path.startswith(PAGES):
                self._page(path.removeprefix(PAGES))
            else:
                self._object(path)

    def do_OPTIONS(self) -> None:
        """Answer a browser that asks whether a page may send a Range."""
        self.send_response(204)
        self._allow()
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _page(self, name: str) -> None:
        file = self.pages.get(name)
        data = b"" if file is None else file.read_bytes()
        self.send_response(404 if file is None else 200)
        self.send_header("Content-Type", mimetypes.guess_type(name)[0] or "application/octet-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _object(self, path: str) -> None:
        answer = self.objects.get(path, self.headers.get("Range"))
        try:
            self.send_response(answer.status)
            for header in _HANDED_ON:
                if value := answer.headers.get(header):
                    self.send_header(header, value)
            self.send_header("Cache-Control", "no-store")
            self._allow()
            self.end_headers()
            for block in answer.stream(_BLOCK_BYTES):
                self.wfile.write(block)
        except BaseException:
            answer.close()  # what is left of the body must not be taken for the next answer's
            raise
        answer.release_conn()

    def _allow(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Range")
        self.send_header("Access-Control-Expose-Headers", "Content-Length, Content-Range")
