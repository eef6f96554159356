"""Every condition that fences a transition of the ledger is needed: without it, the machine or an example fails."""

import json
import subprocess
import sys

import mutants
import pytest

# Conditions that nobody can miss on SQLite, and why they stand.
EQUIVALENT = {
    "claims.claim: Step.status == StepStatus.PENDING": "the WHERE around the subquery repeats its condition: where"
    " writers run beside each other, as on PostgreSQL, another may have claimed the step in between",
    "claims.change: Step.status == StepStatus.RUNNING": "a step that does not run has no token",
    "release._release: Step.status == StepStatus.RUNNING": "a step that does not run has neither worker nor lease",
    "release._release: Step.token == row.token": "read and written in one transaction, which has no other beside it",
    "_steps.cancel: Step.status == StepStatus.RUNNING": "a step that does not run has no token to note",
    "_steps.end_video: Video.status.in_(UNFINISHED)": "who ends a video owns a step of it, so it is unfinished",
    "admin._requeue: Video.status == video.status": "read and written in one transaction",
}


@pytest.mark.timeout(900)
def test_without_any_one_of_the_fences_something_fails(record_property: pytest.RecordProperty) -> None:
    done = subprocess.run(
        [sys.executable, mutants.__file__], capture_output=True, text=True, timeout=880, check=True
    )
    caught = {row["mutant"]: row["caught_by"] for row in map(json.loads, done.stdout.splitlines())}
    assert caught.pop(mutants.NONE.name) is None
    assert set(caught) == {each.name for each in mutants.mutants()}
    missed = {name for name, by in caught.items() if by is None}
    record_property("table", f"{len(caught) - len(missed)} of {len(caught)} mutants caught")
    assert "crash" not in caught.values(), done.stderr
    assert missed <= set(EQUIVALENT)
