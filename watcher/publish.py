"""Putting verified files into the output bucket, and clearing away what nobody may read.

Knows nothing of when: `steps` says so, after verification.
"""

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, BinaryIO

from watcher import bucket, crashpoint, encode, fragments, ledger, log, names, playlists
from watcher.beat import Beat
from watcher.errors import Failure
from watcher.models import OutputKind

_CUT_BYTES = 1024 * 1024
_AT_ONCE = 4  # a ladder of three and the sound

_log = log.get()


def upload(
    target: bucket.Bucket,
    made: encode.Made,
    *,
    kind: OutputKind,
    ordinal: int,
    name: str,
    claim: ledger.Claim,
    beat: Beat,
    byte_ranges: Mapping[str, Any] | None = None,
    pieces: Sequence[bucket.Piece] = (),
) -> ledger.NewOutput:
    """Upload one verified file for an attempt; the object carries its source and the attempt's token.

    What the bucket has of it as `pieces` is copied there; see `Bucket.upload`.
    """
    stored = target.upload(
        made.path,
        name,
        content_type=made.content_type,
        info=names.info(claim.file_id, claim.token),
        beat=beat,
        pieces=pieces,
    )
    if not stored.is_alone:
        target.untidy.add(claim.token)
    crashpoint.here("upload")
    return ledger.NewOutput(
        kind=kind,
        ordinal=ordinal,
        rung=rung(made),
        bucket=target.name,
        name=stored.name,
        file_id=stored.file_id,
        size_bytes=stored.size_bytes,
        sha1=stored.sha1,
        content_type=made.content_type,
        width=made.width,
        height=made.height,
        duration_seconds=made.duration_seconds,
        frames=made.frames,
        byte_ranges=byte_ranges,
    )


def together(uploads: Sequence[Callable[[], ledger.NewOutput]]) -> list[ledger.NewOutput]:
    """Run uploads side by side and return what each recorded; when some fail, raise one error after all have ended.

    What a small object takes is the way to B2 and back.
    """
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="publish") as pool:
        return [job.result() for job in [pool.submit(upload) for upload in uploads]]


def rung(made: encode.Made) -> int | None:
    """Return the rung that a picture belongs to: its short side in pixels; None for anything else."""
    if made.kind not in ("video", "mp4") or made.width is None or made.height is None:
        return None
    return min(made.width, made.height)


def byte_ranges(
    path: Path, *, first: int = 0, end: int | None = None, end_seconds: float | None = None
) -> dict[str, Any]:
    """Return, as JSON values, what playlists say of the object that holds fragments `first` to `end` of a file.

    Without `end` the file is finished. `end_seconds` is when it ends on the video's clock, where that is known.
    """
    with path.open("rb") as file:
        layout = _layout(file, end_seconds)
        if end is None:
            check_whole(layout)
        file.seek(0)
        digest = fragments.init_digest(file.read(layout.init_size))
    part = playlists.part("", layout, init_digest=digest, first=first, end=end)
    return {
        "codec": layout.codec,
        "init_size": part.init_size,
        "init_digest": part.init_digest,
        "starts_at_seconds": part.starts_at_seconds,
        "segments": [[one.offset, one.size, one.duration_seconds] for one in part.segments],
    }


def check_whole(layout: fragments.Layout) -> None:
    """Raise Failure where the end of a finished file is missing.

    A fragment says at its head what it holds: ffmpeg counts all frames of one whose bytes were not all written.
    """
    if not layout.is_whole:
        raise Failure(
            "output_invalid", f"it ends within a fragment, after {len(layout.fragments)} whole ones"
        )


def _layout(file: BinaryIO, end_seconds: float | None) -> fragments.Layout:
    try:
        return fragments.read(file, end_seconds=end_seconds)
    except ValueError as error:
        raise Failure("output_invalid", f"it is no file of fragments: {error}") from error


def part_of(uri: str, ranges: Mapping[str, Any]) -> playlists.Part:
    """Return what playlists need of an object, from what `byte_ranges` gave for it."""
    return playlists.Part(
        uri=uri,
        init_size=ranges["init_size"],
        init_digest=ranges["init_digest"],
        starts_at_seconds=ranges["starts_at_seconds"],
        segments=tuple(playlists.Segment(*segment) for segment in ranges["segments"]),
    )


def cut(path: Path, target: Path, start: int, end: int) -> None:
    """Write the bytes `start` to `end` (exclusive) of a file to another."""
    with path.open("rb") as source, target.open("wb") as out:
        source.seek(start)
        left = end - start
        while left > 0 and (data := source.read(min(left, _CUT_BYTES))):
            out.write(data)
            left -= len(data)


def withdraw(target: bucket.Bucket, outputs: Iterable[ledger.NewOutput]) -> None:
    """Delete what was uploaded by an attempt that turned out to have lost its step."""
    for output in outputs:
        target.delete(output.file_id, output.name)


def clear_debris(target: bucket.Bucket, folder: str, *, token: str, recorded: AbstractSet[str]) -> int:
    """Delete the objects and unfinished large files that the attempt `token` left under `folder`; return how many.

    Nothing that is `recorded` (file ids) is touched.
    """
    cleared = 0
    for unfinished in target.list_unfinished(folder):
        if unfinished.info.get(names.TOKEN_KEY) == token:
            target.cancel_unfinished(unfinished.file_id)
            cleared += 1
    for entry in target.list_versions(folder):
        if entry.info.get(names.TOKEN_KEY) == token and entry.file_id not in recorded:
            target.delete(entry.file_id, entry.name)
            cleared += 1
    return cleared
