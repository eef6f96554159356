"""Uploads that go up side by side."""

import threading
from functools import partial

import pytest

from watcher import ledger, publish
from watcher.errors import Outage
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
