"""The way of the system that Watcher replaces: download the whole object, one ffmpeg, upload what it made."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from house import FFMPEG, House

from watcher.beat import Beat


@dataclass(frozen=True)
class Took:
    """Seconds from the object being visible until its MP4 and picture are in the bucket; CPU of ffmpeg alone."""

    wall: float
    cpu: float


def run(house: House, file_id: str, folder: Path) -> Took:
    """Transcode one object as the ancestor does; its Python is not counted."""
    started = time.monotonic()
    source, film, still = folder / "source", folder / "film.mp4", folder / "film.jpg"
    house.bucket.download(file_id, source, beat=Beat())
    arguments = ["-y", "-i", str(source), "-c:a", "copy", "-s", "hd720", "-preset", "superfast", str(film)]
    arguments += ["-ss", "1", "-vf", "scale=320:320:force_original_aspect_ratio=decrease", "-vframes", "1"]
    cpu = spend([FFMPEG, "-nostdin", "-loglevel", "error", *arguments, str(still)])
    for path in (film, still):
        house.upload(path, f"ancestor/{path.name}")
    return Took(time.monotonic() - started, cpu)


def spend(argv: list[str], folder: Path | None = None) -> float:
    """Run a program to its end, in `folder`, and return its CPU seconds."""
    process = subprocess.Popen(argv, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{argv[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime
