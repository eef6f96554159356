"""One violation of an invariant."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broken:
    """`invariant` is a name in `INVARIANTS`; `what` one sentence that names the object or the step."""

    invariant: str
    what: str
    video_id: int | None = None
