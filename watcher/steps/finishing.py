"""The steps that let viewers in: announce what plays so far, and package what is complete."""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from watcher import command, encode, ledger, log, names, playlists, publish, stats
from watcher import plan as plans
from watcher.errors import Failure
from watcher.models import OutputKind
from watcher.steps.attempt import Attempt

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
STORYBOARD_TYPE = "text/vtt"

_log = log.get()


def announce(attempt: Attempt) -> bool:
    """Publish playlists of what plays without a gap from the start; False when the step was lost."""
    claim, shop = attempt.claim, attempt.shop
    parts = stats.parts(shop.readings, claim.video_id)
    seen = max((part.id for part in parts), default=0)
    outputs = _publish_playlists(attempt, parts, is_final=False)
    is_first = not any(row.kind == OutputKind.HLS for row in stats.outputs(shop.readings, claim.video_id))
    won = ledger.finish_announce(shop.db, claim, outputs=outputs, seen=seen, now=attempt.clock())
    if not won:
        publish.withdraw(shop.target, outputs)
    elif is_first:
        _log.info("playable", name=claim.name, hls=names.master(attempt.place), seconds=_since(attempt))
    return won


def package(attempt: Attempt) -> bool:
    """Stitch the MP4, publish it, the poster, the storyboard and the final playlists, and complete the video."""
    claim, shop, beat = attempt.claim, attempt.shop, attempt.beat
    parts = stats.parts(shop.readings, claim.video_id)
    lost = stats.losses(shop.readings, claim.video_id)
    is_whole = not lost and attempt.facts.cut is None
    film = encode.package(
        _pictures(attempt, parts, is_whole=is_whole),
        _sound(attempt, parts),
        attempt.facts,
        attempt.plan.video,
        attempt.bench(0.2, 0.5),
        is_whole=is_whole,
    )
    loss = None if is_whole else _loss(attempt, lost, film)
    poster = next(part for part in parts if part.kind == OutputKind.POSTER_PART)
    still = encode.Made(
        path=attempt.fetch(poster, beat.part(0.5, 0.5)),
        kind="poster",
        content_type=poster.content_type,
        is_copy=True,
        width=poster.width,
        height=poster.height,
    )
    attempt.seat.leave()
    outputs: list[ledger.NewOutput] = []
    # The film first: a poster or a playlist without a film would promise what is not there.
    for kind, made, name in (
        (OutputKind.MP4, film, names.mp4(attempt.place)),
        (OutputKind.POSTER, still, names.poster(attempt.place)),
    ):
        outputs.append(
            publish.upload(
                shop.target, made, kind=kind, ordinal=0, name=name, claim=claim, beat=beat.part(0.5, 1.0)
            )
        )
    outputs += _publish_storyboard(attempt, parts, film, is_whole=is_whole)
    outputs += _publish_playlists(attempt, parts, is_final=True)
    won = ledger.finish(shop.db, claim, outputs=outputs, now=attempt.clock(), loss=loss)
    if won:
        _log.info(
            "completed",
            name=claim.name,
            mp4=outputs[0].name,
            seconds=_since(attempt),
            **({"salvaged": loss.detail} if loss else {}),
        )
    else:
        publish.withdraw(shop.target, outputs)
    return won


def _loss(attempt: Attempt, lost: Sequence[Failure], film: encode.Made) -> Failure:
    """Return what is published of a source that could not be read whole, and why it is no more."""
    facts = attempt.facts
    whole_frames, whole_seconds = facts.video.frames if facts.video else None, facts.duration_seconds
    every = list(lost)
    if facts.cut is not None:
        whole_frames, whole_seconds = facts.cut.frames, facts.cut.seconds
        every.insert(0, Failure("source_truncated", facts.cut.detail))
    amount = f"{film.duration_seconds:.1f} s"
    if whole_seconds is not None:
        amount = f"{film.duration_seconds:.1f} of {whole_seconds:.1f} s"
    if whole_frames is not None and attempt.plan.video.frame_rate is None:
        amount += f", {film.frames} of {whole_frames} frames"
    first = every[0].detail.partition("\n")[0]
    more = f" (and {len(every) - 1} more)" if len(every) > 1 else ""
    return Failure(every[0].code, f"only what can be read is published: {amount}: {first}{more}")


def _pictures(attempt: Attempt, parts: Sequence[stats.Part], *, is_whole: bool) -> list[Path]:
    """Return the files of the top rung in order; a copied one is one file again.

    Unless the source `is_whole`, the last chunks may be missing.
    """
    made = attempt.plan
    rung = min(made.rungs[0].width, made.rungs[0].height)
    chosen = [part for part in parts if part.kind == OutputKind.VIDEO_PART and part.rung == rung]
    if made.video.mode == "copy":
        return [_joined(attempt, chosen, "picture")]
    _check_ordinals(chosen, len(made.chunks) if is_whole else len(chosen))
    share = 0.15 / len(chosen)
    return [
        attempt.fetch(part, attempt.beat.part(number * share, (number + 1) * share))
        for number, part in enumerate(chosen)
    ]


def _sound(attempt: Attempt, parts: Sequence[stats.Part]) -> Path | None:
    chosen = [part for part in parts if part.kind == OutputKind.AUDIO_PART]
    # Its step, which is over, may have found nothing in the track.
    return _joined(attempt, chosen, "sound") if chosen else None


def _joined(attempt: Attempt, parts: Sequence[stats.Part], name: str) -> Path:
    """Return the file that was published in parts while it grew."""
    _check_ordinals(parts, len(parts))
    whole = attempt.folder / name
    with whole.open("wb") as out:
        for part in parts:
            path = attempt.fetch(part, attempt.beat.part(0.15, 0.2))
            with path.open("rb") as file:
                while data := file.read(1024 * 1024):
                    attempt.beat.advance()
                    out.write(data)
    return whole


def _check_ordinals(parts: Sequence[stats.Part], expected: int) -> None:
    found = [part.ordinal for part in parts]
    if not found or found != list(range(expected)):
        raise Failure("output_invalid", f"of {expected} parts only these are recorded: {found}")


def _publish_storyboard(
    attempt: Attempt, parts: Sequence[stats.Part], film: encode.Made, *, is_whole: bool
) -> list[ledger.NewOutput]:
    """Upload what tells which tile is shown when; nothing where a damaged source gave no sheet."""
    planned = attempt.plan.storyboard
    sheets = [part for part in parts if part.kind == OutputKind.SHEET]
    if not sheets and not is_whole:
        return []
    _check_ordinals(sheets, planned.sheets if is_whole else len(sheets))
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


def _publish_playlists(
    attempt: Attempt, parts: Sequence[stats.Part], *, is_final: bool
) -> list[ledger.NewOutput]:
    """Upload the playlists that changed, the master last; return what there is to record."""
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
    return outputs


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
        uri=names.playlist("", short),
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
        uri=names.playlist("", None),
        codec=_codec(chosen),
        parts=_listed(attempt, chosen),
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
    # A frame may be shown a little after the time that a keyframe was asked for.
    return command.KEYFRAME_SECONDS + 1.0


def _since(attempt: Attempt) -> float:
    return round((attempt.clock() - attempt.claim.discovered_at).total_seconds(), 1)
