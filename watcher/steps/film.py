"""What the MP4 is stitched from, the parts that earlier steps published; and its beginning, which goes up early."""

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

from watcher import bucket, crashpoint, encode, ledger, log, names, publish, stats
from watcher.errors import Failure
from watcher.models import OutputKind
from watcher.steps.attempt import Attempt, check_ordinals

# The last samples of a beginning come in another order than in the whole film: a few pictures and the sound to them.
UNSURE_BYTES = 256 * 1024
BYTES_TYPE = "application/octet-stream"

_log = log.get()


def stitch(attempt: Attempt) -> bool:
    """Publish what there is of the MP4, but its first part, for `package` to have copied; False when the step was lost.

    A video does not depend on it: `package` uploads what it does not find.
    """
    claim, shop = attempt.claim, attempt.shop
    made = _beginning(attempt, stats.parts(shop.readings, claim.video_id))
    attempt.seat.leave()
    share = 0.6 / max(1, len(made))

    def upload(number: int, start: int, piece: encode.Made) -> ledger.NewOutput:
        return publish.upload(
            shop.target,
            piece,
            kind=OutputKind.MP4_PART,
            ordinal=number,
            name=names.part(attempt.place, claim.kind, number, claim.token, ending="bin"),
            claim=claim,
            beat=attempt.beat.part(0.4 + number * share, 0.4 + (number + 1) * share),
            byte_ranges={"start": start},
        )

    outputs = publish.together(
        [functools.partial(upload, number, *piece) for number, piece in enumerate(made)]
    )
    crashpoint.here("stitch")
    won = ledger.finish(shop.db, claim, outputs=outputs, now=attempt.clock())
    if won:
        _log.info("stitched_early", size_bytes=sum(output.size_bytes for output in outputs))
    else:
        publish.withdraw(shop.target, outputs)
    return won


def pieces(parts: Sequence[stats.Part], film: encode.Made) -> list[bucket.Piece]:
    """Return what `stitch` published of the finished MP4, as far as can be told without its bytes."""
    samples = encode.samples(film.path)
    if samples is None:
        return []
    return [
        bucket.Piece(part.file_id, samples.start + part.byte_ranges["start"], part.size_bytes, part.sha1)
        for part in parts
        if part.kind == OutputKind.MP4_PART and part.byte_ranges is not None
    ]


def _beginning(attempt: Attempt, parts: Sequence[stats.Part]) -> list[tuple[int, encode.Made]]:
    """Return files with the samples that follow the MP4's first part, each with the place of its first byte in them."""
    shop = attempt.shop
    least = shop.target.smallest_part_bytes
    chosen = _of_top(attempt, parts, attempt.claim.ordinal)
    if sum(part.size_bytes for part in chosen) < 2 * least + UNSURE_BYTES:
        return []
    path = encode.begin(
        pictures(attempt, parts, count=attempt.claim.ordinal),
        sound(attempt, parts),
        attempt.facts,
        attempt.bench(0.2, 0.3),
    )
    for used in attempt.folder.iterdir():
        if used != path:
            used.unlink()  # a long film takes gigabytes
    samples = encode.samples(path)
    if samples is None:
        raise Failure("output_invalid", "the beginning of the MP4 has no samples")
    # What comes before the samples is larger in the whole film, which has more of them.
    start, end = least, samples.end - samples.start - UNSURE_BYTES
    count = min((end - start) // least, -(-(end - start) // shop.target.part_bytes))
    if count < 1:
        return []
    borders = [start + (end - start) * number // count for number in range(count + 1)]
    found = []
    for first, last in itertools.pairwise(borders):
        piece = attempt.folder / f"piece-{first}"
        publish.cut(path, piece, samples.start + first, samples.start + last)
        attempt.beat.advance(0.4)
        found.append((first, encode.Made(piece, "bytes", BYTES_TYPE, is_copy=True)))
    path.unlink()
    return found


def pictures(attempt: Attempt, parts: Sequence[stats.Part], *, count: int | None) -> list[Path]:
    """Return the files of the top rung in order: of `count` chunks, or of all that there are; a copy is one again."""
    chosen = _of_top(attempt, parts, count)
    if attempt.plan.video.mode == "copy":
        return [_joined(attempt, chosen, "picture")]
    check_ordinals(chosen, len(chosen) if count is None else count)
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


def _of_top(attempt: Attempt, parts: Sequence[stats.Part], count: int | None) -> list[stats.Part]:
    made = attempt.plan
    rung = min(made.rungs[0].width, made.rungs[0].height)
    chosen = [part for part in parts if part.kind == OutputKind.VIDEO_PART and part.rung == rung]
    if count is None or made.video.mode == "copy":
        return chosen
    return [part for part in chosen if part.ordinal < count]


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
