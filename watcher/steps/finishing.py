"""The steps that let viewers in: announce what plays so far, and package what is complete."""

from collections.abc import Sequence

from watcher import crashpoint, encode, ledger, log, names, publish, stats
from watcher.errors import Failure
from watcher.models import OutputKind, StepKind, StepStatus
from watcher.steps import film, texts
from watcher.steps.attempt import Attempt, check_place

_log = log.get()


def announce(attempt: Attempt) -> bool:
    """Publish playlists of what plays without a gap from the start; False when the step was lost."""
    claim, shop = attempt.claim, attempt.shop
    awaits_sound = _awaits_sound(attempt)  # asked first: it may end meanwhile, and then its parts are found
    parts = stats.parts(shop.readings, claim.video_id)
    check_place(attempt, parts)
    seen = {part.file_id for part in parts}
    begun = {part.kind for part in parts if part.ordinal == 0}
    if OutputKind.VIDEO_PART not in begun or (awaits_sound and OutputKind.AUDIO_PART not in begun):
        # What made this due went with an attempt that ended unfinished; the next one makes it due again.
        return ledger.finish_announce(
            shop.db, claim, outputs=[], listed=set(), seen=seen, now=attempt.clock()
        )
    outputs, listed = texts.publish_playlists(attempt, parts, is_final=False)
    is_first = not any(row.kind == OutputKind.HLS for row in stats.outputs(shop.readings, claim.video_id))
    crashpoint.here("announce")
    won = ledger.finish_announce(
        shop.db, claim, outputs=outputs, listed=listed, seen=seen, now=attempt.clock()
    )
    if not won:
        publish.withdraw(shop.target, outputs)
    elif is_first:
        _log.info("playable", name=claim.name, hls=names.master(attempt.place), seconds=_since(attempt))
    return won


def package(attempt: Attempt) -> bool:
    """Stitch the MP4, publish it, the poster, the storyboard and the final playlists, and complete the video."""
    claim, shop, beat = attempt.claim, attempt.shop, attempt.beat
    parts = stats.parts(shop.readings, claim.video_id)
    check_place(attempt, parts)
    lost = stats.losses(shop.readings, claim.video_id)
    is_whole = not lost and attempt.facts.cut is None
    made = encode.package(
        film.pictures(attempt, parts, count=len(attempt.plan.chunks) if is_whole else None),
        film.sound(attempt, parts),
        attempt.facts,
        attempt.plan.video,
        attempt.bench(0.2, 0.5),
        is_whole=is_whole,
    )
    loss = None if is_whole else _loss(attempt, lost, made)
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
    for kind, one, name, pieces in (
        (OutputKind.MP4, made, names.mp4(attempt.place), film.pieces(parts, made)),
        (OutputKind.POSTER, still, names.poster(attempt.place), []),
    ):
        outputs.append(
            publish.upload(
                shop.target,
                one,
                kind=kind,
                ordinal=0,
                name=name,
                claim=claim,
                beat=beat.part(0.5, 1.0),
                pieces=pieces,
            )
        )
    outputs += texts.publish_storyboard(attempt, parts, made, is_whole=is_whole)
    outputs += texts.publish_playlists(attempt, parts, is_final=True)[0]
    # Last: it says that all the others are there.
    outputs.append(texts.publish_manifest(attempt, outputs, loss))
    crashpoint.here("package")
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


def _awaits_sound(attempt: Attempt) -> bool:
    steps = stats.steps(attempt.shop.readings, attempt.claim.video_id)
    return any(step.kind == StepKind.AUDIO and step.status != StepStatus.COMPLETED for step in steps)


def _loss(attempt: Attempt, lost: Sequence[Failure], made: encode.Made) -> Failure:
    """Return what is published of a source that could not be read whole, and why it is no more."""
    facts = attempt.facts
    whole_frames, whole_seconds = facts.video.frames if facts.video else None, facts.duration_seconds
    every = list(lost)
    if facts.cut is not None:
        whole_frames, whole_seconds = facts.cut.frames, facts.cut.seconds
        every.insert(0, Failure(facts.cut.code, facts.cut.detail))
    amount = f"{made.duration_seconds:.1f} s"
    if whole_seconds is not None:
        amount = f"{made.duration_seconds:.1f} of {whole_seconds:.1f} s"
    if whole_frames is not None and attempt.plan.video.frame_rate is None:
        amount += f", {made.frames} of {whole_frames} frames"
    first = every[0].detail.partition("\n")[0]
    more = f" (and {len(every) - 1} more)" if len(every) > 1 else ""
    return Failure(every[0].code, f"only what can be read is published: {amount}: {first}{more}")


def _since(attempt: Attempt) -> float:
    return round((attempt.clock() - attempt.claim.discovered_at).total_seconds(), 1)
