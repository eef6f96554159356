"""The web application for tests that ask it over HTTP, one answer at a time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import urllib3
from serving import served

from watcher import config


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
    with served(settings) as url:
        yield Site(url)
