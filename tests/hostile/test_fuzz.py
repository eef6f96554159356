"""The prober answers, or ends at its limits, whatever the bytes: small films with some of them flipped, by a seed."""

import random
from datetime import timedelta
from pathlib import Path

import pytest
import traps

from watcher import command, ffmpeg
from watcher.beat import Beat
from watcher.errors import Failure

ENDINGS = {
    "mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"),
    "mkv": ("-c:v", "mpeg4"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "ts": ("-c:v", "mpeg2video"),
    "avi": ("-c:v", "mpeg4"),
    "flv": ("-c:v", "flv"),
    "gif": ("-c:v", "gif"),
    "mxf": ("-c:v", "mpeg2video"),
    "wmv": ("-c:v", "wmv2"),
    "nut": ("-c:v", "ffv1"),
}
MUTANTS = 12  # of each: a minute in all
ANSWERS = {"facts", "unreadable", "encode_failed", "source_too_large", "source_too_costly"}
LIMITS = ffmpeg.Limits(memory_bytes=1024**3, cpu=timedelta(seconds=20), clock=timedelta(minutes=5))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_prober_always_answers(tmp_path: Path, ending: str) -> None:
    whole = traps.film(tmp_path / f"film.{ending}", traps.GREEN, *ENDINGS[ending]).read_bytes()
    dice = random.Random(ending)
    for number in range(MUTANTS):
        mutant = bytearray(whole)
        for _ in range(dice.choice((1, 4, 16, 64))):
            # Headers decide more than pictures do.
            reach = min(len(mutant), 1000) if dice.random() < 0.7 else len(mutant)
            mutant[dice.randrange(reach)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        path = tmp_path / f"mutant-{number}"
        path.write_bytes(mutant)
        (tmp_path / "room").mkdir(exist_ok=True)

        code, detail = _answer(path, tmp_path / "room")

        assert code in ANSWERS, f"mutant {number}: {code}: {detail}"
        assert "Traceback" not in detail, f"mutant {number}: {detail}"


def _answer(path: Path, folder: Path) -> tuple[str, str]:
    try:
        [found] = ffmpeg.probe(
            [path],
            folder=folder,
            beat=Beat(),
            limits=LIMITS,
            container=None,
            scan="none",
            formats=command.VIDEO_FORMATS,
            protocols=("file",),
        )
    except Failure as failure:
        return failure.code, failure.detail
    return ("facts" if {"container", "streams", "video", "audio", "log"} <= set(found) else "odd"), ""
