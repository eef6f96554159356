"""The object beside a video's outputs that lists them: what a status table needs that has forgotten the video.

Pure: text from values, and values from text. Whether the objects are there is for others to see.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from watcher import ledger
from watcher.models import OutputKind

CONTENT_TYPE = "application/json"
_VERSION = 1
_FIELDS = tuple(field.name for field in dataclasses.fields(ledger.NewOutput))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was published for one version of a source. `facts` are columns of `videos`."""

    source: str  # file id
    facts: Mapping[str, Any]
    outputs: tuple[ledger.NewOutput, ...]


def dump(source: str, facts: Mapping[str, Any], outputs: Iterable[Any]) -> str:
    """Return a manifest's text; `outputs` have the fields of NewOutput."""
    rows = [{name: getattr(output, name) for name in _FIELDS} for output in outputs]
    whole = {"version": _VERSION, "source": source, "video": dict(facts), "outputs": rows}
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def load(text: str) -> Manifest | None:
    """Return what `dump` wrote; None for anything else, and for what a newer Watcher wrote."""
    try:
        whole = json.loads(text)
        if whole["version"] != _VERSION:
            return None
        outputs = tuple(
            ledger.NewOutput(**{**{name: row[name] for name in _FIELDS}, "kind": OutputKind(row["kind"])})
            for row in whole["outputs"]
        )
        return Manifest(str(whole["source"]), dict(whole["video"]), outputs)
    except (ValueError, KeyError, TypeError):
        return None
