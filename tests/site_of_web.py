"""The web application on a real port of this machine, for tests that ask it over HTTP."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import urllib3
import uvicorn

from watcher import config, web


@dataclass(frozen=True)
class Site:
    """A running application."""

    url: str

    def get(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer; redirects are not followed."""
        return urllib3.request(method, self.url + path, headers=dict(headers or {}), redirect=False)


@contextmanager
def serve(settings: config.Settings) -> Iterator[Site]:
    """Serve until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(web.create(settings), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join()
