"""The status page in a real browser, over a private bucket: from the upload to a film that is seen to its end.

Screenshots of each stage are kept in the folder that SCREENSHOTS names, or else in the test's own.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import site_of_web
import theatre
from conftest import HERE
from house import House, wait_for
from playwright import sync_api
from theatre import SECONDS

from watcher import config, localb2, workshop
from watcher.web import guard, playback

AXE = (HERE.parents[1] / "watcher/web/node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
VIEWS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "has_touch": True},
}
HOSTILE = [
    "<script>document.title='taken'</script>.txt",
    "<img src=x onerror=\"document.title='taken'\">.txt",
    "uploads/\u202egpj.exe\u2066\u200f.txt",
    "/".join(["\u5f71" * 83] * 4),  # 999 bytes without a place to break
    "x" * 250,
]
FIRST_PAGE_BYTES = 100_000


class Visit:
    """A page in a browser, and everything that went wrong on it."""

    def __init__(self, page: sync_api.Page, folder: Path) -> None:
        self.page = page
        self.wrong: list[str] = []
        self._folder = Path(os.environ.get("SCREENSHOTS") or folder)
        page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def wait(self, condition: str) -> None:
        """Wait until an expression is true; the page's policy forbids Playwright's own way."""
        wait_for(lambda: self.page.evaluate(condition), condition)

    def photograph(self, name: str) -> None:
        self.page.screenshot(path=self._folder / f"{name}.png")


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    made = House(tmp_path, b2, LADDER="240,144")
    with workshop.opened(config.load(made.environment)):
        pass  # now there is a table to look at
    return made


@pytest.fixture
def site(house: House) -> Iterator[site_of_web.Site]:
    with site_of_web.serve(config.load(house.environment)) as running:
        yield running


@pytest.fixture
def visit(chromium: sync_api.Browser, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def arrive(url: str, how: str = "light") -> Visit:
        contexts.append(chromium.new_context(**VIEWS[how]))
        visited = Visit(contexts[-1].new_page(), tmp_path)
        visited.page.goto(url)
        return visited

    yield arrive
    for context in contexts:
        context.close()


def test_an_upload_appears_plays_while_it_is_made_and_is_seen_to_its_end(
    house: House, site: site_of_web.Site, visit: Callable[..., Visit]
) -> None:
    gallery = visit(site.url)
    assert "No videos yet" in gallery.page.inner_text("main")
    gallery.photograph("1-empty")

    house.upload(
        theatre.film(house.folder / "film.mp4", *theatre.FILMS["encoded"], seconds=SECONDS),
        "films/A film.mp4",
    )
    daemon = house.start("run")
    try:
        wait_for(
            lambda: bool(house.rows().get("films/A film.mp4", {}).get("hls")), "the film to be announced"
        )
        # A slow machine: an idle gallery looks every ten seconds, and a fast one would be done by then.
        os.kill(daemon.pid, signal.SIGSTOP)
        gallery.wait("document.querySelector('.card') !== null")  # by itself, without a reload
        gallery.photograph("2-appeared")
        gallery.wait("document.querySelector('.card progress') !== null")
        assert "making" in gallery.page.inner_text(".card .state")
        gallery.photograph("3-progress")

        with gallery.page.expect_navigation():
            gallery.page.click(".card > a")
        gallery.wait("document.querySelector('.player.ready') !== null")
        gallery.page.click("[data-do=play]")
        gallery.wait("document.querySelector('video').currentTime > 0.5")
        gallery.wait("document.querySelector('[data-show=making]').textContent !== ''")
        gallery.photograph("4-plays-while-it-is-made")
        os.kill(daemon.pid, signal.SIGCONT)
        gallery.wait("document.querySelector('.watch .state.completed') !== null")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.terminate()
        assert daemon.wait() == 0

    # The video was never interrupted, and now there is a storyboard.
    gallery.wait("document.querySelector('video').currentTime > 2")
    _hover(gallery.page, 0.5)
    gallery.wait("document.querySelector('.preview .still').style.backgroundImage !== ''")
    gallery.wait(_SHEET_IS_LOADED)
    gallery.photograph("5-storyboard")
    assert gallery.page.inner_text(".preview .at") == "0:22"
    _hover(gallery.page, 0.75, click=True)
    gallery.wait(f"Math.abs(document.querySelector('video').currentTime - {0.75 * SECONDS}) < 3")
    gallery.wait(f"document.querySelector('video').currentTime > {0.75 * SECONDS + 1}")
    gallery.page.evaluate(f"document.querySelector('video').currentTime = {SECONDS - 1.5}")
    gallery.wait("document.querySelector('video').ended")
    gallery.photograph("6-seen")
    assert gallery.wrong == []


def test_who_waits_on_a_videos_page_for_its_beginning_can_play_it(
    house: House, site: site_of_web.Site, visit: Callable[..., Visit]
) -> None:
    house.upload(theatre.film(house.folder / "film.mp4", *theatre.FILMS["copied"], seconds=4), "A film.mp4")
    assert house.cli("scan").returncode == 0
    waiting = visit(f"{site.url}/videos/1")
    assert "Waiting" in waiting.page.inner_text("#no-player")

    house.run_until_idle()
    _play_to_the_end(waiting)
    assert waiting.wrong == []


def test_a_page_that_came_while_the_bucket_was_out_of_reach_plays_when_it_is_not(
    finished: House, open_site: site_of_web.Site, visit: Callable[..., Visit]
) -> None:
    address = f"{open_site.url}/videos/{finished.rows()['films/A film.mp4']['id']}"
    visited = visit("about:blank")

    def answer_as_then(route: sync_api.Route) -> None:
        came = route.fetch()
        page = re.sub('data-origins=".*?"', 'data-origins=""', came.text())
        route.fulfill(
            response=came, headers={**came.headers, "content-security-policy": guard.policy()}, body=page
        )

    visited.page.route(address, answer_as_then, times=1)
    visited.page.goto(address)
    with visited.page.expect_navigation():
        visited.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # it looks at once
    _play_to_the_end(visited)


def test_the_keyboard_alone_finds_and_plays_a_film(
    finished: House, open_site: site_of_web.Site, visit: Callable[..., Visit]
) -> None:
    visited = visit(open_site.url)
    page = visited.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText.includes('A film.mp4')"):
            break
    with page.expect_navigation():
        page.keyboard.press("Enter")
    visited.wait("document.querySelector('.player.ready') !== null")
    page.focus("[data-do=play]")
    page.keyboard.press("Space")
    visited.wait("document.querySelector('video').currentTime > 0.2")
    page.keyboard.press("k")
    visited.wait("document.querySelector('video').paused")
    page.keyboard.press("Home")
    visited.wait("document.querySelector('video').currentTime === 0")
    page.keyboard.press("ArrowRight")
    visited.wait("document.querySelector('video').currentTime > 0.5")
    assert visited.wrong == []


WITHOUT_MEDIA_SOURCE = "delete window.MediaSource; delete window.ManagedMediaSource;"
WITHOUT_HLS_TOO = WITHOUT_MEDIA_SOURCE + "HTMLMediaElement.prototype.canPlayType = () => '';"


@pytest.mark.parametrize(
    ("lacking", "source"),
    [("", "blob:"), (WITHOUT_MEDIA_SOURCE, "/hls/master.m3u8"), (WITHOUT_HLS_TOO, "/video.mp4")],
    ids=["hls.js", "native", "mp4"],
)
def test_each_browser_plays_in_the_best_way_it_has(
    finished: House,
    open_site: site_of_web.Site,
    visit: Callable[..., Visit],
    lacking: str,
    source: str,
) -> None:
    visited = visit("about:blank")
    visited.page.add_init_script(lacking or "0")
    visited.page.goto(f"{open_site.url}/videos/{finished.rows()['films/A film.mp4']['id']}")
    assert source in visited.page.evaluate("document.querySelector('video').src")
    visited.page.evaluate("document.querySelector('video').play()")
    visited.wait("document.querySelector('video').ended")
    assert visited.wrong == []


def test_playing_goes_on_when_a_link_has_run_out(
    finished: House,
    open_site: site_of_web.Site,
    visit: Callable[..., Visit],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(playback, "LEAST_SPARE", playback.SPARE)  # a new token for each playlist
    visited = visit("about:blank")
    seen: set[str] = set()
    stale: set[str] = set()

    def pass_on(route: sync_api.Route) -> None:
        token = route.request.url.partition("Authorization=")[2]
        if token in stale:
            route.fulfill(status=401, headers={"Access-Control-Allow-Origin": "*"}, body="expired")
            return
        seen.add(token)
        route.continue_()

    visited.page.route("**/file/**", pass_on)
    visited.page.goto(f"{open_site.url}/videos/{finished.rows()['films/A film.mp4']['id']}")
    visited.wait("document.querySelector('.player.ready') !== null")
    visited.page.click("[data-do=play]")
    visited.wait("document.querySelector('video').currentTime > 0.2")
    visited.page.click("[data-do=play]")
    stale |= seen
    # As after an hour's pause: what was loaded is gone from the buffer, and the last beginning is long ago.
    visited.page.evaluate("players.values().next().value.begunAt = -Infinity")
    visited.page.evaluate("players.values().next().value.hls.nextLevel = 0")
    visited.page.evaluate("players.values().next().value.hls.currentLevel = 1")
    visited.page.click("[data-do=play]")
    visited.wait("document.querySelector('video').ended")
    assert seen - stale


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A film that is completed, an upload that failed, and names that would do harm."""
    folder = tmp_path_factory.mktemp("finished")
    with localb2.serve(folder / "b2") as b2:
        made = House(folder, b2, LADDER="240,144")
        made.upload(
            theatre.film(folder / "film.mp4", *theatre.FILMS["copied"], seconds=4), "films/A film.mp4"
        )
        (folder / "text").write_text("no film")
        made.upload(folder / "text", "uploads/broken.mp4", content_type="video/mp4")
        for name in HOSTILE:
            made.upload(folder / "text", name, content_type="text/plain")
        made.run_until_idle()
        yield made


@pytest.fixture(scope="module")
def open_site(finished: House) -> Iterator[site_of_web.Site]:
    with site_of_web.serve(config.load(finished.environment)) as running:
        yield running


@pytest.mark.parametrize("how", VIEWS)
def test_axe_finds_nothing_serious(
    finished: House, open_site: site_of_web.Site, visit: Callable[..., Visit], how: str
) -> None:
    rows = finished.rows()
    film, failed = rows["films/A film.mp4"]["id"], rows["uploads/broken.mp4"]["id"]
    found = []
    for name, path in {
        "gallery": "/",
        "film": f"/videos/{film}",
        "failed": f"/videos/{failed}",
        "operations": "/operations",
        "missing": "/videos/999",
    }.items():
        visited = visit(open_site.url + path, how)
        visited.page.evaluate(AXE)
        report = visited.page.evaluate("axe.run()")
        found += [
            (name, one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in report["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        visited.photograph(f"{name}-{how}")
    assert found == []


@pytest.mark.parametrize("how", VIEWS)
def test_hostile_names_render_as_text_and_break_no_page(
    finished: House, open_site: site_of_web.Site, visit: Callable[..., Visit], how: str
) -> None:
    rows = finished.rows()
    for path in [
        "/",
        "/operations",
        "/?q=%3Cscript%3E",
        *(f"/videos/{rows[name]['id']}" for name in HOSTILE),
    ]:
        visited = visit(open_site.url + path, how)
        assert visited.page.title().endswith("Watcher")
        wide = visited.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide == 0, path  # nothing sticks out
        assert (
            visited.page.evaluate(
                "document.querySelectorAll('main script, main img:not([src^=\"/videos/\"])').length"
            )
            == 0
        )
        assert visited.wrong == []


def test_the_first_page_is_light_and_does_not_jump(
    finished: House, open_site: site_of_web.Site, chromium: sync_api.Browser
) -> None:
    with chromium.new_context(**VIEWS["light"]) as context:
        page = context.new_page()
        page.add_init_script(
            "window.jumps = 0; new PerformanceObserver((list) => { for (const one of list.getEntries())"
            " window.jumps += one.value; }).observe({ type: 'layout-shift', buffered: true });"
        )
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(open_site.url, wait_until="networkidle")
        size = page.evaluate(
            "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
            ".reduce((sum, one) => sum + one.transferSize, 0)"
        )
        assert page.evaluate("document.querySelector('.frame img').naturalWidth") > 0
        print(f"first page: {size:,} bytes, {len(addresses)} requests")
        assert 0 < size < FIRST_PAGE_BYTES
        assert page.evaluate("window.jumps") == 0
        assert [one for one in addresses if not one.startswith(open_site.url)] == []


def test_without_scripts_the_pages_are_whole(
    finished: House, open_site: site_of_web.Site, chromium: sync_api.Browser
) -> None:
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(open_site.url)
        assert page.locator(".card").count() == len(finished.rows())
        page.get_by_text("A film.mp4", exact=True).click()
        assert re.search(r"/videos/\d+/video\.mp4$", page.get_attribute("video", "src") or "")
        assert page.get_attribute("video", "controls") is not None


_SHEET_IS_LOADED = """(() => {
  const sheet = document.querySelector('.preview .still').style.backgroundImage.slice(5, -2);
  return performance.getEntriesByName(sheet).some((one) => one.responseEnd > 0);
})()"""


def _play_to_the_end(visited: Visit) -> None:
    visited.wait("document.querySelector('.player.ready') !== null")
    visited.page.click("[data-do=play]")
    visited.wait("document.querySelector('video').ended")


def _hover(page: sync_api.Page, part: float, *, click: bool = False) -> None:
    """Put the pointer on the timeline, at a part of its length."""
    box: Any = page.locator("input[type=range]").bounding_box()
    place = (box["x"] + box["width"] * part, box["y"] + box["height"] / 2)
    page.mouse.move(*place)
    if click:
        page.mouse.click(*place)
