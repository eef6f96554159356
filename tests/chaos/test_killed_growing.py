"""The daemon is killed while a film is up and still growing: it is completed all the same, and done once.

Heavy: a line of a few megabits. .ci/run names this folder; `make test` leaves it out.
"""

import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from house import BUCKET, FFMPEG, House, clip, wait_for

from watcher import config, localb2, stats, workshop
from watcher.models import OutputKind

LINE = 8_000_000  # bits per second: a part of the film has come, and is up, long before the rest
COPIED = (
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-s",
    "1280x720",
    "-b:v",
    "4M",
    "-pix_fmt",
    "yuv420p",
    "-g",
    "30",
)
ENCODED = ("-c:v", "mpeg4", "-b:v", "4M", "-g", "30")
SECONDS = 16

# Stands for a machine on which one kind of work, told by a word of its command, never ends until the file is there.
SLOW = """\
#!PYTHON -IS
import os, subprocess, sys, time
def wait():
    while WORD in sys.argv and not os.path.exists(FILE):
        time.sleep(0.05)
if WORD == "libx264":
    wait()
code = subprocess.call([FFMPEG, *sys.argv[1:]])
wait()
sys.exit(code)
"""


def slow(folder: Path, word: str) -> Path:
    facts = {"PYTHON": sys.executable, "WORD": repr(word), "FFMPEG": repr(FFMPEG)}
    facts["FILE"] = repr(str(folder / "go"))
    program = folder / "ffmpeg"
    program.write_text(re.sub("|".join(facts), lambda match: facts[match[0]], SLOW))
    program.chmod(0o755)
    return program


def parts(house: House, kind: OutputKind) -> int:
    db = house.readings()
    try:
        return sum(part.kind == kind for part in stats.parts(db, 1))
    finally:
        db.dispose()


@pytest.mark.parametrize(
    ("encoding", "held", "killed"),
    [
        # The picture of the first chunk is being made, and the sound, which is heard already, waits for it.
        (ENCODED, "libx264", "audio"),
        # The first parts of a copy are up, and it is to be verified at its end.
        (COPIED, "-bsf:v", "copy"),
    ],
    ids=["sound", "copy"],
)
def test_a_film_that_grew_when_the_daemon_was_killed_is_completed_and_done_once(
    tmp_path: Path, encoding: tuple[str, ...], held: str, killed: str
) -> None:
    with localb2.serve(tmp_path / "b2", buckets=[BUCKET], bandwidth=LINE) as b2:
        program = slow(tmp_path, held)
        house = House(tmp_path, b2, FFMPEG=str(program), CONFINE="no", LADDER="720", QUALITY="fast")
        film = clip(tmp_path / "film.mp4", *encoding, "-c:a", "aac", seconds=SECONDS, size="640x360")
        house.upload(film)
        with workshop.opened(config.load(house.environment)):
            pass  # now there is a table to look at
        first = house.start("run")
        kind = OutputKind.AUDIO_PART if killed == "audio" else OutputKind.VIDEO_PART
        wait_for(lambda: parts(house, kind) > 0, "the first part")
        if killed == "copy":
            wait_for(lambda: house.rows()["film.mp4"]["hls"] is not None, "the film to be up")
        before = house.events()
        first.kill()
        assert first.wait() == -signal.SIGKILL
        assert (killed, "finished") not in house.events()
        (tmp_path / "go").touch()

        assert house.start("run", "--until-idle").wait() == 0

        assert house.rows()["film.mp4"]["status"] == "completed"
        assert house.broken() == []
        started = Counter(step for step, what in house.events() if what == "started" and step != "announce")
        done = {step for step, what in before if what == "finished"}
        assert all(started[step] == 1 for step in done - {"announce"})
        assert all(times <= 2 for times in started.values())
        assert started[killed] == 2
