"""How fast Watcher is, beside the way of the system it replaces: `make bench`, or run this file.

Each part prints its own table; the last one holds the goals and whether they were reached. `--only PART` runs some
parts, `--video FILE` compares the two ways for a film of one's own. Linux only; takes about 35 minutes on two
cores, and some gigabytes of a temporary folder.
"""

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import ancestor
import apart
import films
import stage
from spent import cpu_seconds, looked_at, resident_bytes, wake_ups

from watcher import plan

COPY_ONLY = {"LADDER": "720"}
SETTLE_SECONDS = 20  # after its last work, a daemon has tidied up by then
LINES = (25, 50, 100)  # Mbit/s
COPIED_RATES = ("700k", "2500k")  # bit/s: of a film made for the web with care, and of a grainy one
QUALITY: plan.Quality = (
    "fast"  # of what is long: it encodes most in a quarter of an hour, and our share shows most
)


@dataclass(frozen=True)
class Scale:
    """How much is measured; seconds of film unless said otherwise."""

    repeats: int = 3  # of what takes seconds; the median is shown
    lengths: tuple[int, ...] = (10, 600, 3600)
    idle: int = 40  # seconds
    copied: int = 600
    over_lines: int = 60
    ladder: tuple[int, int] = (20, 60)  # of 4K, of 1080p
    long: int = 600
    drop_every: int = 15  # seconds between the clips that are dropped into the long film's encode


QUICK = Scale(
    repeats=1, lengths=(10, 60), idle=5, copied=30, over_lines=8, ladder=(4, 4), long=30, drop_every=1
)

_out = Console(highlight=False)


@dataclass(frozen=True)
class Job:
    """What each part works with: a folder of its own, one for films that all share, and where results go."""

    folder: Path
    films: Path
    results: "Results"
    scale: Scale


@dataclass
class Results:
    """The rows of the two tables at the end."""

    goals: list[tuple[str, str, str, bool | None]] = field(default_factory=list)
    ways: list[tuple[str, ancestor.Took, stage.Took]] = field(default_factory=list)

    def goal(self, what: str, *, least: str, ours: str, is_reached: bool | None) -> None:
        """Note one goal."""
        self.goals.append((what, least, ours, is_reached))
        _out.print(f"  {what}: {ours} (goal {least})")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="run this part only; repeatable")
    parser.add_argument("--video", type=Path, metavar="FILE", help="compare the two ways for this film only")
    parser.add_argument(
        "--quick", action="store_true", help="short films, to see whether all works; no goals"
    )
    parser.add_argument("--mbit", type=int, action="append", help="with --video: a bandwidth; repeatable")
    arguments = parser.parse_args()
    started, results = time.monotonic(), Results()
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as name:
        folder = Path(name)
        if arguments.video is not None:
            _own(folder, arguments.video, arguments.mbit or [100], results)
        else:
            for part in arguments.only or PARTS:
                _out.print(f"[{time.monotonic() - started:4.0f} s] {part}: {PARTS[part].__doc__}")
                here = folder / part
                here.mkdir()
                scale = QUICK if arguments.quick else Scale()
                PARTS[part](Job(here, _films(folder), results, scale))
                shutil.rmtree(here)
    _show(results)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    _out.print(
        f"{os.cpu_count()} cores, load at the end {load}; took {(time.monotonic() - started) / 60:.1f} min"
    )


def _first(job: Job) -> None:
    """time until a film begins to play, for films of three lengths"""
    for kind, most, make in (("encoded", 3.0, films.phone), ("copied", 2.0, films.web)):
        for seconds in job.scale.lengths:
            film = make(job.films, seconds)
            with stage.opened(job.folder / f"{kind}-{seconds}") as place:
                place.house.upload(film)
                took = []
                for _ in range(job.scale.repeats):
                    with place.daemon(film.name) as daemon:
                        took.append(daemon.playable(film.name))
            ours = statistics.median(took)
            job.results.goal(
                f"first playable, {_length(seconds)}, {kind}",
                least=f"≤ {most:g} s",
                ours=f"{ours:.2f} s ({min(took):.2f} to {max(took):.2f})",
                is_reached=ours <= most,
            )


def _copy(job: Job) -> None:
    """a compatible 10-minute film, from drop to done, lower rungs off"""
    for rate in COPIED_RATES:
        film = films.web(job.films, job.scale.copied, rate=rate)
        with stage.opened(job.folder / rate) as place:
            file_id = place.house.upload(film)
            runs = [stage.make(place, film.name, **COPY_ONLY)[0] for _ in range(job.scale.repeats)]
            theirs = ancestor.run(place.house, file_id, job.folder)
        ours = sorted(runs, key=lambda run: run.complete)[job.scale.repeats // 2]
        what = f"compatible {_length(job.scale.copied)} of {rate}bit/s"
        job.results.ways.append((what, theirs, ours))
        share = ours.complete / theirs.wall
        job.results.goal(
            f"{what} done, of the ancestor's time",
            least="≤ 3 %",
            ours=f"{share:.1%} ({ours.complete:.1f} of {theirs.wall:.1f} s, "
            f"{ours.spent.total:.1f} of {theirs.cpu:.0f} CPU s)",
            is_reached=share <= 0.03,
        )


def _lines(job: Job) -> None:
    """wall time over lines of several speeds"""
    film = films.phone(job.films, job.scale.over_lines, rate="20M")
    folder, made_bytes = job.folder / "stage", 0
    with stage.opened(folder) as place:
        file_id = place.house.upload(film)
    runs: dict[int, list[tuple[stage.Took, float]]] = {megabits: [] for megabits in LINES}
    for _ in range(job.scale.repeats):  # in turn: what encoding takes changes with the hour
        with stage.opened(folder) as place:
            free, daemon = stage.make(place, film.name)
            made_bytes = daemon.made_bytes()
        for megabits in LINES:
            with stage.opened(folder, megabits=megabits) as place:
                runs[megabits].append((stage.make(place, film.name)[0], free.complete))
    for megabits in LINES:
        with stage.opened(folder, megabits=megabits) as place:
            theirs = ancestor.run(place.house, file_id, job.folder)
        down, up = (size * 8 / megabits / 1e6 for size in (film.stat().st_size, made_bytes))
        every = [(run.complete / max(down, up, encode), run, encode) for run, encode in runs[megabits]]
        ratios = sorted(every, key=lambda one: one[0])
        ratio, ours, encode = ratios[len(ratios) // 2]
        job.results.ways.append((f"{job.scale.over_lines} s of 1080p, {megabits} Mbit/s", theirs, ours))
        job.results.goal(
            f"wall time at {megabits} Mbit/s",
            least="≤ 1.10 x max(transfer, encode)",
            ours=f"{ratio:.2f} ({ratios[0][0]:.2f} to {ratios[-1][0]:.2f}) x max({down:.0f} s down, {up:.0f} s up, "
            f"{encode:.0f} s encode)",
            is_reached=ratio <= 1.10,
        )


def _ladder(job: Job) -> None:
    """CPU seconds of everything, against one ffmpeg for each output at the same settings"""
    kinds = (("4K", "45M", "3840:2160"), ("1080p", "20M", "1920:1080"))
    for seconds, (what, rate, size) in zip(job.scale.ladder, kinds, strict=True):
        film = films.phone(job.films, seconds, rate=rate, size=size)
        folder = job.folder / what
        with stage.opened(folder) as place:
            place.house.upload(film)
            ours, _ = stage.make(place, film.name, QUALITY=QUALITY)
        theirs = apart.cpu_seconds(film, folder, QUALITY)
        share = ours.spent.total / theirs.total
        job.results.goal(
            f"CPU of ladder, poster, storyboard, loudness, of one ffmpeg each: {what}",
            least="≤ 50 %",
            ours=f"{share:.0%} ({ours.spent.ffmpeg:.1f} + {ours.spent.own:.1f} other, of {theirs.total:.1f} CPU s)",
            is_reached=share <= 0.5,
        )
        _out.print("  each: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in theirs.each.items()))


def _long(job: Job) -> None:
    """a 10-minute encode: what of it is our own"""
    film = films.phone(job.films, job.scale.long)
    with stage.opened(job.folder / "stage") as place:
        place.house.upload(film)
        took, daemon = stage.make(place, film.name, QUALITY=QUALITY)
        waited = daemon.waited(took.playable)
    spent = took.spent
    _out.print(
        f"  who watches it from {took.playable:.1f} s on waits for {waited:.1f} s in all until its end"
    )
    job.results.goal(
        f"our own share of the CPU of a {_length(job.scale.long)} encode",
        least="≤ 3 %",
        ours=f"{spent.own / spent.total:.1%} ({spent.own:.1f} of {spent.total:.0f} CPU s, {took.complete:.0f} s wall)",
        is_reached=spent.own <= 0.03 * spent.total,
    )


def _clip(job: Job) -> None:
    """short clips dropped into the encode of a film"""
    film, clip = films.phone(job.films, job.scale.long), films.phone(job.films, 10)
    took = []
    with stage.opened(job.folder / "stage") as place:
        place.house.upload(film, "in/film.mov")
        with place.daemon("in/", SEATS="2") as daemon:
            daemon.playable("in/film.mov")
            for number in range(job.scale.repeats):
                time.sleep(job.scale.drop_every)  # into the longer chunks
                place.house.upload(clip, f"in/clip-{number}.mov")
                took.append(daemon.complete(f"in/clip-{number}.mov"))
    ours = statistics.median(took)
    job.results.goal(
        "a 10 s clip dropped into a film's encode is done",
        least="≤ 20 s",
        ours=f"{ours:.1f} s ({min(took):.1f} to {max(took):.1f})",
        is_reached=ours <= 20,
    )


def _idle(job: Job) -> None:
    """a daemon that has nothing to do, and did not have to set up its database"""
    with stage.opened(job.folder / "stage") as place:
        with place.daemon("in/"):
            pass
        place.house.upload(films.web(job.films, 10), "in/done.mp4")
        # Ten seconds between polls, as the settings have it.
        with place.daemon("in/", is_again=True, POLL_SECONDS="10", **COPY_ONLY) as daemon:
            daemon.complete("in/done.mp4")
            time.sleep(SETTLE_SECONDS)
            pages = looked_at(daemon.pid, seconds=1.0)
            before, woken = cpu_seconds(daemon.pid), wake_ups(daemon.pid)
            time.sleep(job.scale.idle)
            share = (cpu_seconds(daemon.pid) - before) / job.scale.idle
            pace = (wake_ups(daemon.pid) - woken) / job.scale.idle
            held = resident_bytes(daemon.pid) / 1e6
    job.results.goal("idle daemon, CPU", least="≤ 0.5 %", ours=f"{share:.2%}", is_reached=share <= 0.005)
    rested, next_one = _page_price()
    _out.print(f"  it woke up {pace:.0f} times a second and had {pages:.0f} pages to look at, which take")
    _out.print(
        f"  {rested:.2f} µs each on this machine when nobody looked for a second; {next_one:.2f} µs at once"
    )
    job.results.goal("idle daemon, memory", least="≤ 100 MB", ours=f"{held:.0f} MB", is_reached=held <= 100)


def _page_price() -> tuple[float, float]:
    """Return how long the first look at a page of memory takes after a second of rest, and the next one (µs).

    Some virtual machines take the pages of resting programs from them. There an idle daemon costs what its pages do.
    """
    page, memory = resource.getpagesize(), bytearray(8 << 20)
    looks: list[tuple[float, float]] = []
    for _ in range(6):
        time.sleep(1)
        times = [time.perf_counter()]
        for _ in range(2):
            sum(memory[at] for at in range(0, len(memory), page))
            times.append(time.perf_counter())
        looks.append((times[1] - times[0], times[2] - times[1]))
    rested, next_one = (
        statistics.median(look) / (len(memory) / page) * 1e6 for look in zip(*looks, strict=True)
    )
    return rested, next_one


def _length(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 60 else f"{seconds} s"


PARTS: dict[str, Callable[[Job], None]] = {
    "idle": _idle,
    "first": _first,
    "copy": _copy,
    "lines": _lines,
    "ladder": _ladder,
    "clip": _clip,
    "long": _long,
}


def _own(folder: Path, film: Path, lines: list[int], results: Results) -> None:
    with stage.opened(folder / "stage") as place:
        file_id = place.house.upload(film, "film")
    for megabits in lines:
        with stage.opened(folder / "stage", megabits=megabits) as place:
            ours, _ = stage.make(place, "film")
            theirs = ancestor.run(place.house, file_id, folder)
        results.ways.append((f"{film.name}, {megabits} Mbit/s", theirs, ours))


def _films(folder: Path) -> Path:
    place = folder / "films"
    place.mkdir(exist_ok=True)
    return place


def _show(results: Results) -> None:
    if results.ways:
        columns = (
            "film",
            "ancestor: wall",
            "CPU",
            "Watcher: plays",
            "done",
            "CPU",
            "plays sooner",
            "CPU ratio",
        )
        table = Table(*columns, title="The ancestor's way, and ours (seconds)")
        for what, theirs, ours in results.ways:
            seconds = (theirs.wall, theirs.cpu, ours.playable, ours.complete, ours.spent.total)
            ratios = (f"{theirs.wall / ours.playable:.1f} x", f"{ours.spent.total / theirs.cpu:.2f}")
            table.add_row(what, *(f"{value:.1f}" for value in seconds), *ratios)
        _out.print(table)
    if results.goals:
        table = Table("goal", "is to be", "ours", "reached")
        for what, least, reached, is_reached in results.goals:
            table.add_row(what, least, reached, {True: "yes", False: "NO", None: "-"}[is_reached])
        _out.print(table)


if __name__ == "__main__":
    main()
