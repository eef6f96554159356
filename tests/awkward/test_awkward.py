"""Awkward and hostile files, all through the whole daemon on the local B2 in one go, and looked at afterwards.

It takes some minutes, so it is no part of `make test`: `pytest tests/awkward`. `ancestor.py` puts the same files
through the command that this project replaces.
"""

from collections.abc import Callable, Iterator
from typing import Any

import measure
import outcome as outcomes
import pytest
import suite
from case import Case
from house import House
from outcome import Outcome

from watcher import localb2

pytestmark = pytest.mark.timeout(1800)  # the first test waits for all of the files


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """Upload every file that a chosen test is about, and run the daemon once until nothing is left to do."""
    chosen = {
        item.callspec.params["case"].name for item in request.session.items if hasattr(item, "callspec")
    }
    folder = tmp_path_factory.mktemp("awkward")
    with localb2.serve(folder / "b2") as b2:
        house = House(folder, b2)
        for path, case in suite.made(folder / "sources", [one for one in suite.CASES if one.name in chosen]):
            house.upload(path, case.name)
        house.run_until_idle()
        (folder / "outputs").mkdir()
        yield Outcome(house, house.rows(), house.objects(), folder / "outputs", {})


@pytest.mark.parametrize("case", suite.CASES, ids=lambda case: case.name)
def test_an_awkward_file_comes_out_right_or_is_refused_with_the_reason(outcome: Outcome, case: Case) -> None:
    row = outcome.rows[case.name]

    wrong = outcomes.wrong(outcome, case, row)

    found = "; ".join(wrong) or _measured(outcome, row)
    outcome.table[case.name] = f"{'wrong' if wrong else 'right'}  {case.name:28} {found}"
    assert not wrong, row["error"]


def test_the_table_of_all_awkward_files_is_told(
    outcome: Outcome, record_property: Callable[[str, object], None]
) -> None:
    right = sum(line.startswith("right") for line in outcome.table.values())
    lines = [*outcome.table.values(), f"{right} of {len(outcome.table)} right"]
    record_property("table", "\n".join(lines))

    assert outcome.table.keys() == outcome.rows.keys()


def _measured(outcome: Outcome, row: dict[str, Any]) -> str:
    """Return what the MP4 has: its size, frames and seconds, and how far sound and picture are apart."""
    if row["status"] != "completed":
        return f"{row['status']} {row['error_code'] or row['reason']}"
    found = measure.shown(outcome.fetch(row["mp4"]))
    text = f"{found.width}x{found.height}, {len(found.times)} frames, {found.seconds:.3f} s"
    if not found.beeps or len(found.beeps) != len(found.flashes):
        return text
    start, end = ((found.beeps[at] - found.flashes[at]) * 1000 for at in (0, -1))
    return f"{text}, sound {start:+.0f} ms at the start and {end:+.0f} ms at the end"
