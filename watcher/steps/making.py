"""The steps that look at the source, or make parts of it: inspect, copy, video, audio, stills, storyboard."""

import functools
from datetime import datetime, timedelta
from typing import Any

from watcher import crashpoint, encode, inspect, ledger, log, media, names, plan, publish
from watcher.models import OutputKind, StepKind
from watcher.steps import behind
from watcher.steps.attempt import Attempt
from watcher.steps.growing import Growing

# Where in a step's progress the making ends and the upload begins.
MADE = 0.9
# A viewer needs a chunk when he comes to it, and that is when it would be due. But where films are encoded more slowly
# than they play, all that is overdue of a film would come before the first seconds of the next one. Up to so many times
# more slowly it does not.
MOST_SLOWNESS = 10

_log = log.get()


def inspect_source(attempt: Attempt) -> bool:
    """Find out what the source is, and plan the steps; False when the step was lost."""
    claim, shop = attempt.claim, attempt.shop
    with attempt.source() as url:
        facts = inspect.inspect(
            url,
            name=claim.name,
            content_type=claim.content_type,
            size_bytes=claim.size_bytes,
            folder=attempt.folder,
            beat=attempt.beat,
            limits=attempt.inspect_limits,
            is_salvaging=shop.is_salvaging,
        )
    made = plan.make(facts, shop.profile)
    crashpoint.here("plan")
    won = ledger.finish_inspect(
        shop.db,
        claim,
        media=media.dump(facts),
        duration_seconds=facts.duration_seconds,
        audio_language=facts.audio.language if facts.audio else None,
        plan=plan.dump(made),
        steps=_steps_of(made, facts, claim.discovered_at),
        now=attempt.clock(),
    )
    if won:
        _log.info(
            "inspected",
            name=claim.name,
            container=facts.container,
            seconds=facts.duration_seconds,
            video=made.video.mode,
            sizes=",".join(rung.name for rung in made.rungs),
            audio=made.audio.mode if made.audio else None,
            chunks=len(made.chunks),
        )
    return won


def copy_video(attempt: Attempt) -> bool:
    """Copy the picture whole as the top rung, published in parts while it grows."""
    top = plan.top(attempt.plan.video)
    growing = Growing(attempt, OutputKind.VIDEO_PART, width=top.width, height=top.height)
    with attempt.source() as url:
        made = encode.video(url, attempt.facts, attempt.plan.video, attempt.bench(0.0, MADE), growing.grow)
    return growing.finish(made)


def encode_chunk(attempt: Attempt) -> bool:
    """Encode one chunk in all rungs that are not copied."""
    made = attempt.plan
    chunk = made.chunks[attempt.claim.ordinal]
    with attempt.source() as url:
        rungs = encode.video_chunk(url, attempt.facts, made, chunk, attempt.bench(0.0, MADE))
    if isinstance(rungs, encode.Nothing):
        return _finish_empty(attempt, rungs)
    return _publish(attempt, rungs, OutputKind.VIDEO_PART)


def make_audio(attempt: Attempt) -> bool:
    """Make the sound whole, published in parts while it grows."""
    planned = attempt.plan.audio
    assert planned is not None  # the step exists because the plan has it
    growing = Growing(attempt, OutputKind.AUDIO_PART)
    with attempt.source(wait=behind.the_picture(attempt, growing)) as url:
        made = encode.audio(url, attempt.facts, planned, attempt.bench(0.0, MADE), growing.grow)
    return _finish_empty(attempt, made) if isinstance(made, encode.Nothing) else growing.finish(made)


def make_stills(attempt: Attempt) -> bool:
    """Make the poster."""
    with attempt.source() as url:
        made = encode.poster(url, attempt.facts, attempt.plan.stills, attempt.bench(0.0, MADE))
    return _publish(attempt, (made,), OutputKind.POSTER_PART)


def make_storyboard(attempt: Attempt) -> bool:
    """Make the sheets of pictures that a player shows over its time bar."""
    with attempt.source() as url:
        sheets = encode.storyboard(url, attempt.facts, attempt.plan.storyboard, attempt.bench(0.0, MADE))
    if not sheets:
        return _finish_empty(attempt, encode.Nothing(None))
    return _publish(attempt, sheets, OutputKind.SHEET)


def _finish_empty(attempt: Attempt, nothing: encode.Nothing) -> bool:
    """Complete a step that has nothing to make."""
    won = ledger.finish(attempt.shop.db, attempt.claim, outputs=[], now=attempt.clock(), loss=nothing.loss)
    if won:
        _log.info("nothing_there", why=nothing.loss.detail if nothing.loss else "the track is empty")
    return won


def _publish(attempt: Attempt, parts: tuple[encode.Made, ...], kind: OutputKind) -> bool:
    claim, shop = attempt.claim, attempt.shop
    attempt.seat.leave()
    share = (1.0 - MADE) / len(parts)

    def upload(number: int, part: encode.Made) -> ledger.NewOutput:
        rung = publish.rung(part)
        # Each rung of a chunk is that chunk; sheets are counted.
        ordinal = number if kind == OutputKind.SHEET else claim.ordinal
        ending = "mp4" if kind == OutputKind.VIDEO_PART else "jpg"
        output = publish.upload(
            shop.target,
            part,
            kind=kind,
            ordinal=ordinal,
            name=names.part(attempt.place, f"{claim.kind}{rung or ''}", ordinal, claim.token, ending=ending),
            claim=claim,
            beat=attempt.beat.part(MADE + number * share, MADE + (number + 1) * share),
            byte_ranges=_byte_ranges(part) if kind == OutputKind.VIDEO_PART else None,
        )
        attempt.keep(part.path, output.sha1)
        return output

    outputs = publish.together([functools.partial(upload, number, part) for number, part in enumerate(parts)])
    crashpoint.here("record")
    won = ledger.finish(shop.db, claim, outputs=outputs, now=attempt.clock(), loss=parts[0].loss)
    if won:
        # A film has hundreds of chunks; its story is told in a few lines.
        say = _log.info if claim.ordinal == 0 else _log.debug
        say("made", size_bytes=sum(output.size_bytes for output in outputs), frames=parts[0].frames)
    else:
        publish.withdraw(shop.target, outputs)
    return won


def _byte_ranges(part: encode.Made) -> dict[str, Any]:
    return publish.byte_ranges(part.path, end_seconds=part.end_seconds)


def _steps_of(made: plan.Plan, facts: media.Media, discovered_at: datetime) -> list[ledger.NewStep]:
    """Return what follows `inspect`: shares of the progress by what it costs, due when a viewer may need it."""
    whole = facts.duration_seconds or 0.0
    steps: list[tuple[StepKind, int, float, timedelta]] = []
    if made.video.mode == "copy":
        steps.append((StepKind.COPY, 0, 10.0, timedelta()))
    ahead = plan.chunks_ahead(facts, made)
    for chunk in made.chunks:
        if ahead and chunk.ordinal == ahead:  # before this one, which is due at the same time
            steps.append(
                (StepKind.STITCH, ahead, 4.0, MOST_SLOWNESS * timedelta(seconds=chunk.start_seconds))
            )
        end = chunk.end_seconds if chunk.end_seconds is not None else max(whole, chunk.start_seconds + 1.0)
        share = 80.0 * (end - chunk.start_seconds) / max(whole, end)
        later = MOST_SLOWNESS * timedelta(seconds=chunk.start_seconds)
        steps.append((StepKind.VIDEO, chunk.ordinal, share, later))
    if made.audio is not None:
        # Behind the picture that a viewer sees first: a copied one plays before its smaller sizes are made.
        share = 6.0 if made.audio.mode == "encode" else 2.0
        steps.insert(1, (StepKind.AUDIO, 0, share, timedelta()))
    last = max(timedelta(seconds=whole), *(later for *_, later in steps))
    if ahead == 0:
        # A copied picture is there at once, but the line is its smaller sizes' first.
        steps.append((StepKind.STITCH, ahead, 4.0, MOST_SLOWNESS * timedelta(seconds=whole / 2)))
    steps += [
        (StepKind.ANNOUNCE, 0, 0.0, timedelta()),
        # Nobody sees a still picture before the end, and by then what it is made from has been fetched.
        (StepKind.STILLS, 0, 2.0, last),
        (StepKind.STORYBOARD, 0, 2.0, last),
        (StepKind.PACKAGE, 0, 10.0, last),
    ]
    total = sum(share for _, _, share, _ in steps) / (1.0 - ledger.INSPECT_WEIGHT)
    return [
        ledger.NewStep(
            kind=kind,
            ordinal=ordinal,
            stage=2 if kind is StepKind.PACKAGE else 1,
            weight=share / total,
            due_at=discovered_at + later,
        )
        for kind, ordinal, share, later in steps
    ]
