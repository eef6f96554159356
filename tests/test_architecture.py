"""The rooms and the doors: imports point down, and each outside thing has one owner.

The plan of the house is the three tables below. A new module must be given a room here.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "watcher"

# From the top down. A module imports from lower rooms only, never from its own; a package, from itself too.
ROOMS = [
    {"__main__"},
    {"cli"},
    {"demo", "doctor", "web"},
    {"board"},
    {"display"},
    {"service"},
    {"daemon", "localb2"},
    {"leftovers", "steps"},
    {"workshop", "invariants"},
    {"publish", "pauses", "repair"},
    {"discovery", "inspect", "encode", "manifest"},
    {"verify"},
    {"source"},
    {"ledger", "stats", "bucket", "ffmpeg"},
    {"database", "models", "scratch"},
    {"command"},
    {"plan", "playlists", "gate"},
    {"fragments", "names", "retry", "media", "room", "transcript"},
    {"beat", "config", "log", "memory", "places", "wallclock"},
    {"contrib", "envfile"},
    {"contract", "crashpoint", "errors", "init"},
]
LEVELS = {module: level for level, room in enumerate(reversed(ROOMS)) for module in room}

# Programs for a child process: they run on their own, so they import nothing of ours and nobody imports them.
PROGRAMS = {
    "launcher": set[str](),
    "probe": {"av", "extent", "fields", "keyframes", "lag", "measure", "pictures", "programme", "sound"},
}  # and their own modules

# What only its owners may touch: a package or module, or one name in it.
DOORS = {
    "b2sdk": {"bucket", "localb2"},
    "apscheduler": {"daemon"},
    "sqlalchemy": {"database", "models", "ledger", "stats"},
    "alembic": {"database"},
    "pysqlite3": {"database"},
    "typer": {"cli", "demo", "doctor"},
    "rich": {"board", "cli", "demo", "display", "doctor"},
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "jinja2": {"web"},
    "prometheus_client": {"web"},
    "django": {"contrib"},
    "av": {"probe"},
    "imageio_ffmpeg": {"ffmpeg"},
    "structlog": {"log"},
    "pydantic_settings": {"config"},
    "dotenv": {"config", "envfile"},
    "os.environ": {"config"},
    "os.environb": {"config"},
    "os.getenv": {"config"},
    "os.getenvb": {"config"},
    "os.putenv": {"config"},
    "subprocess": {"ffmpeg", "launcher"},
    "multiprocessing": set[str](),
    "pty": set[str](),
    "asyncio.create_subprocess_exec": set[str](),
    "asyncio.create_subprocess_shell": set[str](),
    "concurrent.futures.ProcessPoolExecutor": set[str](),
    "importlib.import_module": set[str](),  # would get past this test
    **{
        f"os.{name}": {"ffmpeg", "init", "launcher"}
        for name in [
            *("execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"),
            *("fork", "forkpty", "kill", "killpg", "posix_spawn", "posix_spawnp", "popen", "system"),
            *("spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp", "spawnvpe"),
        ]
    },
}

# Handles that pass through other hands: holding one is not using it.
HANDLES = {"sqlalchemy.engine.Engine"}

_STANDARD = set(sys.stdlib_module_names)
LONGEST = 400  # lines; past 300 a module probably owns two things


def test_imports_point_down_and_doors_have_one_owner() -> None:
    assert violations(HOUSE) == []


def violations(house: Path) -> list[str]:
    """Return one line for everything under `house` that breaks the plan."""
    found: list[str] = []
    for path in sorted(house.rglob("*.py")):
        place = path.relative_to(house)
        where = str(place)
        module = place.parts[0].removesuffix(".py")
        text = path.read_text(encoding="utf-8")
        if (lines := len(text.splitlines())) > LONGEST:
            found.append(f"{where}: {lines} lines, more than {LONGEST}")
        if module != "__init__" and module not in LEVELS and module not in PROGRAMS:
            found.append(f"{where}: has no room: give {module} one in ROOMS")
            continue
        tree = ast.parse(text, filename=where)
        reached = set(_reached(tree, package=("watcher", *place.parent.parts)))
        found += [f"{where}: {what}" for what in _misplaced(module, reached)]
    return found


def _misplaced(module: str, reached: set[str]) -> Iterator[str]:
    ours = {target for name in reached if (target := _module_of_ours(name))}
    for target in sorted(ours):
        if target in PROGRAMS:
            yield f"imports {target}, which is a program of its own"
        elif module in PROGRAMS or module == "__init__":
            yield f"imports {target}, and may import nothing of ours"
        elif target in LEVELS and target != module and LEVELS[target] >= LEVELS[module]:
            yield f"imports {target}, which is not below it"
    for door, owners in DOORS.items():
        used = {name for name in reached - HANDLES if name == door or name.startswith(f"{door}.")}
        if used and module not in owners:
            yield f"uses {door}, which belongs to {', '.join(sorted(owners)) or 'nobody'}"
    if module in PROGRAMS:
        foreign = {name.split(".")[0] for name in reached} - _STANDARD - PROGRAMS[module] - {"watcher"}
        yield from (f"imports {name}, and is to run without it" for name in sorted(foreign))


def _module_of_ours(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "watcher" and len(parts) > 1 and parts[1] in {*LEVELS, *PROGRAMS} else None


def _reached(tree: ast.AST, *, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, or used as an attribute of what is imported."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name
                first = name.name.split(".")[0]
                aliases[name.asname or first] = name.name if name.asname else first
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield f"{source}.{name.name}"
                aliases[name.asname or name.name] = f"{source}.{name.name}"
        elif isinstance(node, ast.Name) and node.id == "__import__":
            yield "importlib.import_module"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node)):
            first, _, rest = dotted.partition(".")
            if first in aliases:
                yield f"{aliases[first]}.{rest}"


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return None


def _house(tmp_path: Path, **modules: str) -> Path:
    for name, text in modules.items():
        path = tmp_path / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_house_that_keeps_to_the_plan_has_no_violations(tmp_path: Path) -> None:
    house = _house(
        tmp_path,
        config="import os\nfrom watcher import envfile, errors\nHOME = os.environ['HOME']\n",
        bucket="import b2sdk.v2 as b2\nfrom watcher.errors import Outage\n",
        localb2__in__server="from watcher.localb2 import state\nfrom . import files\nimport watcher.bucket\n",
        probe="import json\nimport av\n",
        ffmpeg="import os\nimport subprocess\nos.killpg(1, 9)\n",
        discovery="from sqlalchemy.engine import Engine\nfrom watcher import bucket\n",
        source="import os.path\nimport signal\nsignal.signal(1, print)\n",
    )

    assert violations(house) == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("plan", "from watcher import ledger\n", "imports ledger, which is not below it"),
        ("plan", "import watcher.ledger\n", "imports ledger, which is not below it"),
        ("plan", "from watcher.ledger import claim\n", "imports ledger, which is not below it"),
        ("plan", "def late():\n    from . import ledger\n", "imports ledger, which is not below it"),
        ("bucket__in__pages", "from ..steps import run\n", "imports steps, which is not below it"),
        ("encode", "from watcher import publish\n", "imports publish, which is not below it"),
        ("utils", "", "has no room: give utils one in ROOMS"),
        ("ffmpeg", "from watcher import probe\n", "imports probe, which is a program of its own"),
        ("launcher", "from watcher import errors\n", "imports errors, and may import nothing of ours"),
        ("launcher", "import av\n", "imports av, and is to run without it"),
        ("__init__", "from watcher import cli\n", "imports cli, and may import nothing of ours"),
        ("steps", "import b2sdk.v2\n", "uses b2sdk, which belongs to bucket, localb2"),
        ("steps", "from b2sdk import v2\n", "uses b2sdk, which belongs to bucket, localb2"),
        ("steps", "import subprocess as s\n", "uses subprocess, which belongs to ffmpeg, launcher"),
        ("daemon", "import os as o\no.kill(1, 9)\n", "uses os.kill, which belongs to ffmpeg, init, launcher"),
        ("daemon", "from os import execv\n", "uses os.execv, which belongs to ffmpeg, init, launcher"),
        ("cli", "import os\nos.environ.get('A')\n", "uses os.environ, which belongs to config"),
        ("cli", "from os import getenv\n", "uses os.getenv, which belongs to config"),
        ("cli", "__import__('b2sdk')\n", "uses importlib.import_module, which belongs to nobody"),
        (
            "cli",
            "import importlib as i\ni.import_module('x')\n",
            "uses importlib.import_module, which belongs to nobody",
        ),
        (
            "steps",
            "import sqlalchemy as sa\n",
            "uses sqlalchemy, which belongs to database, ledger, models, stats",
        ),
        ("plan", "x = 1\n" * 401, "401 lines, more than 400"),
    ],
)
def test_a_house_that_breaks_the_plan_is_told_so(
    tmp_path: Path, module: str, text: str, complaint: str
) -> None:
    house = _house(tmp_path, **{module: text})

    place = module.replace("__in__", "/")
    assert f"{place}.py: {complaint}" in violations(house)
