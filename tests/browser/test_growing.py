"""A film plays in a real browser while it is still being made."""

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cdn
import m3u8
import pytest
import theatre
from conftest import PAGES
from house import BUCKET, House, wait_for
from theatre import RATE, SECONDS, Player

from watcher import config, localb2, workshop


@pytest.fixture
def house(tmp_path: Path, b2: localb2.LocalB2) -> House:
    made = House(tmp_path, b2, LADDER="240,144")
    with workshop.opened(config.load(made.environment)):
        pass  # now there is a table to look at
    return made


@pytest.fixture
def server(b2: localb2.LocalB2) -> Iterator[cdn.Cdn]:
    with cdn.serve(b2, BUCKET, PAGES) as running:
        yield running


@pytest.mark.parametrize("kind", theatre.FILMS)
def test_a_film_plays_from_its_first_picture_to_its_last_while_it_is_being_made(
    house: House, server: cdn.Cdn, player: Player, kind: str
) -> None:
    house.upload(theatre.film(house.folder / "film.mp4", *theatre.FILMS[kind], seconds=SECONDS))
    daemon = house.start("run")
    try:
        wait_for(lambda: bool(house.rows().get("film.mp4", {}).get("hls")), "the film to be announced")
        url = server.url(house.rows()["film.mp4"]["hls"])
        os.kill(daemon.pid, signal.SIGSTOP)  # a slow machine, so that the browser is sure to be there first
        announced = theatre.media(url)
        player.open(server.page("player.html"), url, how="hls.js")
        at_start = player.facts()
        player.play()
        player.wait(f"video.currentTime > {_seconds(announced) - 0.1}")  # it has to wait there for more
        os.kill(daemon.pid, signal.SIGCONT)
        player.wait("player.playlists.some(([, , isGrowing]) => !isGrowing)")
        player.play(rate=2)
        player.wait("video.ended")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        daemon.terminate()
        assert daemon.wait() == 0

    final = theatre.media(url)
    assert (announced.playlist_type, announced.is_endlist) == ("event", False)
    assert (final.playlist_type, final.is_endlist) == ("vod", True)
    assert _segments(final)[: len(announced.segments)] == _segments(announced)
    assert len(final.segments) > len(announced.segments)

    end = player.facts()
    assert end.wrong == []
    assert at_start.time == 0
    assert at_start.numbers == [0]
    assert end.time == pytest.approx(SECONDS, abs=1 / RATE)
    assert end.duration == pytest.approx(SECONDS, abs=1 / RATE)
    assert end.decoded >= SECONDS * RATE  # hls.js may fetch a stretch again in another size
    assert end.dropped < end.decoded / 4  # of which a browser on a busy machine draws fewer than it decodes
    assert end.sound > 0
    assert end.numbers == sorted(set(end.numbers))
    assert end.numbers[-1] >= SECONDS * RATE - 5

    kinds = [(kind, is_growing) for _, kind, is_growing, _ in end.playlists]
    assert kinds[0] == ("EVENT", True)
    assert kinds[-1] == ("VOD", False)
    print(f"{len(announced.segments)} of {len(final.segments)} segments at the start, {end.summary}")


def _seconds(playlist: m3u8.M3U8) -> float:
    return math.fsum(one.duration for one in playlist.segments)


def _segments(playlist: m3u8.M3U8) -> list[tuple[str, str, float]]:
    return [(one.uri, one.byterange, one.duration) for one in playlist.segments]
