"""Puts the awkward files through the command that this project replaces, and prints how many it gets right.

`.venv/bin/python tests/awkward/ancestor.py`. What it makes is judged as leniently as can be: any size of the right
shape will do, its thumbnails may have the colours of another matrix, and where we refuse a file for a reason, any
failure of it counts as right.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import checks
import suite
from case import Case, Film
from clips import BINARY

THUMBNAIL_WITHIN = 60  # of 255: it writes BT.709 where a JPEG is BT.601, and nobody minds in a thumbnail
PATIENCE_SECONDS = 120  # for one file of a few seconds


def main() -> None:
    """Print a line for each file, and the sum."""
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for path, case in suite.made(Path(folder), suite.CASES):
            wrong = _wrong(path, case)
            right += not wrong
            print(f"{'wrong' if wrong else 'right'}  {case.name:32} {'; '.join(wrong)[:160]}", flush=True)
    print(f"{right} of {len(suite.CASES)} right")


def _wrong(source: Path, case: Case) -> list[str]:
    film, thumbnail = source.with_name("made.mp4"), source.with_name("made.jpg")
    command = [str(BINARY), "-nostdin", "-loglevel", "error", "-y", "-i", str(source), "-c:a", "copy"]
    command += ["-s", "hd720", "-preset", "superfast", str(film)]
    command += ["-ss", "1", "-vf", "scale=320:320:force_original_aspect_ratio=decrease", "-vframes", "1"]
    try:
        done = subprocess.run(
            [*command, str(thumbnail)], timeout=PATIENCE_SECONDS, check=False, stderr=subprocess.PIPE
        )
    except subprocess.TimeoutExpired:
        return [f"it works for more than {PATIENCE_SECONDS} s"]
    if not isinstance(case.expect, Film):
        return [] if done.returncode != 0 else ["it is called a success"]
    if done.returncode != 0:
        return [f"it fails: {(done.stderr.decode(errors='replace').splitlines() or ['without a word'])[-1]}"]
    if not thumbnail.exists():
        return ["there is no thumbnail"]
    try:
        return [
            *checks.film(film, case.expect, size=None),
            *checks.poster(thumbnail, case.expect, size=None, colour_within=THUMBNAIL_WITHIN),
        ]
    except (OSError, ValueError, IndexError) as error:
        return [f"what it made cannot be read: {error}"]


if __name__ == "__main__":
    main()
