"""The HTTP side of the local B2: URLs, headers, bodies and limits; `operations` knows what the calls mean."""

import collections
import contextlib
import http.server
import json
import logging
import socket
import sys
import threading
import time
import urllib.parse
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from b2sdk.v3 import exception
from typing_extensions import override

from watcher.localb2 import cors, form, operations
from watcher.localb2.store import COPY_BYTES, File, Refused

log = logging.getLogger(__name__)

_INFO = "x-bz-info-"
_INFO_HEADERS = {  # file info that B2 serves as plain headers
    "b2-content-disposition": "Content-Disposition",
    "b2-content-language": "Content-Language",
    "b2-expires": "Expires",
    "b2-cache-control": "Cache-Control",
    "b2-content-encoding": "Content-Encoding",
}
_SIMULATOR_ERRORS: list[tuple[type[Exception], int, str]] = [
    (exception.InvalidAuthToken, 401, "unauthorized"),
    (exception.Unauthorized, 401, "unauthorized"),
    (exception.DuplicateBucketName, 400, "duplicate_bucket_name"),
    (exception.NonExistentBucket, 400, "bad_bucket_id"),
    (exception.BadJson, 400, "bad_json"),
    (exception.Conflict, 409, "conflict"),
    (exception.B2Error, 400, "bad_request"),
]


@dataclass
class Fault:
    """A failure to answer the next matching requests with, for trying out what clients do.

    With `cut_after`, the right answer is given but the connection is dropped after so many bytes of its body.
    `how`: the answer described here; or the connection is closed `unread`, or in the middle of the request's body;
    or the operation takes effect and its answer is `lost`, or `corrupt`; or nothing happens until the client leaves.
    """

    operation: str  # as in the URL: b2_list_file_names; downloads by name are b2_download_file_by_name
    status: int = 503
    body: bytes = b'{"status": 503, "code": "service_unavailable", "message": "a fault was asked for"}'
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    times: int = 1
    how: Literal["answered", "unread", "middle", "lost", "corrupt", "stalled"] = "answered"
    only: str = ""  # text that the URL or the file name in the request's headers holds


class Throttle:
    """A bandwidth in bits per second shared by all connections; without one, free."""

    def __init__(self, bandwidth: int | None) -> None:
        self._bandwidth = bandwidth
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size_bytes: int) -> None:
        if self._bandwidth is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + size_bytes * 8 / self._bandwidth
            pause = self._free_at - now
        time.sleep(pause)

    @property
    def block_bytes(self) -> int:
        """About a twentieth of a second's worth, so that slow links still look smooth."""
        return COPY_BYTES if self._bandwidth is None else max(1024, min(COPY_BYTES, self._bandwidth // 160))


class Httpd(http.server.ThreadingHTTPServer):
    """The listening socket, its threads, and what they share."""

    request_queue_size = 128
    operations: operations.Operations

    def __init__(self, port: int, *, bandwidth: int | None, latency: timedelta | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.incoming, self.outgoing = Throttle(bandwidth), Throttle(bandwidth)
        self.latency_seconds = latency.total_seconds() if latency else 0.0
        self.faults: list[Fault] = []
        self.calls: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="localb2", daemon=True
        )
        with self.lock:
            self._open[thread] = request
        thread.start()

    @override
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self._open.pop(threading.current_thread(), None)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what a bug of ours was; clients that hang up in the middle are everyday."""
        if not isinstance(sys.exception(), ConnectionError):
            log.error("request failed", exc_info=sys.exception())

    def hang_up(self) -> None:
        """Drop all connections and wait for their threads."""
        with self.lock:
            connections = list(self._open.items())
        for thread, connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=10)

    def fault(self, operation: str, about: str) -> Fault | None:
        """Count the request, and return the fault it should meet, if one was asked for."""
        with self.lock:
            self.calls[operation] += 1
            for fault in self.faults:
                if fault.operation == operation and fault.only in about:
                    fault.times -= 1
                    if fault.times == 0:
                        self.faults.remove(fault)
                    return fault
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # headers and small bodies leave in one packet
    server: Httpd
    _cut_after: int | None
    _left: int  # bytes of the request body not read yet
    _answered: bool
    _fault: str

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_OPTIONS(self) -> None:
        """Tell a browser whether a page of another origin may send the request that it has in mind."""
        allowed = self._cors()
        self._answered = False
        self._send(403 if allowed is None else 200, allowed or {}, b"")

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing per request."""

    def _answer(self) -> None:
        self._left = int(self.headers.get("Content-Length") or 0)
        self._cut_after, self._answered = None, False
        url = urllib.parse.urlsplit(self.path)
        steps = url.path.split("/")
        by_name = steps[1] == "file"
        name = (
            "b2_download_file_by_name"
            if by_name
            else steps[3]
            if len(steps) > 3 and steps[1] == "b2api"
            else ""
        )
        time.sleep(self.server.latency_seconds)
        fault = self.server.fault(name, f"{self.path} {self.headers.get('X-Bz-File-Name', '')}")
        self._fault = fault.how if fault else "answered"
        try:
            if fault and fault.how in ("unread", "middle", "stalled"):
                self._leave(fault.how)
            elif fault and fault.how == "answered" and fault.cut_after is None:
                self._send(fault.status, fault.headers, fault.body)
            else:
                self._cut_after = fault.cut_after if fault else None
                self._route(name, steps, url.path, dict(urllib.parse.parse_qsl(url.query)))
                if self._fault == "lost":
                    raise ConnectionAbortedError("answer lost, as asked for")
        except ConnectionError:
            self.close_connection = True
        except (Refused, exception.B2Error, KeyError, TypeError, ValueError, AssertionError) as error:
            self._refuse(error)
        for _ in self._body(drains=True):
            pass

    def _leave(self, how: str) -> None:
        """Close the connection without an answer: at once, in the middle of the body, or when the client gave up."""
        if how == "middle":
            self.rfile.read(self._left // 2)
        elif how == "stalled":
            while self.connection.recv(1 << 16):
                pass
        self._left = 0
        raise ConnectionAbortedError("closed, as asked for")

    def _route(self, name: str, steps: list[str], path: str, query: dict[str, str]) -> None:
        token = self.headers.get("Authorization") or query.get("Authorization") or ""
        calls = self.server.operations
        if name == "b2_download_file_by_name":
            bucket, _, quoted = path.removeprefix("/file/").partition("/")
            self._download(calls.download(token, bucket=bucket, name=_unquote(quoted)))
        elif name == "b2_download_file_by_id":
            file_id = query.get("fileId") or (self._json().get("fileId") if self._left else "") or ""
            self._download(calls.download(token, file_id=file_id))
        elif name == "b2_authorize_account":
            with calls.sim.lock:
                self._send_json(200, calls.sim.authorize_account(calls.sim.API_URL, *_basic(token)))
        elif name == "b2_upload_file":
            self._send_json(200, self._upload(token))
        elif name == "b2_upload_part":
            sha1 = self._sha1()
            number = int(self.headers.get("X-Bz-Part-Number") or 0)
            self._send_json(200, calls.upload_part(token, number=number, blocks=self._content(), sha1=sha1))
        elif self.command == "POST":
            self._send_json(200, calls.call(name, token, self._json()))
        else:
            raise Refused(405, "method_not_allowed", f"{self.command} {path}")

    def _upload(self, token: str) -> dict[str, Any]:
        info = {
            key[len(_INFO) :].lower(): _unquote(value)
            for key, value in self.headers.items()
            if key.lower().startswith(_INFO)
        }
        timestamp = self.headers.get("X-Bz-Custom-Upload-Timestamp")
        sha1 = self._sha1()
        return self.server.operations.upload(
            token,
            name=_unquote(self.headers.get("X-Bz-File-Name") or ""),
            content_type=self.headers.get("Content-Type") or "",
            info=info,
            uploaded_ms=int(timestamp) if timestamp else None,
            blocks=self._content(),
            sha1=sha1,
        )

    def _cors(self) -> dict[str, str] | None:
        by_name, _, rest = self.path.removeprefix("/").partition("/")
        if by_name != "file" or "Origin" not in self.headers:
            return None
        rules = self.server.operations.cors_rules(rest.partition("/")[0])
        return cors.answer(rules, "b2_download_file_by_name", dict(self.headers.items()))

    def _download(self, file: File) -> None:
        headers = {
            **(self._cors() or {}),
            "Accept-Ranges": "bytes",
            "Content-Type": file.content_type or "application/octet-stream",
            "X-Bz-File-Id": file.file_id,
            "X-Bz-File-Name": urllib.parse.quote(file.name),
            "X-Bz-Content-Sha1": file.sha1 or "none",
            "X-Bz-Upload-Timestamp": str(file.uploaded_ms),
        }
        for key, value in file.info.items():
            plain = _INFO_HEADERS.get(key)
            headers[plain or f"X-Bz-Info-{key}"] = value if plain else urllib.parse.quote(value)
        start, end = 0, file.size
        if wanted := form.byte_range(self.headers.get("Range"), file.size):
            start, end = wanted
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self._head(206 if wanted else 200, headers, end - start)
        if self.command == "HEAD":
            return
        try:
            for block in self.server.operations.files.read(file.file_id, start, end):
                self._write(block)
        except FileNotFoundError:  # deleted while it was read
            self.close_connection = True

    def _json(self) -> dict[str, Any]:
        body = json.loads(b"".join(self._body()) or b"{}")
        if not isinstance(body, dict):
            raise Refused(400, "bad_json", "the body is not a JSON object")
        return body

    def _sha1(self) -> Callable[[], str | None]:
        """Return what tells the SHA-1 that the body should have, once it is read."""
        stated = self.headers.get("X-Bz-Content-Sha1") or ""
        if stated == "hex_digits_at_end":
            self._trailer = 40
            return lambda: b"".join(self._body()).decode("ascii")
        self._trailer = 0
        return lambda: None if stated == "do_not_verify" else stated.removeprefix("unverified:")

    def _content(self) -> Iterator[bytes]:
        """Yield the body up to the SHA-1 at its end, if there is one."""
        return self._body(keep=self._trailer)

    def _body(self, *, keep: int = 0, drains: bool = False) -> Iterator[bytes]:
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            # b2sdk sends this for empty files only.
            while not drains and (size := int(self.rfile.readline().split(b";")[0], 16)):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.close_connection = True
            return
        while self._left > keep:
            block = self.rfile.read(min(self._left - keep, self.server.incoming.block_bytes))
            if not block:
                self.close_connection = True
                raise ConnectionResetError("the client went away")
            self._left -= len(block)
            if not drains:
                self.server.incoming.take(len(block))
            yield block

    def _refuse(self, error: Exception) -> None:
        if self._answered:  # too late for a status: the client must notice the missing bytes
            self.close_connection = True
            return
        if isinstance(error, Refused):
            refused = error
        else:
            kinds = ((status, code) for kind, status, code in _SIMULATOR_ERRORS if isinstance(error, kind))
            refused = Refused(*next(kinds, (400, "bad_request")), f"{type(error).__name__}: {error}")
        self._send_json(
            refused.status, {"status": refused.status, "code": refused.code, "message": refused.message}
        )

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, {"Content-Type": "application/json;charset=utf-8"}, json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, headers, len(body))
        if self.command != "HEAD":
            self._write(body)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        if self._fault == "lost":
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value.encode().decode("latin-1"))
        self.end_headers()
        self._answered = True

    def _write(self, body: bytes) -> None:
        if self._fault == "lost":
            return
        if self._fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:] if body else body
        if self._cut_after is not None:
            body, self._cut_after = body[: self._cut_after], self._cut_after - len(body)
            if self._cut_after < 0:
                self.wfile.write(body)
                self.wfile.flush()
                raise ConnectionAbortedError("cut, as asked for")
        size = self.server.outgoing.block_bytes
        for start in range(0, len(body), size):
            block = body[start : start + size]
            self.server.outgoing.take(len(block))
            self.wfile.write(block)


def _unquote(text: str) -> str:
    """Undo B2's percent-encoding, in which + is a space."""
    return urllib.parse.unquote_plus(text, errors="strict")


def _basic(header: str) -> tuple[str, str]:
    try:
        key_id, _, key = b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        raise Refused(401, "unauthorized", "no application key in the request") from None
    return key_id, key
