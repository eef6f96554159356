"""Who may ask what: the access token, the read-only methods, and the headers that bind a browser.

Sits before everything else. Knows nothing of videos.
"""

import base64
import hmac
import ipaddress
import urllib.parse

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD")
# Probes come without a token and under any name, and learn nothing but "alive".
OPEN_PATHS = ("/healthz", "/readyz")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # addresses may hold a search
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_NO_STORE = "no-store"  # what others uploaded is not left in a shared computer's cache


def policy(*origins: str) -> str:
    """Return the Content-Security-Policy of a page that also loads media from `origins`."""
    more = "".join(f" {origin}" for origin in origins)
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{more}; "
        f"media-src 'self' blob:{more}; connect-src 'self'{more}; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address or name `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Guard:
    """The application behind the rules of this module.

    Without a token only this machine is answered: what comes over another address, or was sent to another
    name than this machine's own (which is how a foreign page reaches a local server), is refused.
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr | None) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", policy())
                headers.setdefault("Cache-Control", _NO_STORE)
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        answer = self._refusal(scope)
        if is_head:
            scope = {**scope, "method": "GET"}
        await (answer or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["method"] not in METHODS:
            return _refuse(scope, 405, "Only GET and HEAD.", {"Allow": ", ".join(METHODS)})
        if scope["path"] in OPEN_PATHS:
            return None
        headers = Headers(scope=scope)
        if self._token is None:
            if _is_from_here(scope, headers.get("host", "")):
                return None
            return _refuse(scope, 403, "Without WEB_TOKEN only this machine is answered.")
        if hmac.compare_digest(_given(headers.get("authorization", "")), self._token):
            return None
        challenge = {"WWW-Authenticate": 'Basic realm="Watcher", charset="UTF-8"'}
        return _refuse(scope, 401, "The password is WEB_TOKEN's value; any user name will do.", challenge)


def _refuse(scope: Scope, status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    if scope["path"].startswith("/api/"):  # whose errors are JSON
        return JSONResponse({"detail": why}, status, headers)
    return PlainTextResponse(f"{why}\n", status, headers)


def _is_from_here(scope: Scope, host: str) -> bool:
    address, _port = scope.get("server") or ("", None)
    is_socket = address.startswith("/")  # a file, which this machine alone has
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:  # half a bracket
        return False
    return (is_socket or is_loopback(address)) and is_loopback(name)


def _given(header: str) -> bytes:
    """Return the token that a request carries, as a bearer's or as a password; empty for none."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except ValueError:  # not base64, or not even ASCII
            return b""
    return b""
