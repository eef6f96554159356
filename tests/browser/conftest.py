"""A real Chromium without a screen, and a film that the daemon has finished."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cdn
import pytest
from house import BUCKET, House
from playwright import sync_api
from theatre import FILMS, SECONDS, Player, film

from watcher import localb2

HERE = Path(__file__).parent
PAGES = {
    "player.html": HERE / "player.html",
    "player.js": HERE / "player.js",
    "hls.js": HERE.parents[1] / "watcher/web/static/hls.js",  # put there by hatch_build.py
}
# Debian's Chromium: it decodes H.264 and AAC, which Playwright's own build does not.
CHROMIUM = shutil.which("chromium") or "chromium"
FLAGS = [
    "--no-sandbox",  # which does not work for root, as CI often is; the only page is ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def player(chromium: sync_api.Browser) -> Iterator[Player]:
    """A page of its own, with nothing cached."""
    with chromium.new_context() as context:
        yield Player(context.new_page())


@dataclass(frozen=True)
class Showing:
    """A finished film and where it is shown."""

    cdn: cdn.Cdn
    hls: str  # URLs
    mp4: str


@pytest.fixture(scope="session", params=FILMS)
def showing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Showing]:
    """Each of the films, made by the daemon with a ladder of two rungs."""
    folder = tmp_path_factory.mktemp(request.param)
    with localb2.serve(folder / "b2", part_bytes=5_000_000) as b2, cdn.serve(b2, BUCKET, PAGES) as server:
        house = House(folder, b2, LADDER="240,144")
        house.upload(film(folder / "film.mp4", *FILMS[request.param], seconds=SECONDS))
        house.run_until_idle()
        row = house.rows()["film.mp4"]
        assert row["status"] == "completed", row
        yield Showing(server, server.url(row["hls"]), server.url(row["mp4"]))
