"""The README's tables say what the code does."""

import re
from pathlib import Path

from watcher import errors, stats
from watcher.source import blocks

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_error_code_is_documented_as_the_code_has_it() -> None:
    table = README.partition("## Error codes")[2].partition("##")[0]
    again = {
        code: "later" if code in errors.WORLD else "no" if facts.permanent else "yes"
        for code, facts in errors.CODES.items()
    }
    expected = [
        f"| `{code}` | {facts.meaning} | {again[code]} | {facts.hint} |"
        for code, facts in errors.CODES.items()
    ]
    assert re.findall(r"^\| `.*\|$", table, re.MULTILINE) == expected


def test_every_column_of_the_view_is_documented() -> None:
    table = README.partition("## The status table")[2].partition("##")[0]
    documented = [
        name
        for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(documented) == sorted(stats.VIDEO_STATUS)


def test_what_one_read_of_a_source_fetches_is_documented() -> None:
    mebibyte = 1024 * 1024
    small, head = blocks.SMALL_BLOCK_BYTES, blocks.HEAD_BLOCKS * blocks.SMALL_BLOCK_BYTES
    sentence = (
        f"Each read of {blocks.BLOCK_BYTES // mebibyte} MiB of a source (of {small // 1024} KiB "
        f"within its first {head // mebibyte} MiB, and at its end)"
    )
    assert sentence in " ".join(README.split())


def test_the_readme_begins_with_the_two_commands() -> None:
    assert re.match(r"# Watcher\n\n```sh\nmake demo .*\nmake test\n```\n", README)


def test_every_trial_that_the_readme_names_is_there() -> None:
    table = README.partition("## What survives what")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]  # the first is the heading
    named = [re.search(r"\| `([\w/.]+)::(\w+)` \|$", row) for row in rows]
    assert named
    for row, trial in zip(rows, named, strict=True):
        assert trial is not None, row
        assert f"def {trial[2]}(" in (Path(__file__).parent / trial[1]).read_text(encoding="utf-8"), row
