"""Uploads that go up side by side, and files that are not all there."""

import threading
from functools import partial
from pathlib import Path

import pytest
from clips import H264, make

from watcher import ledger, publish
from watcher.command import fragmented
from watcher.errors import Failure, Outage
from watcher.models import OutputKind

PATIENCE_SECONDS = 120


def output(name: str) -> ledger.NewOutput:
    return ledger.NewOutput(OutputKind.PLAYLIST, 0, None, "b", name, name, 1, "", "", None, None, None, None)


def test_small_objects_go_up_side_by_side_and_are_told_in_order() -> None:
    meeting = threading.Barrier(3)

    def upload(name: str) -> ledger.NewOutput:
        meeting.wait(PATIENCE_SECONDS)  # in vain, if one is sent after the other
        return output(name)

    done = publish.together([partial(upload, name) for name in ("a", "b", "c")])

    assert [one.name for one in done] == ["a", "b", "c"]


def test_when_one_upload_fails_the_others_have_ended_before_that_is_told() -> None:
    failed, ended = threading.Event(), []

    def fail() -> ledger.NewOutput:
        failed.set()
        raise Outage("b2_unavailable", "no answer")

    def succeed() -> ledger.NewOutput:
        assert failed.wait(PATIENCE_SECONDS)
        ended.append(True)
        return output("a")

    with pytest.raises(Outage):
        publish.together([fail, succeed])

    assert ended == [True]


def test_a_finished_file_whose_end_was_not_written_is_not_published(tmp_path: Path) -> None:
    """Its packets can be counted all the same: a fragment says at its head what it holds."""
    flags = ("-movflags", fragmented.FRAGMENTED)
    path = make(tmp_path / "film.mp4", *H264, "-g", "25", *flags, seconds=3, sound=False)
    ranges = publish.byte_ranges(path)["segments"]
    assert len(ranges) == 3
    data = path.read_bytes()
    offset, size, _ = ranges[-1]
    for damaged in (
        data[: offset + size - 1],
        data[: offset - 1],
        data[: offset - 5000] + data[offset - 900 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(Failure) as caught:
            publish.byte_ranges(path)
        assert caught.value.code == "output_invalid"
