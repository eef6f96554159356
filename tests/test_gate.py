"""The gate: an outage holds all seats back, one video's own trouble holds back none."""

from datetime import timedelta

import pytest

from watcher import gate, retry
from watcher.errors import Outage

DOWN = Outage("b2_unavailable", "B2 does not answer")


@pytest.fixture
def door() -> gate.Gate:
    return gate.Gate(spread="w1")


def test_one_video_that_always_meets_an_outage_holds_no_other_back(door: gate.Gate) -> None:
    for _ in range(5):
        assert door.note_outage(DOWN, 1) is None
    assert door.wait_seconds() == 0


def test_a_success_in_between_says_that_the_world_is_well(door: gate.Gate) -> None:
    assert door.note_outage(DOWN, 1) is None
    assert not door.note_end()  # it was not closed
    assert door.note_outage(DOWN, 2) is None
    assert not door.is_closed


def test_two_videos_in_a_row_close_it_for_longer_and_longer(
    door: gate.Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(gate.time, "monotonic", lambda: clock[0])
    door.note_outage(DOWN, 1)
    pauses = []
    for video_id in range(2, 8):
        pause = door.note_outage(DOWN, video_id)
        assert pause is not None
        assert door.wait_seconds() == pytest.approx(pause.total_seconds())
        pauses.append(pause)
        clock[0] += pause.total_seconds()
        assert door.wait_seconds() == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0] * 16
    assert max(pauses) <= retry.LONGEST
    door.note_end()
    door.note_outage(DOWN, 1)
    assert door.note_outage(DOWN, 2) == pauses[0]


def test_what_was_under_way_when_it_closed_makes_the_pause_no_longer(door: gate.Gate) -> None:
    door.note_outage(DOWN, 1)
    assert door.note_outage(DOWN, 2) is not None
    before = door.wait_seconds()
    assert door.note_outage(DOWN, 3) is None
    assert door.wait_seconds() <= before


def test_it_waits_at_least_as_long_as_b2_asks_for(door: gate.Gate) -> None:
    asked = Outage("b2_unavailable", "busy", retry_after=timedelta(seconds=900))
    door.note_outage(asked, 1)
    assert door.note_outage(asked, 2) == timedelta(seconds=900)
