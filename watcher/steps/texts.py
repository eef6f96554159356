"""The small texts that players and later Watchers read: playlists, the storyboard, the list of outputs."""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from watcher import command, encode, ledger, manifest, names, playlists, publish, stats
from watcher import plan as plans
from watcher.errors import Failure
from watcher.models import SALVAGED, USED_UP, OutputKind
from watcher.steps.attempt import Attempt, check_ordinals

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
STORYBOARD_TYPE = "text/vtt"
# Evenly spaced keyframes lie up to 2.5 s apart: where no picture stands longer than this, no segment takes over 3 s.
NOTED_SECONDS = 0.5


def publish_playlists(
    attempt: Attempt, parts: Sequence[stats.Part], *, is_final: bool
) -> tuple[list[ledger.NewOutput], set[str]]:
    """Upload the playlists that changed, the master last.

    Returns what there is to record, and the names of all media playlists, changed or not.
    """
    made = attempt.plan
    videos = [
        rendition
        for rung in made.rungs
        if (rendition := _rung(attempt, parts, rung, is_final=is_final)) is not None
    ]
    sound = _audio(attempt, parts, is_final=is_final)
    every = [part for video in videos for part in video.parts] + list(sound.parts if sound else ())
    longest = max(segment.duration_seconds for part in every for segment in part.segments)
    target = playlists.target_duration(max(longest, _longest_planned(attempt)))
    listed: list[playlists.VideoRendition | playlists.AudioRendition] = [*videos, *([sound] if sound else [])]
    present = {row.name: row.sha1 for row in stats.outputs(attempt.shop.readings, attempt.claim.video_id)}

    def is_new(name: str, text: str) -> bool:
        return present.get(name) != hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    uploads = []
    for one in listed:
        text = playlists.media(one.parts, target_duration=target, is_final=is_final)
        if is_new(name := attempt.place + one.uri, text):
            rung = min(one.width, one.height) if isinstance(one, playlists.VideoRendition) else None
            uploads.append(
                functools.partial(_upload_playlist, attempt, text, name, OutputKind.PLAYLIST, rung)
            )
    outputs = publish.together(uploads)
    master = playlists.master(videos, sound, target_duration=target)
    if is_new(name := names.master(attempt.place), master):
        outputs.append(_upload_playlist(attempt, master, name, OutputKind.HLS, None))
    return outputs, {attempt.place + one.uri for one in listed}


def publish_storyboard(
    attempt: Attempt, parts: Sequence[stats.Part], film: encode.Made, *, is_whole: bool
) -> list[ledger.NewOutput]:
    """Upload what tells which tile is shown when; nothing where a damaged source gave no sheet."""
    planned = attempt.plan.storyboard
    sheets = [part for part in parts if part.kind == OutputKind.SHEET]
    if not sheets and not is_whole:
        return []
    check_ordinals(sheets, planned.sheets if is_whole else len(sheets))
    seconds = film.duration_seconds or 0.0
    there = min(planned.tiles, len(sheets) * planned.columns * planned.rows)
    starts = [number * planned.interval_seconds for number in range(there)]
    text = playlists.storyboard(
        [sheet.name[len(attempt.place) :] for sheet in sheets],
        [start for start in starts if start < seconds],
        columns=planned.columns,
        rows=planned.rows,
        width=planned.tile_width,
        height=planned.tile_height,
        duration_seconds=seconds,
    )
    name = names.storyboard(attempt.place)
    return [_upload_text(attempt, text, kind=OutputKind.STORYBOARD, name=name, content_type=STORYBOARD_TYPE)]


def publish_manifest(
    attempt: Attempt, new: Sequence[ledger.NewOutput], loss: Failure | None
) -> ledger.NewOutput:
    """Publish the list of what was published, new and before."""
    shop, video_id = attempt.shop, attempt.claim.video_id
    row = stats.video(shop.readings, video_id)
    assert row is not None  # its step is being worked on
    facts: dict[str, Any] = {name: getattr(row, name) for name in ledger.FACTS}
    if loss is not None:
        facts |= {"error_code": loss.code, "error": loss.detail, "hint": loss.hint, "reason": SALVAGED}
    replaced = {output.name for output in new}
    kept = [
        output
        for output in stats.outputs(shop.readings, video_id)
        if output.run == row.run
        and output.name not in replaced
        and output.kind not in (*USED_UP, OutputKind.MANIFEST)
    ]
    return _upload_text(
        attempt,
        manifest.dump(attempt.claim.file_id, facts, [*kept, *new]),
        kind=OutputKind.MANIFEST,
        name=names.manifest(attempt.place),
        content_type=manifest.CONTENT_TYPE,
    )


def _upload_playlist(
    attempt: Attempt, text: str, name: str, kind: OutputKind, rung: int | None
) -> ledger.NewOutput:
    return replace(_upload_text(attempt, text, kind=kind, name=name, content_type=PLAYLIST_TYPE), rung=rung)


def _upload_text(
    attempt: Attempt, text: str, *, kind: OutputKind, name: str, content_type: str
) -> ledger.NewOutput:
    path = attempt.folder / f"text-{name.rpartition('/')[2]}"
    path.write_text(text, encoding="utf-8", newline="\n")
    return publish.upload(
        attempt.shop.target,
        encode.Made(path, "text", content_type, is_copy=False),
        kind=kind,
        ordinal=0,
        name=name,
        claim=attempt.claim,
        beat=attempt.beat.part(0.9, 1.0),
    )


def _rung(
    attempt: Attempt, parts: Sequence[stats.Part], rung: plans.Rung, *, is_final: bool
) -> playlists.VideoRendition | None:
    """Return a rung as far as it plays without a gap; None when it does not begin yet."""
    short = min(rung.width, rung.height)
    chosen = _unbroken([part for part in parts if part.kind == OutputKind.VIDEO_PART and part.rung == short])
    if not chosen:
        return None
    track = attempt.facts.video
    return playlists.VideoRendition(
        uri=names.playlist("", short, first=chosen[0].name),
        codec=_codec(chosen),
        parts=_listed(attempt, chosen),
        width=rung.width,
        height=rung.height,
        frame_rate=attempt.plan.video.frame_rate or (track.frame_rate if track else None),
        least_bandwidth=0 if is_final else rung.max_rate,
    )


def _audio(
    attempt: Attempt, parts: Sequence[stats.Part], *, is_final: bool
) -> playlists.AudioRendition | None:
    planned = attempt.plan.audio
    chosen = _unbroken([part for part in parts if part.kind == OutputKind.AUDIO_PART])
    if planned is None or not chosen:
        return None
    return playlists.AudioRendition(
        uri=names.playlist("", None, first=chosen[0].name),
        codec=_codec(chosen),
        parts=playlists.without_tail(_listed(attempt, chosen), plans.end(attempt.facts)),
        channels=planned.channels,
        least_bandwidth=0 if is_final else planned.bit_rate,
    )


def _unbroken(parts: Sequence[stats.Part]) -> list[stats.Part]:
    """Return the parts up to the first that is missing."""
    return [part for place, part in enumerate(parts) if part.ordinal == place]


def _listed(attempt: Attempt, parts: Sequence[stats.Part]) -> tuple[playlists.Part, ...]:
    place = len(attempt.place)
    return tuple(publish.part_of(part.name[place:], part.byte_ranges or {}) for part in parts)


def _codec(parts: Sequence[stats.Part]) -> str:
    return str((parts[0].byte_ranges or {})["codec"])


def _longest_planned(attempt: Attempt) -> float:
    """Return how long a segment may become, in seconds: the target duration must never change."""
    track = attempt.facts.video
    if attempt.plan.video.has_source_keyframes or attempt.plan.video.mode == "copy":
        gap = track.keyframe_gap if track is not None else None
        return math.ceil(gap if gap is not None else plans.COPY_KEYFRAME_GAP) + 1.0
    # A frame may be shown a little after the time that a keyframe was asked for, and while a picture stands there is
    # none. For one that stands longer than a copy's would, nothing is promised: players ask for more of a growing
    # playlist only as often as the target duration says.
    stands = track.frame_gap if track is not None else None
    if stands is None or not NOTED_SECONDS < stands <= plans.COPY_KEYFRAME_GAP - command.KEYFRAME_SECONDS:
        stands = 0.0
    return command.KEYFRAME_SECONDS + 1.0 + stands
