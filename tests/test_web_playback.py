"""Playing from a private bucket: tokens for one video's folder, and no more than that, for a bounded time."""

import concurrent.futures
import contextlib
import os
import re
import shlex
import socket
import subprocess
import sysconfig
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import site_of_web
import urllib3
from house import BUCKET, House, clip

from watcher import config, localb2
from watcher.errors import Outage
from watcher.web import playback

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ["films/a clip & more.mov", "films/other.mov"]


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, localb2.LocalB2]]:
    """Two films in a private bucket."""
    folder = tmp_path_factory.mktemp("private")
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2, LADDER="144")
        for name in NAMES:
            house.upload(clip(folder / "clip.mov", seconds=1), name)
        house.run_until_idle()
        yield house, b2


@pytest.fixture(scope="module")
def site(private: tuple[House, localb2.LocalB2]) -> Iterator[site_of_web.Site]:
    with site_of_web.serve(config.load(private[0].environment)) as running:
        yield running


@pytest.fixture
def way(private: tuple[House, localb2.LocalB2]) -> playback.Playback:
    return playback.Playback(config.load(private[0].environment))


def _playlists(site: site_of_web.Site) -> list[str]:
    """Return the paths of the media playlists of the first video, pictures first."""
    text = site.get("/videos/1/hls/master.m3u8").data.decode()
    names = re.findall(r"^[^#\s]+\.m3u8$", text, re.MULTILINE) + re.findall(r'URI="([^"]+)"', text)
    return [f"/videos/1/hls/{name}" for name in names]


def _links(site: site_of_web.Site) -> list[str]:
    """Return every address that the player of the first video gets to see."""
    texts = [site.get(path).data.decode() for path in _playlists(site)]
    texts.append(site.get("/videos/1/storyboard.vtt").data.decode())
    links = re.findall(r'https?://[^\s"#]+', "\n".join(texts))
    return sorted({*links, site.get("/videos/1/video.mp4").headers["Location"]})


def test_every_link_opens_without_a_key(site: site_of_web.Site) -> None:
    links = _links(site)
    assert len(links) == 4  # picture, sound, storyboard, MP4
    for link in links:
        assert urllib3.request("GET", link).status == 200
        assert urllib3.request("GET", link.partition("?")[0]).status == 401


def test_a_token_opens_the_folder_of_its_video_and_nothing_else(
    private: tuple[House, localb2.LocalB2], site: site_of_web.Site
) -> None:
    house, b2 = private
    query = _links(site)[0].partition("?")[2]
    for name in house.objects():
        address = f"{b2.realm}/file/{BUCKET}/{urllib.parse.quote(name)}?{query}"
        is_own = name.startswith(f"transcoded/{NAMES[0]}/")
        assert urllib3.request("GET", address).status == (200 if is_own else 401), name
    token = urllib.parse.parse_qs(query)["Authorization"][0]
    listing = urllib3.request(
        "POST",
        f"{b2.realm}/b2api/v4/b2_list_file_names",
        headers={"Authorization": token},
        json={"bucketId": house.bucket.id},
    )
    assert listing.status == 401


def test_no_answer_holds_the_application_key(
    private: tuple[House, localb2.LocalB2], site: site_of_web.Site
) -> None:
    _, b2 = private
    paths = ["/", "/operations", "/videos/1", "/videos/1/hls/master.m3u8", *_playlists(site)]
    for path in paths:
        answer = site.get(path)
        whole = f"{answer.headers} {answer.data.decode()}"
        assert b2.key not in whole
        assert b2.key_id not in whole
        assert "Authorization=4_" not in whole  # which an account's own tokens begin with


def test_the_master_playlist_names_playlists_of_this_site(site: site_of_web.Site) -> None:
    master = site.get("/videos/1/hls/master.m3u8")
    assert master.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    named = [line for line in master.data.decode().splitlines() if line and not line.startswith("#")]
    assert len(named) == 1
    assert named[0].startswith("144p-")
    assert site.get(f"/videos/1/hls/{named[0]}").data.startswith(b"#EXTM3U")


def test_the_poster_is_handed_on_and_may_be_kept(site: site_of_web.Site) -> None:
    page = site.get("/").data.decode()
    address = re.search(r'src="(/videos/1/poster.jpg\?\d+)"', page)
    assert address is not None
    poster = site.get(address[1])
    assert poster.headers["Content-Type"] == "image/jpeg"
    assert poster.data.startswith(b"\xff\xd8")
    assert poster.headers["Cache-Control"].startswith("private, max-age=")


def test_a_page_may_load_media_from_the_bucket_and_from_nowhere_else(
    private: tuple[House, localb2.LocalB2], site: site_of_web.Site
) -> None:
    _, b2 = private
    policy = site.get("/videos/1").headers["Content-Security-Policy"]
    allowed = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert allowed["media-src"] == f"'self' blob: {b2.realm}"
    assert allowed["connect-src"] == allowed["img-src"] == f"'self' {b2.realm}"


def test_a_token_is_asked_for_once_and_again_shortly_before_it_could_end_too_early(
    private: tuple[House, localb2.LocalB2], way: playback.Playback
) -> None:
    _, b2 = private
    film = timedelta(minutes=90)
    before = b2.calls["b2_get_download_authorization"]

    first = way.link(BUCKET, f"transcoded/{NAMES[0]}/video.mp4", film=film, now=NOW)
    later = NOW + playback.SPARE - playback.LEAST_SPARE
    assert way.link(BUCKET, f"transcoded/{NAMES[0]}/video.mp4", film=film, now=later) == first
    assert b2.calls["b2_get_download_authorization"] == before + 1
    way.link(BUCKET, f"transcoded/{NAMES[0]}/video.mp4", film=film, now=later + timedelta(seconds=1))
    assert b2.calls["b2_get_download_authorization"] == before + 2


def test_each_folder_has_a_token_of_its_own(way: playback.Playback) -> None:
    film = timedelta(minutes=1)
    one, other = (way.link(BUCKET, f"transcoded/{name}/video.mp4", film=film, now=NOW) for name in NAMES)
    assert one.partition("?")[2] != other.partition("?")[2]


def test_what_was_read_once_is_not_read_again(
    private: tuple[House, localb2.LocalB2], way: playback.Playback
) -> None:
    house, b2 = private
    name = f"transcoded/{NAMES[0]}/poster.jpg"
    entry = next(entry for entry in house.bucket.list_versions(name))
    before = b2.calls["b2_download_file_by_id"]
    assert way.read(BUCKET, entry.file_id, entry.size_bytes) == way.read(
        BUCKET, entry.file_id, entry.size_bytes
    )
    assert b2.calls["b2_download_file_by_id"] == before + 1


def test_after_a_failure_b2_is_left_alone_for_a_while(
    private: tuple[House, localb2.LocalB2], way: playback.Playback, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, b2 = private
    monkeypatch.setattr(playback, "PAUSE_SECONDS", 3600)  # of which no test waits for the end
    entry = next(house.bucket.list_versions(f"transcoded/{NAMES[0]}/poster.jpg"))
    way.origin(BUCKET)
    b2.faults.append(localb2.Fault("b2_download_file_by_id", times=3))
    for _ in range(3):
        with pytest.raises(Outage, match="a fault was asked for"):
            way.read(BUCKET, entry.file_id, entry.size_bytes)
    assert b2.faults == []  # the three tries of the first read met them


def test_nobody_waits_long_behind_a_call_that_hangs(
    private: tuple[House, localb2.LocalB2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "TURN_SECONDS", 0.1)
    house, _ = private
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        realm = f"http://127.0.0.1:{silent.getsockname()[1]}"
        way = playback.Playback(config.load({**house.environment, "B2_REALM": realm}))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            first = pool.submit(way.origin, BUCKET)
            connection, _address = silent.accept()
            with pytest.raises(Outage, match="an earlier request still waits for B2"):
                way.origin(BUCKET)
            silent.close()
            connection.close()
            assert isinstance(first.exception(), Outage)


def test_addresses_in_playlists_and_storyboards_are_replaced_and_nothing_else() -> None:
    playlist = '#EXTM3U\n#EXT-X-MAP:URI="parts/a%20b.mp4",BYTERANGE="700@0"\n#EXTINF:2,\nparts/a%20b.mp4\n'
    storyboard = "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nparts/s-0.jpg#xywh=0,0,160,90\n"
    assert playback.relinked(playlist, lambda address: f"<{address}>") == (
        '#EXTM3U\n#EXT-X-MAP:URI="<parts/a%20b.mp4>",BYTERANGE="700@0"\n#EXTINF:2,\n<parts/a%20b.mp4>\n'
    )
    assert playback.relinked(storyboard, lambda address: f"<{address}>") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<parts/s-0.jpg#xywh=0,0,160,90>\n"
    )


def test_pages_are_there_while_b2_is_not(private: tuple[House, localb2.LocalB2]) -> None:
    house, _ = private
    nowhere = {**house.environment, "B2_REALM": "http://127.0.0.1:9"}
    with site_of_web.serve(config.load(nowhere)) as site:
        assert site.get("/").status == 200
        page = site.get("/videos/1")
        assert page.status == 200
        assert "The bucket cannot be reached from this page" in page.data.decode()
        assert site.get("/videos/1/hls/master.m3u8").status == 503


def test_the_local_b2_asks_the_buckets_rules_before_a_page_may_read(
    private: tuple[House, localb2.LocalB2], site: site_of_web.Site
) -> None:
    link = _links(site)[0]
    asking = {
        "Origin": "http://videos.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
    }
    allowed = urllib3.request("OPTIONS", link, headers=asking)
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://videos.example"
    assert allowed.headers["Access-Control-Allow-Headers"] == "range"
    refused = urllib3.request("OPTIONS", link, headers={**asking, "Access-Control-Request-Headers": "x-odd"})
    assert refused.status == 403
    read = urllib3.request("GET", link, headers={"Origin": "http://videos.example", "Range": "bytes=0-9"})
    assert read.status == 206
    assert read.headers["Access-Control-Allow-Origin"] == "http://videos.example"
    assert read.headers["Access-Control-Expose-Headers"] == "content-range"


def test_doctor_says_how_to_let_pages_play_and_is_content_once_that_is_done(
    tmp_path: Path, b2: localb2.LocalB2
) -> None:
    house = House(tmp_path, b2)
    _b2(house, b2, "bucket", "update", BUCKET, "--cors-rules", "[]")
    warned = house.cli("doctor", COLUMNS="600")
    assert re.search(r"warning +status page +the CORS rules of bucket", warned.stdout)
    command = next(line.strip() for line in warned.stdout.splitlines() if "b2 bucket update" in line)

    _b2(house, b2, *shlex.split(command)[1:])

    content = house.cli("doctor", COLUMNS="600").stdout
    assert re.search(r"ok +status page +pages of http://127\.0\.0\.1:8080 may play", content)


def _b2(house: House, b2: localb2.LocalB2, *arguments: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(house.folder),
        "B2_APPLICATION_KEY_ID": b2.key_id,
        "B2_APPLICATION_KEY": b2.key,
        "B2_ENVIRONMENT": b2.realm,
        "B2_ACCOUNT_INFO": str(house.folder / "account"),
    }
    command = Path(sysconfig.get_path("scripts")) / "b2"
    subprocess.run([command, *arguments], check=True, capture_output=True, cwd=house.folder, env=environment)
