"""All awkward files, and how they are made."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import colour_cases
import damage_cases
import picture_cases
import sound_cases
import time_cases
import track_cases
from case import Case

CASES: tuple[Case, ...] = (
    *picture_cases.CASES,
    *colour_cases.CASES,
    *track_cases.CASES,
    *time_cases.CASES,
    *sound_cases.CASES,
    *damage_cases.CASES,
)
assert len({case.name for case in CASES}) == len(CASES), "two cases have one name"


def made(folder: Path, cases: Sequence[Case]) -> Iterator[tuple[Path, Case]]:
    """Make the files of `cases`, each in a folder of its own, two at a time; give them in their order."""
    with ThreadPoolExecutor(2) as pool:
        for number, path in enumerate(pool.map(lambda one: _made(folder / one.name, one), cases)):
            yield path, cases[number]


def _made(folder: Path, case: Case) -> Path:
    folder.mkdir(parents=True)
    path = folder / case.name
    case.make(path)
    return path
