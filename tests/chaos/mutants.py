"""Takes one condition at a time out of the ledger's WHERE clauses, and looks whether the tests notice.

A program: `python tests/chaos/mutants.py` prints one JSON line for each mutant, and ends with 1 if one that matters
was noticed by nobody. Minutes of work, so it is run by hand when the ledger changes. Every mutant has a process of
its own, forked when the libraries are loaded and `watcher` is not.
"""

import ast
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

HERE = Path(__file__).resolve().parent
LEDGER = HERE.parent.parent / "watcher" / "ledger"
AT_ONCE = 2
NOBODY, CRASHED, MACHINE, EXAMPLE = 0, 3, 4, 5  # exit codes of a child
# It was loaded before pytest could rewrite its asserts, which it has no need of.
WITHOUT = ("-p", "no:hypothesispytest")  # which wants to be first to know of the machine
REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
# What fences a transition: the state it comes from, and whose it is. That a row is found by its id goes without saying.
FENCES = re.compile(
    r"status|token|\brun\b|run_after|reason|obsolete_at|lowest|is_waiting|^where$|^\*which$|^\*mine$"
)
EXAMPLES = str(HERE.parent / "test_ledger.py")


@dataclass(frozen=True)
class Mutant:
    """One condition of one WHERE."""

    module: str
    function: str
    line: int
    column: int
    condition: str

    @property
    def name(self) -> str:
        """Return a name that stays when lines move."""
        return f"{self.module}.{self.function}: {self.condition}"


# Nothing is taken out: whoever notices something here notices nothing of the others.
NONE = Mutant("", "", 0, 0, "")


# Conditions that nobody can miss on SQLite, and why they stand.
EQUIVALENT = {
    "claims.claim: Step.status == StepStatus.PENDING": "the WHERE around the subquery repeats its condition: where"
    " writers run beside each other, as on PostgreSQL, another may have claimed the step in between",
    "claims.change: Step.status == StepStatus.RUNNING": "a step that does not run has no token",
    "release._release: Step.status == StepStatus.RUNNING": "a step that does not run has neither worker nor lease",
    "release._release: Step.token == row.token": "read and written in one transaction, with no other beside it",
    "_steps.cancel: Step.status == StepStatus.RUNNING": "a step that does not run has no token to note",
    "_steps.retire: Output.obsolete_at.is_(None)": "what is retired already would only be given a later time",
    "_steps.end_video: Video.status.in_(UNFINISHED)": "who ends a video owns a step of it, so it is unfinished",
    "admin._requeue: Video.status == video.status": "read and written in one transaction",
}
# Tried with a whole daemon and a bucket instead: tests/test_restore.py, tests/test_daemon.py.
ELSEWHERE = {"adoption", "pauses"}


def mutants() -> list[Mutant]:
    """Return the conditions in the WHEREs of the ledger that fence a transition, in the order of the source."""
    found = []
    for path in sorted(each for each in LEDGER.glob("*.py") if each.stem not in ELSEWHERE):
        for function, call in _wheres(ast.parse(path.read_text())):
            found += [
                Mutant(path.stem, function, each.lineno, each.col_offset, ast.unparse(each))
                for each in call.args
                if FENCES.search(ast.unparse(each))
            ]
    return sorted(found, key=lambda each: (each.module, each.line, each.column))


def main() -> int:
    """Try all mutants; print the answer for each."""
    import alembic.command  # noqa: F401 - loaded once, for all children
    import hypothesis.stateful  # noqa: F401
    import pytest  # noqa: F401
    import sqlalchemy.orm  # noqa: F401

    assert "watcher" not in sys.modules
    waiting = [NONE, *mutants()]
    running: dict[int, Mutant] = {}
    wrong = 0
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant = waiting.pop(0)
            child = os.fork()
            if child == 0:
                code = CRASHED
                try:
                    code = _try(mutant)
                except BaseException:  # noqa: BLE001 - told, and an exit code of its own
                    traceback.print_exc()
                finally:
                    os._exit(code)
            running[child] = mutant
        child, status = os.wait()
        mutant = running.pop(child)
        by = {NOBODY: None, MACHINE: "machine", EXAMPLE: "examples"}.get(
            os.waitstatus_to_exitcode(status), "crash"
        )
        print(json.dumps({"mutant": mutant.name, "line": mutant.line, "caught_by": by}), flush=True)
        wrong += (by is None) != (mutant == NONE) and mutant.name not in EQUIVALENT
    return int(wrong > 0)


def _wheres(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "where"
                ):
                    yield function.name, node


def _try(mutant: Mutant) -> int:
    """Return who notices: NOBODY, MACHINE or EXAMPLE."""
    if mutant != NONE:
        sys.meta_path.insert(0, _Finder(mutant))
    sys.path.insert(0, str(HERE))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        if not _walks():
            return MACHINE
        import pytest

        # A mutated module has no place in the cache of pytest, nor in that of Python.
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-W", REWRITTEN, *WITHOUT, EXAMPLES])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.stderr.write(said.getvalue())
        return CRASHED
    return NOBODY if code == pytest.ExitCode.OK else EXAMPLE


def _walks() -> bool:
    import protocol
    from hypothesis import Phase, settings
    from hypothesis.stateful import run_state_machine_as_test
    from test_protocol import WALKS

    with protocol.table() as (db, readings):
        try:
            run_state_machine_as_test(
                lambda: protocol.Protocol(db, readings),
                settings=settings(WALKS, phases=[Phase.generate], report_multiple_bugs=False),
            )
        except Exception:  # noqa: BLE001 - whatever it is, it was noticed
            return False
    return True


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != f"watcher.ledger.{self._mutant.module}":
            return None
        file = str(LEDGER / f"{self._mutant.module}.py")
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(fullname, file, self._mutant)
        )


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(Path(self.path).read_text(), filename=self.path)
        place = self._mutant.line, self._mutant.column
        taken = 0
        for _, call in _wheres(tree):
            kept = [each for each in call.args if (each.lineno, each.col_offset) != place]
            taken += len(call.args) - len(kept)
            call.args = kept
            if not kept:  # `where()` of nothing is no SQL; what is always true comes to the same
                call.args = [ast.parse("__import__('sqlalchemy').true()", mode="eval").body]
        assert taken == 1, (self._mutant, taken)
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


if __name__ == "__main__":
    sys.exit(main())
