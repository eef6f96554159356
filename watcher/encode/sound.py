"""Makes the sound, and measures how loud it is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from watcher import command, fragments, verify
from watcher import plan as plans
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made, Nothing, OnGrowth
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import AudioPlan

# Measuring decodes all of the sound, as making it does; the making encodes too.
MEASURING_SHARE = 0.3
# A hole in copied sound makes a segment so much longer, and the target duration of a playlist must not change while
# it grows. Every playlist allows for a second.
HOLE_SECONDS = 1.0


def audio(
    source: str | Path, media: Media, plan: AudioPlan, bench: Bench, on_growth: OnGrowth | None = None
) -> Made | Nothing:
    """Make the audio part; what was meant to be copied but does not verify is encoded.

    `on_growth` as for `video`; where the plan has a target for the loudness it is first called when all of the
    sound was decoded once.
    """
    gain_db = 0.0
    if plan.target_lufs is not None:
        gain_db = _gain(source, media, plan, plan.target_lufs, bench)
        bench = dataclasses.replace(bench, beat=bench.beat.part(MEASURING_SHARE, 1.0))
    if plan.mode == "copy" and gain_db:
        plan = plans.encoded_audio(media, plan.target_lufs)
    try:
        return workbench.without_holes(
            lambda bench, prefix: _audio(
                source, media, plan, gain_db, bench, prefix + command.AUDIO, on_growth
            ),
            bench,
        )
    except Failure as failure:
        if plan.mode != "copy" or not workbench.is_mendable(failure, bench):
            raise
    plan = plans.encoded_audio(media, plan.target_lufs)
    return _audio(source, media, plan, gain_db, bench, command.AGAIN + command.AUDIO, on_growth)


def _gain(source: str | Path, media: Media, plan: AudioPlan, target_lufs: float, bench: Bench) -> float:
    """Return by how many dB the sound is to be turned up, or down.

    Nothing is done about silence, nor about less than the 0.4 s that a loudness needs. What ffmpeg did not tell is
    neither: the attempt fails.
    """
    measuring = dataclasses.replace(bench, beat=bench.beat.part(0.0, MEASURING_SHARE))
    report = workbench.run(command.loudness(source, media, plan), media, measuring)
    verify.arrived(report)
    found = report.loudness
    if found is None or (found.peak_dbfs is None and found.lufs is not None):
        raise Failure("encode_failed", f"ffmpeg did not tell how loud the sound is: {report.text}")
    return plans.gain_db(found.lufs, found.peak_dbfs, target_lufs=target_lufs)


def _audio(
    source: str | Path,
    media: Media,
    plan: AudioPlan,
    gain_db: float,
    bench: Bench,
    name: str,
    on_growth: OnGrowth | None,
) -> Made | Nothing:
    path = bench.folder / name
    arguments = command.audio(source, media, plan, gain_db=gain_db, name=name)
    look = workbench.looking(_check_holes, on_growth) if plan.mode == "copy" else on_growth
    report = workbench.run(arguments, media, bench, growing=path, on_growth=look)
    is_there = path.exists() and path.stat().st_size > 0
    if plan.mode == "copy" and look is not None and is_there:
        look(path)  # a copy may be made before it is first asked for
    if verify.is_silent_track(media, report):
        return Nothing(None)
    found = workbench.only(workbench.scan([path], bench)[0], "audio") if is_there else None
    workbench.check_gaps(report, found, bench)
    loss = None
    try:
        verify.audio_source(media, report, end=found.end if found is not None else 0.0)
    except Failure as failure:
        if plan.mode == "copy" or not workbench.is_salvageable(failure, bench):
            raise
        if found is None:
            return Nothing(failure)
        loss = failure
    verify.audio_output(media, report, found, is_whole=loss is None)
    if plan.mode == "copy":
        verify.copied_audio(found, size_bytes=path.stat().st_size)
    assert found is not None  # `audio_output` saw to it
    return Made(
        path,
        "audio",
        "audio/mp4",
        is_copy=plan.mode == "copy",
        start_seconds=found.first,
        duration_seconds=found.end - max(found.first, 0.0),
        frames=found.packets,
        loudness=report.loudness,
        gain_db=gain_db,
        loss=loss,
    )


def _check_holes(there: Sequence[fragments.Fragment]) -> None:
    """Raise where copied sound has a hole, which only encoding fills with silence."""
    longest = max((one.duration_seconds for one in there), default=0.0)
    if longest > command.AUDIO_FRAGMENT_SECONDS + HOLE_SECONDS:
        raise Failure("output_invalid", f"the sound has a hole: nothing begins for {longest:.1f} s")
