"""b2sdk's session as we need it: calls bounded, transactions counted, one re-authorisation at a time."""

import collections
import contextlib
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import requests
from b2sdk import v3
from b2sdk.v3 import exception
from typing_extensions import override

CALL_SECONDS = (
    120  # for a whole answer: a page of 10,000 entries is 8 MB, which a slow line needs a while for
)
BLOCK_BYTES = 64 * 1024

# Backblaze's price list; what it does not name is counted in the dearest class.
_CLASS_A = {
    *("b2_cancel_large_file", "b2_start_large_file", "b2_finish_large_file", "b2_hide_file"),
    *("b2_get_upload_url", "b2_get_upload_part_url", "b2_upload_file", "b2_upload_part"),
    *("b2_delete_file_version", "b2_delete_bucket", "b2_delete_key"),
}
_CLASS_B = {"b2_download_file_by_id", "b2_download_file_by_name", "b2_get_file_info"}
_LIST_UNIT = 1_000  # entries returned that are billed as one list call


class Meter:
    """Counts transactions by class. Thread-safe."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def add(self, kind: str, count: int) -> None:
        with self._lock:
            self._counts[kind] += count

    def take(self) -> dict[str, int]:
        with self._lock:
            counts, self._counts = self._counts, collections.Counter()
        return {kind: count for kind, count in sorted(counts.items()) if count}


class Session(v3.B2Session):  # type: ignore[misc]
    """An authorised session. Thread-safe."""

    def __init__(self, *, is_loopback: bool) -> None:
        self.meter = Meter()
        config = v3.B2HttpApiConfig(
            http_session_factory=_direct if is_loopback else requests.Session,
            install_clock_skew_hook=False,  # it flips the locale of the whole process around each response
        )
        super().__init__(account_info=v3.InMemoryAccountInfo(), cache=v3.DummyCache(), api_config=config)
        self._http = self.raw_api.b2_http
        self._http.add_callback(_Watch(self))
        self._authorizing = threading.Lock()
        self._this_thread = threading.local()

    @override
    def authorize_automatically(self) -> bool:
        """Get a new token, unless another thread has done so since this thread's was refused."""
        with self._authorizing:
            refused = getattr(self._this_thread, "refused", None)
            if refused != self.account_info.get_account_auth_token():
                return True  # also after a refused upload token: a new one needs no authorisation
            return bool(super().authorize_automatically())

    def note_refused(self, token: str | None) -> None:
        self._this_thread.refused = token


class _Http(v3.B2Http):  # type: ignore[misc]
    """One try per call (`trouble.patiently` repeats), and none that can last for hours.

    b2sdk waits up to 20 minutes for each list answer, five times over, and sleeps for as long as a
    Retry-After says.
    """

    CONNECTION_TIMEOUT = 10
    TIMEOUT = 30  # seconds without a byte of a download
    TIMEOUT_FOR_COPY = 60  # which b2sdk uses for every JSON call
    TIMEOUT_FOR_UPLOAD = 60

    @override
    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: Any = None,
        try_count: int = 1,
        params: dict[str, str] | None = None,
        *,
        stream: bool = False,
        _timeout: int | None = None,
    ) -> requests.Response:
        response: requests.Response = super().request(
            method, url, headers, data, 1, params, stream=stream, _timeout=_timeout
        )
        return response

    @override
    def request_content_return_json(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: Any = None,
        try_count: int = 1,
        params: dict[str, str] | None = None,
        *,
        _timeout: int | None = None,
    ) -> Any:
        accepting = {**headers, "Accept": "application/json"}
        response = self.request(method, url, accepting, data, 1, params, stream=True, _timeout=_timeout)
        try:
            answer = json.loads(b"".join(blocks(response, CALL_SECONDS)))
        except ValueError as error:
            # Half a JSON, or a portal's HTML. b2sdk lets it through bare.
            raise exception.B2ConnectionError(f"the answer is not JSON: {error}") from error
        for callback in self.callbacks:
            if isinstance(callback, _Watch):
                callback.answered(url, answer)
        return answer


Session.B2HTTP_CLASS = staticmethod(_Http)


def blocks(response: requests.Response, seconds: float) -> Iterator[bytes]:
    """Yield a body and close it, come what may; one that takes longer than `seconds` is an error."""
    ends_at = time.monotonic() + seconds
    with contextlib.closing(response):
        for block in response.iter_content(BLOCK_BYTES):
            yield block
            if time.monotonic() > ends_at:
                raise exception.B2RequestTimeout(f"the body was not complete after {seconds:.0f} seconds")


class _Watch(v3.HttpCallback):  # type: ignore[misc]
    """Counts transactions, and remembers which token was refused."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @override
    def pre_request(self, method: str, url: str, headers: dict[str, str]) -> None:
        self._session.meter.add(_class_of(_operation(url)), 1)

    @override
    def post_request(self, method: str, url: str, headers: dict[str, str], response: Any) -> None:
        if response.status_code == requests.codes.unauthorized:
            self._session.note_refused(headers.get("Authorization"))

    def answered(self, url: str, answer: Any) -> None:
        """Count what a list call costs beyond its first thousand."""
        files = answer.get("files") if isinstance(answer, dict) else None
        if _operation(url).startswith("b2_list_file_") and isinstance(files, list):
            self._session.meter.add("C", max(0, (len(files) - 1) // _LIST_UNIT))


def _operation(url: str) -> str:
    path = urllib.parse.urlsplit(url).path
    if path.startswith("/file/"):
        return "b2_download_file_by_name"
    return next((step for step in path.split("/") if step.startswith("b2_")), "")


def _class_of(operation: str) -> str:
    if operation in _CLASS_A:
        return "A"
    return "B" if operation in _CLASS_B else "C"


def _direct() -> requests.Session:
    """Return a session that no proxy setting and no .netrc applies to, for a server on this machine."""
    direct = requests.Session()
    direct.trust_env = False
    return direct
