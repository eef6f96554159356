"""The status page over HTTP: what it shows, whom it answers, and that it changes nothing."""

import base64
import html.parser
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import site_of_web
from house import House, clip

from watcher import config, database, ledger, localb2, web
from watcher.errors import Misconfigured

TOKEN = "0123456789abcdef0123"
HOSTILE = [
    "<script>alert(1)</script>.txt",
    'x" onmouseover="alert(2).txt',
    "{{ 7 * 7 }}{% raw %}.txt",
    "\u202egpj.exe\u2066.txt",
    "/".join(["\u5f71" * 83] * 4),  # 999 bytes
    "\u05e9\u05dc\u05d5\u05dd/&amp;?q=1#x.txt",
]
PAGES = ["/", "/?status=failed", "/?q=clip", "/videos/1", "/operations"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One film completed, one upload failed, and names that would do harm."""
    folder = tmp_path_factory.mktemp("web")
    with localb2.serve(folder / "b2") as b2:
        made = House(folder, b2, LADDER="144")
        made.upload(clip(folder / "clip.mov", seconds=1), "films/a clip.mov")
        made.run_until_idle()
        (folder / "text").write_text("no film")
        made.upload(folder / "text", "uploads/broken.mp4", content_type="video/mp4")
        for name in HOSTILE:
            made.upload(folder / "text", name, content_type="text/plain")
        made.run_until_idle()
        yield made


@pytest.fixture(scope="module")
def site(house: House) -> Iterator[site_of_web.Site]:
    with site_of_web.serve(config.load(house.environment)) as running:
        yield running


@pytest.fixture(scope="module")
def locked(house: House) -> Iterator[site_of_web.Site]:
    with site_of_web.serve(config.load({**house.environment, "WEB_TOKEN": TOKEN})) as running:
        yield running


def test_the_gallery_shows_each_video_with_its_state(house: House, site: site_of_web.Site) -> None:
    page = site.get("/").data.decode()
    cards = re.findall(r'<li class="card" id="video-(\d+)">.*?class="state (\w+)"', page, re.DOTALL)
    expected = {(str(row["id"]), row["status"]) for row in house.rows().values()}
    assert set(cards) == expected
    assert {status for _, status in expected} >= {"completed", "failed"}


def test_a_filter_and_a_search_show_only_what_was_asked_for(site: site_of_web.Site) -> None:
    failed = site.get("/?status=failed").data.decode()
    found = site.get("/?q=A+CLIP").data.decode()
    assert re.findall(r"<bdi>(broken\.mp4|a clip\.mov)</bdi>", failed) == ["broken.mp4"]
    assert re.findall(r'id="video-(\d+)"', found) == ["1"]


def test_further_pages_reach_every_video_once(
    house: House, site: site_of_web.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.pages, "SHOWN", 3)
    seen, path = [], "/"
    while path:
        page = site.get(path).data.decode()
        seen += [int(found) for found in re.findall(r'id="video-(\d+)"', page)]
        following = re.search(r'href="([^"]+)" rel="next"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == sorted((row["id"] for row in house.rows().values()), reverse=True)


def test_a_failed_video_tells_why_and_what_to_do(house: House, site: site_of_web.Site) -> None:
    page = site.get(f"/videos/{house.rows()['uploads/broken.mp4']['id']}").data.decode()
    trouble = re.search(r'<section class="trouble".*?</section>', page, re.DOTALL)
    assert trouble is not None
    assert "<code>unreadable</code>" in trouble[0]
    assert "Upload the file again" in trouble[0]


def test_an_outage_is_on_the_gallery_and_the_operations_page(tmp_path: Path, house: House) -> None:
    copy = tmp_path / "watcher.db"
    assert house.cli("db", "backup", str(copy)).returncode == 0
    url = f"sqlite:///{copy}"
    db = database.open_for_writing(url)
    now = datetime.now(UTC)
    ledger.pause(
        db,
        worker="one",
        what="listing",
        code="b2_cap_exceeded",
        detail="list bucket <videos>: spent",
        until=now + timedelta(hours=1),
        now=now,
    )
    db.dispose()
    with site_of_web.serve(config.load({**house.environment, "DATABASE_URL": url})) as site:
        for path in ("/", "/operations"):
            page = site.get(path).data.decode()
            assert "The bucket cannot be listed <code>b2_cap_exceeded</code>" in page
            assert "list bucket &lt;videos&gt;: spent" in page
            assert "Raise the cap in the B2 console" in page


def test_names_are_text_whatever_they_hold(house: House, site: site_of_web.Site) -> None:
    for path in ["/", "/operations", *(f"/videos/{row['id']}" for row in house.rows().values())]:
        page = site.get(path).data.decode()
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "\u2066" not in page
        assert "49" not in re.findall(r"<bdi>(\S+)</bdi>", page)


@pytest.mark.parametrize("search", ["%00", "%ff", "%25", "_", "%27%3B--", "%F0%9F%8E%AC", "%20"])
def test_any_search_is_answered(site: site_of_web.Site, search: str) -> None:
    assert site.get(f"/?q={search}").status == 200


def test_a_search_is_text_too(site: site_of_web.Site) -> None:
    page = site.get("/?q=%22%3E%3Cscript%3Ealert(3)%3C/script%3E%E2%80%AE").data.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(3)" in page


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/videos/999999", 404),
        ("/videos/0", 422),
        (f"/videos/{2**63}", 422),
        ("/videos/x", 422),
        ("/?before=-1", 422),
        (f"/?q={'x' * 201}", 422),
        ("/videos/1/hls/nothing.m3u8", 404),
        ("/videos/1/hls/..%2f..%2fsecret", 404),
        ("/static/../__init__.py", 404),
        ("/static/%2e%2e/%2e%2e/config.py", 404),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_said_on_a_page(site: site_of_web.Site, path: str, status: int) -> None:
    answer = site.get(path)
    assert answer.status == status
    assert "Traceback" not in answer.data.decode()


def test_every_answer_carries_the_headers_that_bind_a_browser(site: site_of_web.Site) -> None:
    for path in [*PAGES, "/nothing", "/static/page.css", "/videos/1/poster.jpg"]:
        headers = site.get(path).headers
        policy = dict(
            part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_pages_hold_no_script_or_style_of_their_own_and_load_nothing_from_elsewhere(
    house: House, site: site_of_web.Site
) -> None:
    for path in [*PAGES, *(f"/videos/{row['id']}" for row in house.rows().values())]:
        for tag, attributes in _tags(site.get(path).data.decode()):
            assert tag != "style"
            assert tag != "script" or (attributes["src"] or "").startswith("/static/")
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for name in ("src", "href", "poster", "action"):
                assert re.match(r"/(?!/)|#", attributes.get(name) or "/"), attributes


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """Return the tags that a browser would see, with their attributes."""
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    reader = Reader()
    reader.feed(page)
    reader.close()
    return found


def test_only_reading_methods_are_answered(site: site_of_web.Site) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        assert site.get("/", method=method).status == 405
    assert site.get("/videos/1", method="HEAD").status == 200
    assert site.get("/videos/1", method="HEAD").data == b""


def test_looking_changes_nothing_in_the_table(house: House, site: site_of_web.Site) -> None:
    before = house.dump()
    master = site.get("/videos/1/hls/master.m3u8").data.decode()
    [playlist] = [line for line in master.splitlines() if line.startswith("144p-")]
    for path in [*PAGES, f"/videos/1/hls/{playlist}", "/videos/1/poster.jpg"]:
        assert site.get(path).status == 200
    assert house.dump() == before


@pytest.mark.parametrize("host", ["videos.example", "192.0.2.7:8080", "127.0.0.1.example", "[::1", ""])
def test_without_a_token_only_this_machines_own_names_are_answered(site: site_of_web.Site, host: str) -> None:
    assert site.get("/", headers={"Host": host}).status == 403
    assert site.get("/", headers={"Host": "localhost:8080"}).status == 200


def test_with_a_token_nothing_is_shown_without_it(locked: site_of_web.Site) -> None:
    for path in [*PAGES, "/static/page.css", "/videos/1/poster.jpg", "/nothing"]:
        answer = locked.get(path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_the_api_refuses_in_json(site: site_of_web.Site, locked: site_of_web.Site) -> None:
    for answer in (
        locked.get("/api/v1/videos"),
        site.get("/api/v1/videos", method="DELETE"),
        site.get("/api/v1/videos", headers={"Host": "videos.example"}),
    ):
        assert answer.status in (401, 403, 405)
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        ("Basic " + base64.b64encode(f"anyone:{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(f":{TOKEN}".encode()).decode(), 200),
        ("Basic " + base64.b64encode(b"anyone:wrong").decode(), 401),
        ("Basic " + base64.b64encode(TOKEN.encode()).decode(), 401),
        ("Basic not-base64!", 401),
        ("Basic \u00e4", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer", 401),
        (TOKEN, 401),
        ("", 401),
    ],
)
def test_the_token_is_taken_as_a_bearers_or_as_a_password(
    locked: site_of_web.Site, header: str, status: int
) -> None:
    assert locked.get("/", headers={"Authorization": header}).status == status


def test_another_address_needs_a_token(house: House) -> None:
    done = house.cli("web", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "WEB_TOKEN" in done.stderr


def test_a_token_that_could_be_guessed_is_refused(house: House) -> None:
    with pytest.raises(Misconfigured, match="WEB_TOKEN"):
        config.load({**house.environment, "WEB_TOKEN": "short"})


def test_without_a_table_the_command_says_what_to_do(tmp_path: Path, house: House) -> None:
    done = house.cli("web", DATABASE_URL=f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 2
    assert "watcher run" in done.stderr


def test_a_database_that_is_put_in_place_of_another_is_shown_and_a_lack_of_one_is_told(
    tmp_path: Path, house: House
) -> None:
    file = tmp_path / "watcher.db"
    db = database.open_for_writing(f"sqlite:///{file}")
    database.upgrade(db)
    db.dispose()
    assert house.cli("db", "backup", str(tmp_path / "backup.db")).returncode == 0
    with site_of_web.serve(
        config.load({**house.environment, "DATABASE_URL": f"sqlite:///{file}"})
    ) as running:
        assert "a clip.mov" not in running.get("/").data.decode()
        file.unlink()
        answer = running.get("/api/v1/videos")
        assert (answer.status, "restore a backup" in answer.data.decode()) == (503, True)
        (tmp_path / "backup.db").rename(file)
        assert "a clip.mov" in running.get("/").data.decode()
