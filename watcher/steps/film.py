"""What the MP4 is stitched from: the parts that earlier steps published."""

from collections.abc import Sequence
from pathlib import Path

from watcher import stats
from watcher.models import OutputKind
from watcher.steps.attempt import Attempt, check_ordinals


def pictures(attempt: Attempt, parts: Sequence[stats.Part], *, is_whole: bool) -> list[Path]:
    """Return the files of the top rung in order; a copied one is one file again.

    Unless the source `is_whole`, the last chunks may be missing.
    """
    made = attempt.plan
    rung = min(made.rungs[0].width, made.rungs[0].height)
    chosen = [part for part in parts if part.kind == OutputKind.VIDEO_PART and part.rung == rung]
    if made.video.mode == "copy":
        return [_joined(attempt, chosen, "picture")]
    check_ordinals(chosen, len(made.chunks) if is_whole else len(chosen))
    share = 0.15 / len(chosen)
    return [
        attempt.fetch(part, attempt.beat.part(number * share, (number + 1) * share))
        for number, part in enumerate(chosen)
    ]


def sound(attempt: Attempt, parts: Sequence[stats.Part]) -> Path | None:
    """Return the file of the sound; None where there is none."""
    chosen = [part for part in parts if part.kind == OutputKind.AUDIO_PART]
    # Its step, which is over, may have found nothing in the track.
    return _joined(attempt, chosen, "sound") if chosen else None


def _joined(attempt: Attempt, parts: Sequence[stats.Part], name: str) -> Path:
    """Return the file that was published in parts while it grew."""
    check_ordinals(parts, len(parts))
    whole = attempt.folder / name
    with whole.open("wb") as out:
        for part in parts:
            path = attempt.fetch(part, attempt.beat.part(0.15, 0.2))
            with path.open("rb") as file:
                while data := file.read(1024 * 1024):
                    attempt.beat.advance()
                    out.write(data)
    return whole
