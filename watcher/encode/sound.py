"""Makes the sound."""

import dataclasses
from pathlib import Path

from watcher import command, verify
from watcher.encode import workbench
from watcher.encode.workbench import Bench, Made, OnGrowth
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import AudioPlan


def audio(
    source: str | Path, media: Media, plan: AudioPlan, bench: Bench, on_growth: OnGrowth | None = None
) -> Made:
    """Make the audio part; what was meant to be copied but does not verify is encoded.

    `on_growth` as for `video`.
    """
    try:
        return _audio(source, media, plan, bench, command.AUDIO, on_growth)
    except Failure as failure:
        if plan.mode != "copy" or failure.code not in workbench.MENDABLE:
            raise
    plan = dataclasses.replace(plan, mode="encode")
    return _audio(source, media, plan, bench, command.AGAIN + command.AUDIO, on_growth)


def _audio(
    source: str | Path, media: Media, plan: AudioPlan, bench: Bench, name: str, on_growth: OnGrowth | None
) -> Made:
    path = bench.folder / name
    report = workbench.run(
        command.audio(source, media, plan, name=name), media, bench, growing=path, on_growth=on_growth
    )
    found = workbench.only(workbench.scan(path, bench, "packets"), "audio")
    verify.audio_source(media, report, end=found.end if found is not None else 0.0)
    verify.audio_output(media, report, found)
    if found is None:
        raise Failure("output_invalid", "the output has no sound")
    return Made(
        path,
        "audio",
        "audio/mp4",
        is_copy=plan.mode == "copy",
        start_seconds=found.first,
        duration_seconds=found.end - max(found.first, 0.0),
        frames=found.packets,
    )
