"""Log lines: readable on a terminal, parsable elsewhere, harmless and without secrets in both."""

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from watcher import log

HOSTILE = "film\x1b]0;owned\x07\x9b2J\u202e\n2026-11-22T00:00:00Z [error] forged=1"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if handler.get_name() == "watcher":
            root.removeHandler(handler)
    logging.getLogger("watcher").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


Lines = pytest.CaptureFixture[str]


def test_a_line_is_one_json_object_with_its_fields_and_a_utc_time(capsys: Lines) -> None:
    log.configure(level="info", format="auto")

    log.get().info("published", outputs=3, took=timedelta(seconds=41), names=["a", Path("b")])

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["outputs"]) == ("published", "info", 3)
    assert (line["took"], line["names"]) == ("0:00:41", ["a", "b"])
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


def test_fields_that_were_bound_are_on_every_line_until_the_end(capsys: Lines) -> None:
    log.configure(level="info", format="json")

    with log.bound(video=7, step=9):
        log.get().info("claimed")
    log.get().info("idle")

    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["video"], first["step"]) == (7, 9)
    assert "video" not in second


def test_lines_below_the_level_are_left_out(capsys: Lines) -> None:
    log.configure(level="warning", format="json")

    log.get().info("claimed")
    log.get().warning("slow")

    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["slow"]


def test_the_libraries_are_heard_from_warnings_up_in_the_same_form(capsys: Lines) -> None:
    log.configure(level="debug", format="json")

    for name in ("b2sdk.account_info", "alembic.runtime"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("run of job %r was missed", "poll")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("run of job 'poll' was missed", "warning")
    ] * 2


def test_configuring_twice_does_not_say_everything_twice(capsys: Lines) -> None:
    log.configure(level="info", format="json")
    log.configure(level="info", format="json")

    log.get().info("started")

    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("style", ["human", "json"])
def test_a_hostile_value_can_neither_reach_the_terminal_nor_start_a_line(style: str, capsys: Lines) -> None:
    log.configure(level="info", format="human" if style == "human" else "json")

    log.get().info("discovered", name=HOSTILE, nested={HOSTILE: [HOSTILE]}, key=Path(HOSTILE))
    log.get().info(HOSTILE)
    logging.getLogger("b2sdk").warning("odd name %s", HOSTILE)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_a_line_for_people_keeps_fields_apart(capsys: Lines) -> None:
    log.configure(level="info", format="human")

    log.get().info("discovered", name="my film size=3", size=9)

    assert "name='my film size=3' size=9" in capsys.readouterr().err


def test_an_exception_is_told_without_locals_and_cannot_forge_a_line(capsys: Lines) -> None:
    log.configure(level="info", format="human")
    token = "4_005_secret_" + "token"

    try:
        raise ValueError(f"GET failed\nheaders {{'Authorization': '{token}'}}\x1b[2J")
    except ValueError:
        log.get().exception("bug")

    written = capsys.readouterr().err
    first, *rest = written.splitlines()
    assert "bug" in first
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert token not in written


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "https://f1/x?Authorization=hunter2&b=1",
        "{'authorization': 'hunter2'}",
    ],
)
@pytest.mark.parametrize("style", ["human", "json"])
def test_an_authorization_token_is_struck_out(text: str, style: str, capsys: Lines) -> None:
    log.configure(level="info", format="human" if style == "human" else "json")

    log.get().info("tried", url=text, key=SecretStr("hunter2"))

    written = capsys.readouterr().err
    assert "tried" in written
    assert "hunter2" not in written


def test_a_terminal_gets_lines_for_people() -> None:
    code = "from watcher import log; log.configure(level='info', format='auto'); log.get().info('started')"
    ours, theirs = pty.openpty()

    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)

    line = os.read(ours, 4096).decode()
    os.close(ours)
    assert "started" in line
    assert not line.startswith("{")
