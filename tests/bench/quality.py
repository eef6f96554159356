"""What each QUALITY costs: CPU seconds, bytes and VMAF, for each rung of the ladder. Run this file, `--help` for more.

VMAF compares each rung with the source scaled to the rung's size. The README's table is what this prints.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import films
from ancestor import spend
from clips import inspect_file
from house import FFMPEG

from watcher import command, plan

QUALITIES: tuple[plan.Quality, ...] = ("fast", "balanced", "small")
EVERY = 4  # of so many pictures one is compared: VMAF takes longer than the encode
LOWEST = 0.05  # the share of pictures that are worse than the second figure


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one ladder: CPU seconds of its encode, and of each rung the bits per second and VMAF (mean, low)."""

    cpu: float
    rungs: dict[str, tuple[float, float, float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("film", nargs="*", type=Path, help="films to measure; without any, one made here")
    parser.add_argument(
        "--crf", type=int, action="append", help="try this instead of the CRF of each quality"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watcher-quality-") as name:
        folder = Path(name)
        for film in arguments.film or [films.phone(folder, films.PIECE_SECONDS, rate="20M")]:
            _show(film, arguments.crf or [None], folder)


def _show(film: Path, crfs: list[int | None], folder: Path) -> None:
    table = Table("QUALITY", "CRF", "CPU s/min", "rung", "kbit/s", "VMAF", "lowest 5 %", title=film.name)
    facts = inspect_file(film.resolve(), folder)
    minutes = (facts.duration_seconds or 0.0) / 60
    for quality in QUALITIES:
        for crf in crfs:
            made = _planned(plan.make(facts, plan.Profile(quality=quality)), crf)
            cost = measure(film, made, folder)
            first = (quality, str(made.rungs[0].crf), f"{cost.cpu / minutes:.0f}")
            for rung, (rate, mean, low) in cost.rungs.items():
                table.add_row(*first, rung, f"{rate / 1000:.0f}", f"{mean:.1f}", f"{low:.1f}")
                first = ("", "", "")
    Console().print(table)


def _planned(made: plan.Plan, crf: int | None) -> plan.Plan:
    """Return the plan with all rungs encoded, in one piece, with another CRF if one is given."""
    video = dataclasses.replace(made.video, mode="encode", has_source_keyframes=False)
    rungs = tuple(dataclasses.replace(rung, crf=crf if crf is not None else rung.crf) for rung in made.rungs)
    return dataclasses.replace(made, video=video, rungs=rungs)


def measure(film: Path, made: plan.Plan, folder: Path) -> Cost:
    """Encode a film in all rungs of `made`, from one decode as Watcher does, and compare each with the film."""
    facts = inspect_file(film.resolve(), folder)
    whole = plan.Chunk(0, 0.0, None, None)
    arguments = command.video_chunk(film.resolve(), facts, made, whole, threads=1)
    cpu = spend([FFMPEG, "-nostdin", "-loglevel", "error", "-y", *arguments], folder)
    rungs = {}
    for rung in made.rungs:
        path = folder / command.rung_file(rung)
        mean, low = vmaf(path, film, rung)
        rungs[rung.name] = path.stat().st_size * 8 / (facts.duration_seconds or 1.0), mean, low
    return Cost(cpu, rungs)


def vmaf(path: Path, film: Path, rung: plan.Rung) -> tuple[float, float]:
    """Return the mean VMAF of a rung, and what its lowest pictures reach."""
    log = path.with_suffix(".json")
    size = f"scale={rung.width}:{rung.height}:flags=bicubic,format=yuv420p,setpts=PTS-STARTPTS"
    graph = f"[0:v]setpts=PTS-STARTPTS[made];[1:v]{size}[film];"
    graph += f"[made][film]libvmaf=log_fmt=json:log_path={log.name}:n_subsample={EVERY}"
    argv = [FFMPEG, "-nostdin", "-loglevel", "error", "-i", str(path), "-i", str(film.resolve())]
    subprocess.run([*argv, "-lavfi", graph, "-f", "null", "-"], check=True, cwd=path.parent)
    scores = sorted(frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"])
    return sum(scores) / len(scores), scores[int(len(scores) * LOWEST)]


if __name__ == "__main__":
    main()
