"""Whatever condition of the ledger is taken away, somebody notices; see `mutants`, which takes minutes."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(1800)
def test_no_condition_of_the_ledger_can_be_taken_away_unnoticed() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mutants.py"))],
        capture_output=True,
        text=True,
        check=False,
    )
    unnoticed = [line for line in done.stdout.splitlines() if '"caught_by": null' in line]
    assert len(unnoticed) == 1, (unnoticed, done.stderr)  # the ledger as it is
    assert done.returncode == 0, done.stdout
