"""The `.env` file: what it sets, and what is wrong with it as a file. Knows nothing of what values may be."""

import io
import logging
from collections.abc import Collection
from pathlib import Path

import dotenv.parser


def read(path: Path, *, known: Collection[str]) -> tuple[dict[str, str], list[str], bool]:
    """Return what `path` sets, one line for each problem with it, and whether it can be read as text at all.

    A variable that is all but one of the `known` ones is a problem too. A file that does not exist is none.
    """
    logging.getLogger("dotenv").setLevel(logging.ERROR)  # it warns of bad lines, which are reported here
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark first
    except FileNotFoundError:
        return {}, [], False
    except UnicodeDecodeError:
        return (
            {},
            [f"{path}: is not UTF-8 text: save it as UTF-8, or fill in a new copy of .env.example"],
            False,
        )
    except OSError as error:
        return {}, [f"{path}: cannot be read: {error.strerror}"], False

    values: dict[str, str] = {}
    problems: list[str] = []
    for binding in dotenv.parser.parse_stream(io.StringIO(text)):
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error:  # the line itself is not shown: it may hold a key
            problems.append(f"{path}: line {line} is not NAME=value, or a quote is not closed")
            continue
        if binding.key and binding.value:
            values[binding.key] = binding.value
        if binding.key and (meant := _near_miss(binding.key, known)):
            problems.append(f"{ascii(binding.key)[1:-1]}: in {path}, line {line}: did you mean {meant}?")
    return values, problems, True


def _near_miss(name: str, known: Collection[str]) -> str | None:
    """Return the variable that `name` is a slip of, if any; other programs' variables are slips of none."""
    if name.upper() in known:
        return None
    slips = 1 if len(name) < 8 else 2
    for variable in sorted(known):
        # S3_BUCKET_NAME is two letters from B2_BUCKET_NAME and means something else: the starts must agree.
        if variable[:2] == name[:2].upper() and _distance(name.upper(), variable) <= slips:
            return variable
    return None


def _distance(one: str, other: str) -> int:
    """Return how many letters must be put in, left out or replaced to make `other` of `one`."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, row = row, [i]
        for j, wanted in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != wanted)))
    return row[-1]
