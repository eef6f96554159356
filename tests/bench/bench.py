"""How fast Watcher is, beside the way of the system it replaces: `make bench`, or run this file.

Each part prints its own table; the last one holds the goals and whether they were reached. `--only PART` runs some
parts, `--video FILE` compares the two ways for a film of one's own. Linux only; takes about a quarter of an hour on
two cores, and some gigabytes of a temporary folder.
"""

import argparse
import os
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
from spent import Meter, cpu_seconds, resident_bytes

REPEATS = 3  # of what takes seconds; the median is shown
LENGTHS = {"10 s": 10, "10 min": 600, "60 min": 3600}
LINES = (25, 50, 100)  # Mbit/s
COPY_ONLY = {"LADDER": "720"}
SETTLE_SECONDS, IDLE_SECONDS = 20, 40
DROPS, DROP_EVERY = 3, 25  # clips that are dropped into a film's encode, and the seconds between

_out = Console(highlight=False)


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
                PARTS[part](here, _films(folder), results)
    _show(results)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    _out.print(
        f"{os.cpu_count()} cores, load at the end {load}; took {(time.monotonic() - started) / 60:.1f} min"
    )


def _first(folder: Path, made: Path, results: Results) -> None:
    """time until a film begins to play, for films of three lengths"""
    for kind, most, make in (("encoded", 3.0, films.phone), ("copied", 2.0, films.web)):
        for length, seconds in LENGTHS.items():
            film = make(made, seconds)
            with stage.opened(folder / f"{kind}-{seconds}") as place:
                place.house.upload(film)
                took = []
                for _ in range(REPEATS):
                    with place.daemon(film.name) as daemon:
                        took.append(daemon.playable(film.name))
            ours = statistics.median(took)
            results.goal(
                f"first playable, {length}, {kind}",
                least=f"≤ {most:g} s",
                ours=f"{ours:.2f} s ({min(took):.2f} to {max(took):.2f})",
                is_reached=ours <= most,
            )


def _copy(folder: Path, made: Path, results: Results) -> None:
    """a compatible 10-minute film, from drop to done, lower rungs off"""
    film = films.web(made, 600)
    with stage.opened(folder / "stage") as place:
        file_id = place.house.upload(film)
        runs = [stage.make(place, film.name, **COPY_ONLY)[0] for _ in range(REPEATS)]
        theirs = ancestor.run(place.house, file_id, folder)
    ours = sorted(runs, key=lambda run: run.complete)[REPEATS // 2]
    results.ways.append(("10 min of 720p that plays as it is", theirs, ours))
    share = ours.complete / theirs.wall
    results.goal(
        "compatible 10 min done, of the ancestor's time",
        least="≤ 3 %",
        ours=f"{share:.1%} ({ours.complete:.1f} of {theirs.wall:.1f} s)",
        is_reached=share <= 0.03,
    )


def _lines(folder: Path, made: Path, results: Results) -> None:
    """wall time over lines of several speeds"""
    film = films.phone(made, 45, rate="20M")
    with stage.opened(folder / "stage") as place:
        file_id = place.house.upload(film)
        free, daemon = stage.make(place, film.name)
        up = daemon.output_bytes()
    for megabits in LINES:
        with stage.opened(folder / "stage", megabits=megabits) as place:
            ours, _ = stage.make(place, film.name)
            theirs = ancestor.run(place.house, file_id, folder)
        transfer = max(film.stat().st_size, up) * 8 / megabits / 1e6
        longest = max(transfer, free.complete)
        results.ways.append((f"45 s of 1080p, {megabits} Mbit/s", theirs, ours))
        results.goal(
            f"wall time at {megabits} Mbit/s",
            least="≤ 1.10 x max(transfer, encode)",
            ours=f"{ours.complete / longest:.2f} x max({transfer:.1f}, {free.complete:.1f}) s",
            is_reached=ours.complete <= 1.10 * longest,
        )


def _ladder(folder: Path, made: Path, results: Results) -> None:
    """CPU seconds of everything, against one ffmpeg for each output at the same settings"""
    film = films.phone(made, 30)
    with stage.opened(folder / "stage") as place:
        place.house.upload(film)
        ours, _ = stage.make(place, film.name)
    theirs = apart.cpu_seconds(film, folder)
    share = ours.spent.total / theirs.total
    results.goal(
        "CPU of ladder, poster, storyboard, sound, of one ffmpeg each",
        least="≤ 50 %",
        ours=f"{share:.0%} ({ours.spent.total:.1f} of {theirs.total:.1f} CPU s)",
        is_reached=share <= 0.5,
    )
    _out.print("  " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in theirs.each.items()) + " CPU s")


def _long(folder: Path, made: Path, results: Results) -> None:
    """a 10-minute encode, with short clips dropped into it"""
    film, clip = films.phone(made, 600), films.phone(made, 10)
    took = []
    with stage.opened(folder / "stage") as place:
        place.house.upload(film, "in/film.mov")
        with place.daemon("in/", QUALITY="fast", SEATS="2") as daemon, Meter(daemon.pid) as meter:
            daemon.playable("in/film.mov")
            for number in range(DROPS):
                time.sleep(DROP_EVERY)  # into the long chunks, and between them
                place.house.upload(clip, f"in/clip-{number}.mov")
                took.append(daemon.complete(f"in/clip-{number}.mov"))
            whole = daemon.complete("in/film.mov")
    ours = statistics.median(took)
    results.goal(
        "a 10 s clip dropped into a film's encode is done",
        least="≤ 20 s",
        ours=f"{ours:.1f} s ({min(took):.1f} to {max(took):.1f})",
        is_reached=ours <= 20,
    )
    spent = meter.spent
    results.goal(
        "our own share of the CPU of a 10-minute encode",
        least="≤ 3 %",
        ours=f"{spent.own / spent.total:.1%} ({spent.own:.1f} of {spent.total:.0f} CPU s, {whole:.0f} s wall)",
        is_reached=spent.own <= 0.03 * spent.total,
    )


def _idle(folder: Path, made: Path, results: Results) -> None:
    """a daemon that has nothing to do"""
    with stage.opened(folder / "stage") as place:
        place.house.upload(films.web(made, 10), "in/done.mp4")
        # Ten seconds between polls, as the settings have it.
        with place.daemon("in/", POLL_SECONDS="10", **COPY_ONLY) as daemon:
            daemon.complete("in/done.mp4")
            time.sleep(SETTLE_SECONDS)
            before = cpu_seconds(daemon.pid)
            time.sleep(IDLE_SECONDS)
            share = (cpu_seconds(daemon.pid) - before) / IDLE_SECONDS
            held = resident_bytes(daemon.pid) / 1e6
    results.goal("idle daemon, CPU", least="≤ 0.5 %", ours=f"{share:.2%}", is_reached=share <= 0.005)
    results.goal("idle daemon, memory", least="≤ 100 MB", ours=f"{held:.0f} MB", is_reached=held <= 100)


PARTS: dict[str, Callable[[Path, Path, Results], None]] = {
    "idle": _idle,
    "first": _first,
    "copy": _copy,
    "lines": _lines,
    "ladder": _ladder,
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
            values = (theirs.wall, theirs.cpu, ours.playable, ours.complete, ours.spent.total)
            ratios = (f"{theirs.wall / ours.playable:.1f} x", f"{ours.spent.total / theirs.cpu:.2f}")
            table.add_row(what, *(f"{value:.1f}" for value in values), *ratios)
        _out.print(table)
    if results.goals:
        table = Table("goal", "is to be", "ours", "reached")
        for what, least, ours, is_reached in results.goals:
            table.add_row(what, least, ours, {True: "yes", False: "NO", None: "-"}[is_reached])
        _out.print(table)


if __name__ == "__main__":
    main()
