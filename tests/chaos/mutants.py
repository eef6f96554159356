"""Makes one condition at a time of the ledger's WHERE clauses always true, and looks whether the tests notice.

A program: `python tests/chaos/mutants.py [WORD]` prints one JSON line for each mutant (whose name holds WORD), and
ends with 1 if one was noticed by nobody. First the examples are tried, which take seconds, then the walks of the state
machine. Every mutant has a process of its own, forked when the libraries are loaded and `watcher` is not. All of them
take five and a half minutes of processor time: three minutes on two cores.
"""

import ast
import collections
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

HERE = Path(__file__).resolve().parent
LEDGER = HERE.parent.parent / "watcher" / "ledger"
AT_ONCE = 2
NOBODY, CRASHED, MACHINE, EXAMPLE = 0, 3, 4, 5  # exit codes of a child
# Hypothesis' plugin wants to be first to know of the machine.
WITHOUT = ("-p", "no:hypothesispytest", "-p", "no:xdist", "-p", "no:schemathesis")
# It was loaded before pytest could rewrite its asserts, which it has no need of.
REWRITTEN = "ignore::pytest.PytestAssertRewriteWarning"
MODELS = {"Video", "Step", "Output", "Debris", "Event", "Scan", "Pause", "Transaction", "Quarantined"}
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a commit waits for the disk
EXAMPLES = [str(HERE.parent / "test_ledger.py"), str(HERE.parent / "test_fences.py")]


@dataclass(frozen=True)
class Mutant:
    """One condition of one WHERE."""

    module: str
    function: str
    line: int
    column: int
    condition: str
    number: int  # among equal ones of the function

    @property
    def name(self) -> str:
        """Return a name that stays when lines move, and that no other mutant has."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.module}.{self.function}: {self.condition}{again}"


# Nothing is made true: whoever notices something here notices nothing of the others.
NONE = Mutant("", "", 0, 0, "", 1)


# Conditions that nobody can miss on SQLite, and why they stand. They are not tried.
EQUIVALENT = {
    "claims.claim: Step.status == StepStatus.PENDING (2)": "the subquery has it, too: where writers run beside each"
    " other, as on PostgreSQL, another may have claimed the step in between",
    "claims.change: Step.status == StepStatus.RUNNING": "a step that does not run has no token",
    "release._release: Step.status == StepStatus.RUNNING": "a step that does not run has neither worker nor lease",
    "release._release: Step.status == StepStatus.RUNNING (2)": "read and written in one transaction",
    "release._release: Step.id == row.id": "a token belongs to one step; the id is the way to it",
    "release._release: Step.token == row.token": "read and written in one transaction, with no other beside it",
    "claims.change: Step.id == claim.step_id": "a token belongs to one step; the id is the way to it",
    "adoption.note_stray: Step.status == StepStatus.RUNNING": "a step that does not run has no token",
    "admin.forget_output: Output.id == output_id": "B2 gives no file id twice; the number is the way to it",
    "release._look_again: Event.what == 'started'": "who is named by another event also began the attempt",
    "adoption.adopt: Output.video_id == video.id": "B2 gives no file id twice; the video is the way to it",
    "adoption._has: Output.video_id == video.id": "B2 gives no file id twice; the video is the way to it",
    "intake._revive: Video.reason.in_(_MAY_RETURN)": "read and written in one transaction",
    "_steps.cancel: Step.status == StepStatus.RUNNING": "a step that does not run has no token to note",
    "_steps.retire: Output.obsolete_at.is_(None)": "what is retired already would only be given a later time",
    "_steps.end_video: Video.status.in_(UNFINISHED)": "who ends a video owns a step of it, so it is unfinished",
    "admin._requeue: Video.status == video.status": "read and written in one transaction",
}


def mutants() -> list[Mutant]:
    """Return the conditions in the WHEREs of the ledger, in the order of the source."""
    found = []
    for path in sorted(LEDGER.glob("*.py")):
        count: collections.Counter[tuple[str, str]] = collections.Counter()
        for function, each in _conditions(ast.parse(path.read_text())):
            condition = ast.unparse(each)
            count[function, condition] += 1
            number = count[function, condition]
            found.append(Mutant(path.stem, function, each.lineno, each.col_offset, condition, number))
    return found


def main(word: str = "") -> int:
    """Try all mutants; print the answer for each."""
    import alembic.command  # noqa: F401 - loaded once, for all children
    import hypothesis.stateful  # noqa: F401
    import pytest  # noqa: F401
    import sqlalchemy.orm  # noqa: F401

    assert "watcher" not in sys.modules
    every = mutants()
    assert len({mutant.name for mutant in every}) == len(every)
    assert EQUIVALENT.keys() <= {mutant.name for mutant in every}, "an excuse for what is no condition"
    waiting = [NONE, *(mutant for mutant in every if word in mutant.name and mutant.name not in EQUIVALENT)]
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
        wrong += (by is None) != (mutant == NONE)
    return int(wrong > 0)


def _conditions(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a statement is limited by, with the function: in a `where`, or on its way to one."""
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        whole = []
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                is_where = isinstance(node.func, ast.Attribute) and node.func.attr == "where"
                whole += [each for each in node.args if is_where and not isinstance(each, ast.Starred)]
                whole += [each for each in node.args if not is_where and _compares_a_column(each)]
            elif isinstance(node, ast.Tuple | ast.List):
                whole += [each for each in node.elts if _compares_a_column(each)]
            elif isinstance(node, ast.Assign) and _compares_a_column(node.value):
                whole.append(node.value)
        # Of what is put together with | or &, each piece.
        pieces = [piece for each in whole for piece in _pieces(each)]
        for each in sorted(pieces, key=lambda each: (each.lineno, each.col_offset)):
            yield function.name, each


def _pieces(condition: ast.expr) -> Iterator[ast.expr]:
    if isinstance(condition, ast.BinOp):
        yield from _pieces(condition.left)
        yield from _pieces(condition.right)
    else:
        yield condition


def _compares_a_column(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _compares_a_column(node.left)
    if isinstance(node, ast.Compare):
        return _is_column(node.left)
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_method and node.func.attr in ("in_", "not_in", "is_", "is_not") and _is_column(node.func.value)


def _is_column(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in MODELS


def _try(mutant: Mutant) -> int:
    """Return who notices: NOBODY, MACHINE or EXAMPLE."""
    if mutant != NONE:
        sys.meta_path.insert(0, _Finder(mutant))
    sys.path.insert(0, str(HERE))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        import pytest

        # A mutated module has no place in the cache of pytest, nor in that of Python.
        flags = ["-q", "-x", "-p", "no:cacheprovider", "-W", REWRITTEN, *WITHOUT]
        with tempfile.TemporaryDirectory(prefix="mutant-", dir=FAST) as folder:
            code = pytest.main([*flags, f"--basetemp={folder}/t", *EXAMPLES])
        if code == pytest.ExitCode.TESTS_FAILED:
            return EXAMPLE
        if code == pytest.ExitCode.OK:
            return NOBODY if _walks() else MACHINE
    sys.stderr.write(said.getvalue())
    return CRASHED


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
        chosen = [each for _, each in _conditions(tree) if (each.lineno, each.col_offset) == place]
        assert len(chosen) == 1, (self._mutant, chosen)
        return compile(ast.fix_missing_locations(_True(chosen[0]).visit(tree)), self.path, "exec")


class _True(ast.NodeTransformer):
    """Puts what is always true in the place of one node."""

    def __init__(self, chosen: ast.expr) -> None:
        self._chosen = chosen

    def visit(self, node: ast.AST) -> ast.AST:
        """Return the node, or what takes its place."""
        if node is self._chosen:
            return ast.parse("__import__('sqlalchemy').true()", mode="eval").body
        return self.generic_visit(node)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
