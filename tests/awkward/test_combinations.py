"""What is awkward in several ways at once, under settings that are not the usual ones: every pair of them meets.

Each file is made through the whole daemon, as in `test_awkward`; it is part of `pytest tests/awkward`.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import outcome as outcomes
import picture_cases
import pytest
import suite
from case import Case, Film
from clips import cut, run
from colour_cases import hdr, tags
from house import House
from outcome import Outcome
from scene import FAST

from watcher import localb2

pytestmark = pytest.mark.timeout(900)  # the first test waits for all of the files

SETTINGS = {
    "many-sizes": {"LADDER": "360,180,144", "QUALITY": "small", "LOUDNESS": "-14"},
    "smaller": {"LADDER": "216,144", "QUALITY": "fast", "SALVAGE": "yes"},
    "one-size": {"LADDER": "1080", "QUALITY": "balanced", "SALVAGE": "yes", "LOUDNESS": "-14"},
}
# Of the scene: its lines, with those of the margins, fill whole blocks, also of interlaced pictures.
WIDTH, HEIGHT = 480, 272
WAYS = {
    "settings": tuple(SETTINGS),
    "turn": ("upright", "turned"),
    "crop": ("whole", "container-cropped", "stream-cropped"),
    "shape": ("square", "stretched"),
    "pace": ("even", "interlaced", "coarse", "fast"),
    "colour": ("8-bit", "10-bit", "hdr10"),
    "sound": ("mono", "surround", "silent"),
    "ending": ("mp4", "mkv", "mov"),
}


def pairwise() -> Iterator[dict[str, str]]:
    """Give combinations, each of as many pairs that were not there before as can be, until all pairs were there."""
    names = list(WAYS)
    every = [dict(zip(names, values, strict=True)) for values in itertools.product(*WAYS.values())]
    missing = set().union(*map(_pairs, every))
    while missing:
        best = max(every, key=lambda one: len(missing & _pairs(one)))
        missing -= _pairs(best)
        yield best


def _pairs(ways: dict[str, str]) -> frozenset[tuple[tuple[str, str], ...]]:
    return frozenset(itertools.combinations(ways.items(), 2))


def _make(path: Path, ways: dict[str, str], **options: object) -> None:
    """Make a clip of the scene that has all of these ways."""
    encoding, filters = [*FAST], []
    options |= {"sound": ways["sound"] != "silent", "pixels": "yuv420p", "size": f"{WIDTH}x{HEIGHT}"}
    if ways["colour"] != "8-bit":
        options["pixels"] = "yuv420p10le"
    if ways["colour"] == "hdr10":
        encoding += tags("bt2020nc", "bt2020", "smpte2084")
        options["matrix"] = None
        filters.append(hdr("smpte2084"))
    if ways["shape"] == "stretched":
        filters.append("setsar=4/3")
    if ways["pace"] == "interlaced":
        encoding += ["-flags", "+ildct+ilme", "-x264-params", "tff=1"]
        filters.append("setfield=tff")
    if ways["pace"] == "fast":
        options["rate"] = "100"
    encoding += ["-c:a", "aac", "-ac", "6" if ways["sound"] == "surround" else "1"]
    make = picture_cases.scene.make if ways["crop"] == "whole" else picture_cases.padded
    made = make(path.with_name("made.mp4"), *encoding, filters=",".join(filters), **options)
    if ways["crop"] == "container-cropped":
        made = picture_cases.container_cropped(made, path.with_name("cropped.mp4"), size=(WIDTH, HEIGHT))
    if ways["crop"] == "stream-cropped":
        made = picture_cases.stream_cropped(made, path.with_name("cropped.mp4"), height=HEIGHT)
    turn = ["-display_rotation", "90"] if ways["turn"] == "turned" else []
    coarse = ["-bsf:v", "setts=ts=floor(TS*TB/0.08+0.001)*0.08/TB"] if ways["pace"] == "coarse" else []
    run(*turn, "-i", str(made), "-c", "copy", *coarse, str(path))


def _film(ways: dict[str, str]) -> Film:
    """Return what must come of it."""
    is_stretched = ways["shape"] == "stretched"
    width, height = 640 if is_stretched else WIDTH, HEIGHT
    if ways["settings"] == "smaller":
        width, height = 508 if is_stretched else 382, 216
    is_turned, is_hdr = ways["turn"] == "turned", ways["colour"] == "hdr10"
    return Film(
        (height, width) if is_turned else (width, height),
        frames={"fast": 120}.get(ways["pace"], 50),
        corners="GYRB" if is_turned else "RGBY",
        colour_within=60 if is_hdr else 14,
        white=172 if is_hdr else 185,
        channels={"mono": 1, "surround": 2, "silent": None}[ways["sound"]],
    )


def _case(ways: dict[str, str]) -> Case:
    name = "-".join(value for key, value in ways.items() if key != "ending")
    return Case(f"{name}.{ways['ending']}", lambda path: _make(path, ways), _film(ways))


def _broken_off(path: Path) -> None:
    """Turned, interlaced and cropped, and all of that with its end missing."""
    whole = path.with_name("whole.mkv")
    ways = {"colour": "8-bit", "shape": "square", "pace": "interlaced", "sound": "mono", "turn": "turned"}
    _make(whole, {**ways, "crop": "container-cropped"}, flashes=(0.4,))
    cut(whole, path, share=0.9)


COMBINED = [(ways["settings"], _case(ways)) for ways in pairwise()]
CUT = Film((216, 382), None, corners="GYRB", flashes=(0.4,))
SALVAGED = Case("smaller-turned-interlaced-cropped-cut.mkv", _broken_off, CUT)
CASES = [*COMBINED, ("smaller", SALVAGED)]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Outcome]]:
    """Make every file that a chosen test is about, by a daemon for each of the settings."""
    items = [item for item in request.session.items if item.fspath == request.fspath]
    chosen = {item.callspec.params["case"].name for item in items}
    folder = tmp_path_factory.mktemp("combinations")
    with localb2.serve(folder / "b2") as b2:
        found = {}
        for settings, chosen_settings in SETTINGS.items():
            place = folder / settings
            (place / "outputs").mkdir(parents=True)
            house = House(
                place, b2, WATCH_PREFIX=f"{settings}/", OUTPUT_PREFIX=f"out-{settings}", **chosen_settings
            )
            cases = [case for of, case in CASES if of == settings and case.name in chosen]
            for path, case in suite.made(place / "sources", cases):
                house.upload(path, f"{settings}/{case.name}")
            house.run_until_idle()
            rows = {name.partition("/")[2]: row for name, row in house.rows().items()}
            found[settings] = Outcome(house, rows, house.objects(), place / "outputs", {})
        yield found


@pytest.mark.parametrize(("settings", "case"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_what_is_awkward_in_several_ways_comes_out_right(
    made: dict[str, Outcome], settings: str, case: Case
) -> None:
    row = made[settings].rows[case.name]

    assert outcomes.wrong(made[settings], case, row) == [], row["error"]
    assert row["reason"] == ("salvaged" if case is SALVAGED else None)
