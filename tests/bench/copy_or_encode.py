"""How much a source that already plays gains from being copied: `make bench`, or run this file.

One 10-minute H.264/AAC film goes through the whole daemon on the local B2 twice: as it is (copied), and with a ladder
two pixels lower, which makes it an encode of practically the same size. Prints wall and CPU seconds and their ratios.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from house import FFMPEG, House, clip

from watcher import localb2

PIECE_SECONDS, PIECES = 20, 30


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = _film(folder)
        copied = _measure(folder / "copied", film, "720")
        encoded = _measure(folder / "encoded", film, "718")
    table = Table(
        "way",
        "wall s",
        "CPU s",
        title=f"{PIECE_SECONDS * PIECES} s of 720p H.264/AAC, from drop to completed",
    )
    table.add_row("copied", *(f"{value:.1f}" for value in copied))
    table.add_row("encoded", *(f"{value:.1f}" for value in encoded))
    table.add_row("copied / encoded", *(f"{a / b:.1%}" for a, b in zip(copied, encoded, strict=True)))
    Console().print(table)


def _film(folder: Path) -> Path:
    """Make one piece and repeat it by copying, which takes seconds."""
    encoding = (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-b:v",
        "1500k",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    )
    piece = clip(folder / "piece.mp4", *encoding, seconds=PIECE_SECONDS, size="1280x720")
    film = folder / "film.mp4"
    loop = ("-stream_loop", str(PIECES - 1), "-i", str(piece), "-c", "copy", str(film))
    subprocess.run([FFMPEG, "-nostdin", "-loglevel", "error", *loop], check=True)
    return film


def _measure(folder: Path, film: Path, ladder: str) -> tuple[float, float]:
    """Return wall and CPU seconds, ffmpeg's included, from the start of the daemon to the completed film."""
    folder.mkdir()
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2, LADDER=ladder)
        house.upload(film)
        before, started = _cpu(), time.monotonic()
        house.run_until_idle()
        took, cpu = time.monotonic() - started, _cpu() - before
        status = house.rows()[film.name]["status"]
        if status != "completed":
            raise SystemExit(f"the film ended {status}")
    return took, cpu


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
