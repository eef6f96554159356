"""A finished film plays in a real browser: to and fro across the joins, up and down the ladder, and to its end."""

import math

import pytest
import theatre
from conftest import Showing
from theatre import RATE, SECONDS, Player


@pytest.mark.parametrize("how", ["hls.js", "plain"])
def test_a_seek_to_either_side_of_a_join_shows_that_very_picture_and_plays_on(
    showing: Showing, player: Player, how: str
) -> None:
    joins = theatre.joins(showing.hls)
    assert len(joins) >= 2
    player.open(showing.cdn.page("player.html"), showing.hls, how=how)

    # To and fro, so that each seek leaves what is buffered.
    for join in [*joins[::-2], *joins[::2], *joins]:
        for target in (join - 0.5 / RATE, join + 0.5 / RATE):
            player.seek(target)
            player.wait(f"player.frames.at(-1)[1] === {math.floor(target * RATE)}")
            assert player.facts().time == pytest.approx(target, abs=0.001)
        player.seek(join - 0.3)
        player.play()
        player.wait(f"player.frames.at(-1)[1] > {math.ceil((join + 0.3) * RATE)}")
        player.pause()

    assert player.facts().wrong == []


def test_the_rung_changes_in_mid_play(showing: Showing, player: Player) -> None:
    player.open(showing.cdn.page("player.html"), showing.hls, how="hls.js")
    heights = player.run("player.hls.levels.map((level) => level.height)")
    assert sorted(heights) == [144, 240]
    player.play()

    for setting, height in [("next", 144), ("next", 240), ("current", 144), ("current", 240), ("next", 144)]:
        player.run(f"player.hls.{setting}Level = {heights.index(height)}")
        player.wait(f"video.videoHeight === {height}")
        at = player.run("video.currentTime")
        player.wait(f"video.currentTime > {at + 1} && player.frames.at(-1)[2] === {height}")
    player.run(f"video.currentTime = {SECONDS - 2}")
    player.wait("video.ended")

    found = player.facts()
    assert found.wrong == []
    assert found.numbers[-1] >= SECONDS * RATE - 5
    assert {height for *_, height in found.frames} == {144, 240}


@pytest.mark.parametrize("which", ["hls", "mp4"])
def test_a_browser_without_a_library_plays_it(showing: Showing, player: Player, which: str) -> None:
    player.open(showing.cdn.page("player.html"), getattr(showing, which), how="plain")
    at_start = player.facts()

    player.play()
    player.wait("video.currentTime > 1")
    for target in (SECONDS / 2, SECONDS / 4, SECONDS - 2):
        player.seek(target)
        player.wait(f"video.currentTime > {target + 1}")
    player.wait("video.ended")

    found = player.facts()
    assert found.wrong == []
    assert at_start.numbers == [0]
    assert found.duration == pytest.approx(SECONDS, abs=2 / RATE)
    assert found.numbers[-1] >= SECONDS * RATE - 5
    assert found.sound > 0
