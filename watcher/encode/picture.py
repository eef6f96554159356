"""Makes the picture: whole, or a chunk in all its rungs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from watcher import command, crashpoint, fragments, transcript, verify
from watcher import plan as plans
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made, Nothing, OnGrowth
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import Chunk, Plan, Rung, VideoPlan

# By what containers' clocks and the last frame make a segment longer; playlists allow for a whole second.
ROUNDED_SECONDS = 0.1
ON_TIME_SECONDS = 0.1  # after its start a chunk's first frame is there, unless it cannot be decoded


class FarApart(Failure):
    """The source's keyframes lie further apart than playlists promise that segments are long.

    The promise must not change while a playlist grows (RFC 8216, 4.3.3.1), and without an index nobody knows
    beforehand. A promise that is kept whatever comes would have to be as long as a minute, and players ask for more of
    a growing playlist only that often. So what would break it is not published, and made with other keyframes.
    """


def video(
    source: str | Path, media: Media, plan: VideoPlan, bench: Bench, on_growth: OnGrowth | None = None
) -> Made:
    """Make the top rung in one piece; what was meant to be copied but does not verify is encoded.

    `on_growth` is called about twice a second, in this thread, with the file so far: whole fragments, and
    perhaps a part of one. A path that it was not given before means that the earlier file is given up.
    """
    name = command.VIDEO
    while True:
        try:
            return _video(source, media, plan, bench, name, on_growth)
        except FarApart:
            plan = dataclasses.replace(plan, mode="encode", has_source_keyframes=False)
        except Failure as failure:
            if plan.mode != "copy" or not workbench.is_mendable(failure, bench):
                raise
            plan = dataclasses.replace(plan, mode="encode")
        name = command.AGAIN + name


def video_chunk(
    source: str | Path, media: Media, plan: Plan, chunk: Chunk, bench: Bench
) -> tuple[Made, ...] | Nothing:
    """Encode one chunk: one file for each of the plan's `chunked_rungs`, with the same frames and keyframes.

    When salvaging, what cannot be decoded is done without: the frames before and after are shown for longer.
    Nothing comes of a chunk where no frame is left from its start on.
    """
    try:
        return workbench.without_holes(lambda bench, _: _made_chunk(source, media, plan, chunk, bench), bench)
    except FarApart:  # of the rung that was to be copied, too, which is encoded with the same keyframes then
        plan = dataclasses.replace(plan, video=dataclasses.replace(plan.video, has_source_keyframes=False))
    return workbench.without_holes(lambda bench, _: _made_chunk(source, media, plan, chunk, bench), bench)


def _made_chunk(
    source: str | Path, media: Media, plan: Plan, chunk: Chunk, bench: Bench
) -> tuple[Made, ...] | Nothing:
    rungs = plan.chunked_rungs
    arguments = command.video_chunk(source, media, plan, chunk, threads=bench.threads)
    report, each, found = _chunk(arguments, media, plan.video, rungs, chunk, bench)
    workbench.check_gaps(report, found[0], bench)
    is_on_time = found[0] is not None and found[0].first_decode < chunk.start_seconds + ON_TIME_SECONDS
    if chunk.start_seconds > 0 and is_on_time and verify.has_errors(media, report):
        # Those on the way from the keyframe before belong to another chunk, or to a seek into the middle.
        # Where the chunk's first frames do not decode, the way would go on to the first that does.
        before = workbench.run(command.before_chunk(source, media, plan.video, chunk), media, bench)
        report = verify.without(report, before)
    loss = None
    try:
        verify.chunk_source(media, report, chunk, found[0])
    except Failure as failure:
        if not workbench.is_salvageable(failure, bench):
            raise
        loss = failure
        arguments = command.video_chunk(source, media, plan, chunk, threads=bench.threads, mend="start")
        report, each, found = _chunk(arguments, media, plan.video, rungs, chunk, bench)
        if found[0] is None and chunk.end_seconds is not None:
            arguments = command.video_chunk(source, media, plan, chunk, threads=bench.threads, mend="still")
            report, each, found = _chunk(arguments, media, plan.video, rungs, chunk, bench)
        if found[0] is None:
            return Nothing(loss)
    is_paced = plan.video.frame_rate is not None
    verify.chunk_output(media, report, chunk, found, is_paced=is_paced, is_whole=loss is None)
    made = []
    for rung, facts, track in zip(rungs, each, found, strict=True):
        assert track is not None  # `chunk_output` saw to it
        _check_picture(facts, rung.width, rung.height)
        shift = track.first - track.first_decode
        made.append(
            Made(
                bench.folder / command.rung_file(rung),
                "video",
                "video/mp4",
                is_copy=False,
                width=rung.width,
                height=rung.height,
                start_seconds=track.first_decode,
                duration_seconds=_chunk_length(chunk, track, shift),
                frames=track.packets,
                rung=rung.name,
                loss=loss,
            )
        )
    crashpoint.here("verify")
    return tuple(made)


def _chunk(
    arguments: list[str], media: Media, video: VideoPlan, rungs: Sequence[Rung], chunk: Chunk, bench: Bench
) -> tuple[transcript.Report, list[dict[str, Any]], list[verify.Found | None]]:
    """Run what makes a chunk, and measure each rung of it."""
    paths = [bench.folder / command.rung_file(rung) for rung in rungs]
    look = _looking(media, video, None)
    report = workbench.run(arguments, media, bench, chunk=chunk, growing=paths[-1], on_growth=look)
    crashpoint.here("chunk")
    wrote = report.wrote.get((0, 0))
    if wrote is not None and wrote.packets == 0:  # files that hold nothing, which nobody can open
        return report, [], [None] * len(rungs)
    if look is not None:
        look(paths[-1])
    each = workbench.probe_all(paths, bench, container=command.OWN_FORMAT, scan="start")
    late = _late(media) if chunk.start_seconds == 0 else 0.0
    return report, each, [workbench.only(facts["scan"], "video", late=late) for facts in each]


def _video(
    source: str | Path, media: Media, plan: VideoPlan, bench: Bench, name: str, on_growth: OnGrowth | None
) -> Made:
    path = bench.folder / name
    # Smaller rungs are decoded anyway, in steps of their own; where they fail, all fails, unless it is salvaged.
    is_decoded = plan.is_decoded or bench.is_salvaging
    arguments = command.video(source, media, plan, name=name, is_decoded=is_decoded)
    look = _looking(media, plan, on_growth)
    report = workbench.run(arguments, media, bench, growing=path, on_growth=look)
    if look is not None and (plan.mode == "copy" or plan.has_source_keyframes):
        # A film may be copied before it is first asked for, and looking at all of it takes seconds.
        look(path)
    scan: Literal["start", "keyframes"] = "keyframes" if plan.mode == "copy" else "start"
    facts = workbench.probe(path, bench, container=command.OWN_FORMAT, scan=scan)
    found = workbench.only(facts["scan"], "video", late=_late(media))
    shift = found.first - found.first_decode if found is not None else 0.0
    is_copy, is_paced = plan.mode == "copy", plan.frame_rate is not None
    loss = None
    try:
        verify.video_source(media, report, end=found.end - shift if found is not None else 0.0)
    except Failure as failure:
        if is_copy or found is None or not workbench.is_salvageable(failure, bench):
            raise
        loss = failure
    verify.video_output(media, report, found, is_copy=is_copy, is_paced=is_paced, is_whole=loss is None)
    _check_picture(facts, plan.width, plan.height)
    assert found is not None  # `video_output` saw to it
    return Made(
        path,
        "video",
        "video/mp4",
        is_copy=is_copy,
        width=plan.width,
        height=plan.height,
        start_seconds=found.first_decode,
        duration_seconds=found.end - found.first,
        frames=found.packets,
        rung=plans.top(plan).name,
        loss=loss,
    )


def _looking(media: Media, plan: VideoPlan, on_growth: OnGrowth | None) -> OnGrowth | None:
    """Return what a growing file is given to: first a look for keyframes that are `FarApart`, where they may be."""
    is_known = media.video is None or media.video.keyframe_gap is not None
    if is_known or not (plan.mode == "copy" or plan.has_source_keyframes):
        return on_growth

    def check(there: Sequence[fragments.Fragment]) -> None:
        # The first one is longer where the picture begins late.
        gaps = [one.duration_seconds - (0.0 if number else _late(media)) for number, one in enumerate(there)]
        if (gap := max(gaps, default=0.0)) > plans.COPY_KEYFRAME_GAP + ROUNDED_SECONDS:
            raise FarApart(
                "output_invalid", f"its keyframes are {gap:.1f} s apart, and players wait for the next one"
            )

    return workbench.looking(check, on_growth)


def _late(media: Media) -> float:
    """Return how many seconds the first picture is drawn out, because it begins later than the sound."""
    track = media.video
    late = (track.start_seconds or 0.0) - media.start_seconds if track is not None else 0.0
    return late if late > command.LATE_SECONDS else 0.0


def _check_picture(facts: dict[str, Any], width: int, height: int) -> None:
    track = next(one for one in facts["streams"] if one["type"] == "video")
    expected = ("h264", width, height, "yuv420p")
    if (track["codec"], track["width"], track["height"], track["pixel_format"]) != expected:
        raise Failure("output_invalid", f"the picture is not {expected}: {track}")


def _chunk_length(chunk: Chunk, found: verify.Found, shift: float) -> float:
    """How long a chunk plays: until the next one begins, as its own file cannot tell; the last one to its end.

    That is what the file says of its last frame, for so long players show it: playlists must list no more or less.
    """
    end = chunk.end_seconds if chunk.end_seconds is not None else found.end - shift
    return end - found.first_decode
