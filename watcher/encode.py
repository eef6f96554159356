"""Makes the parts of an output in a folder, and hands them over only when they were verified.

Each function runs ffmpeg through its door, measures what came out, and raises what `verify` raises. It knows
nothing of steps or of where outputs go.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from watcher import command, ffmpeg, fragments, transcript, verify
from watcher import plan as plans
from watcher.beat import Beat
from watcher.errors import Failure
from watcher.media import Media
from watcher.plan import AudioPlan, Chunk, Plan, StillsPlan, VideoPlan

# The share of a step's time that ffmpeg takes; checking the output takes the rest.
ENCODING_SHARE = 0.95
IMAGE_FORMAT = "jpeg_pipe"  # of PyAV, for our own poster only
# A copy that fails in these ways may still be encoded; in others the source is to blame either way.
MENDABLE = ("output_invalid", "encode_failed", "source_damaged")
STITCHED = "stitched.mp4"
COPY_BYTES = 1024 * 1024

OnGrowth = Callable[[Path], None]


@dataclass(frozen=True)
class Made:
    """One verified file. Sizes in pixels; None where it makes no sense for the kind."""

    path: Path
    kind: Literal["video", "audio", "poster", "mp4", "playlist"]
    content_type: str
    is_copy: bool
    width: int | None = None
    height: int | None = None
    start_seconds: float | None = None  # when its first frame is shown, on the clock of the whole video
    duration_seconds: float | None = None
    frames: int | None = None
    rung: str | None = None  # the rung's name, of a picture

    @property
    def end_seconds(self) -> float | None:
        """When its last frame is over, on the clock of the whole video."""
        if self.start_seconds is None or self.duration_seconds is None:
            return None
        return self.start_seconds + self.duration_seconds


@dataclass(frozen=True)
class Bench:
    """Where and with what a step works."""

    binary: Path
    folder: Path
    beat: Beat
    limits: ffmpeg.Limits


def video(
    source: str | Path, media: Media, plan: VideoPlan, bench: Bench, on_growth: OnGrowth | None = None
) -> Made:
    """Make the top rung in one piece; what was meant to be copied but does not verify is encoded.

    `on_growth` is called about twice a second, in this thread, with the file so far: whole fragments, and
    perhaps a part of one. A path that it was not given before means that the earlier file is given up.
    """
    try:
        return _video(source, media, plan, bench, command.VIDEO, on_growth)
    except Failure as failure:
        if plan.mode != "copy" or failure.code not in MENDABLE:
            raise
    plan = dataclasses.replace(plan, mode="encode")
    return _video(source, media, plan, bench, command.AGAIN + command.VIDEO, on_growth)


def video_chunk(
    source: str | Path, media: Media, plan: Plan, chunk: Chunk, bench: Bench, *, threads: int | None = None
) -> tuple[Made, ...]:
    """Encode one chunk: one file for each of the plan's `chunked_rungs`, with the same frames and keyframes.

    `threads` is for each decoder, filter and encoder; None leaves it to them.
    """
    rungs = plan.chunked_rungs
    arguments = command.video_chunk(source, media, plan, chunk, threads=threads)
    report = _run(arguments, media, bench, chunk=chunk)
    paths = [bench.folder / command.rung_file(rung) for rung in rungs]
    each = _probe_all(paths, bench, container=command.OWN_FORMAT, scan="start")
    found = [_only(facts["scan"], "video") for facts in each]
    if chunk.start_seconds > 0 and verify.has_errors(media, report):
        # Those on the way from the keyframe before belong to another chunk, or to a seek into the middle.
        before = _run(command.before_chunk(source, media, plan.video, chunk), media, bench)
        report = verify.without(report, before)
    verify.chunk_source(media, report, chunk, found[0])
    verify.chunk_output(media, report, chunk, found, is_paced=plan.video.frame_rate is not None)
    made = []
    for rung, path, facts, track in zip(rungs, paths, each, found, strict=True):
        assert track is not None  # `chunk_output` saw to it
        _check_picture(facts, rung.width, rung.height)
        shift = track.first - track.first_decode
        made.append(
            Made(
                path,
                "video",
                "video/mp4",
                is_copy=False,
                width=rung.width,
                height=rung.height,
                start_seconds=track.first_decode,
                duration_seconds=_chunk_length(media, chunk, track, shift),
                frames=track.packets,
                rung=rung.name,
            )
        )
    return tuple(made)


def audio(
    source: str | Path, media: Media, plan: AudioPlan, bench: Bench, on_growth: OnGrowth | None = None
) -> Made:
    """Make the audio part; what was meant to be copied but does not verify is encoded.

    `on_growth` as for `video`.
    """
    try:
        return _audio(source, media, plan, bench, command.AUDIO, on_growth)
    except Failure as failure:
        if plan.mode != "copy" or failure.code not in MENDABLE:
            raise
    plan = dataclasses.replace(plan, mode="encode")
    return _audio(source, media, plan, bench, command.AGAIN + command.AUDIO, on_growth)


def stills(source: str | Path, media: Media, plan: StillsPlan, bench: Bench) -> Made:
    """Make the poster, from keyframes where there are any."""
    poster = bench.folder / command.POSTER
    for keyframes_only in (True, False):
        arguments = command.poster(
            source, media, width=plan.width, height=plan.height, keyframes_only=keyframes_only
        )
        try:
            _run(arguments, media, bench)
        except Failure as failure:
            # Without a single keyframe nothing reaches the encoder, which is an error for ffmpeg.
            if not keyframes_only or failure.code != "encode_failed":
                raise
        if poster.exists() and poster.stat().st_size > 0:
            break
    else:
        raise Failure("output_invalid", "ffmpeg made no poster")
    found = _probe(poster, bench, container=IMAGE_FORMAT, scan="none")
    picture = (found["video"] or {}).get("picture") or {}
    if (picture.get("width"), picture.get("height")) != (plan.width, plan.height):
        raise Failure("output_invalid", "the poster cannot be decoded, or has the wrong size")
    return Made(poster, "poster", "image/jpeg", is_copy=False, width=plan.width, height=plan.height)


def package(parts: Sequence[Path], audio: Path | None, media: Media, plan: VideoPlan, bench: Bench) -> Made:
    """Stitch the video parts (of the top rung, in order) and the audio part into the MP4 for viewers, by copy."""
    whole = _stitched(parts, bench)
    picture = _only(_scan(whole, bench, "packets"), "video")
    sound = _only(_scan(audio, bench, "packets"), "audio") if audio is not None else None
    if picture is None or (audio is not None and sound is None):
        raise Failure("output_invalid", "a part that was made earlier holds no track")
    verify.stitched(media, picture, is_paced=plan.frame_rate is not None)
    # In a part the first frame is decoded when it is shown; what lies between is libavformat's own doing.
    shift = picture.first - picture.first_decode
    _run(command.package(whole, audio, video_shift=shift), media, bench)
    path = bench.folder / command.PACKAGE
    is_first = _is_index_first(path)
    made = _scan(path, bench, "packets")
    picture, sound = verify.package(media, made, picture, sound, is_index_first=is_first)
    return Made(
        path,
        "mp4",
        "video/mp4",
        is_copy=True,
        width=plan.width,
        height=plan.height,
        start_seconds=picture.first,
        duration_seconds=max(picture.end, sound.end if sound is not None else 0.0),
        frames=picture.packets,
    )


def _video(
    source: str | Path, media: Media, plan: VideoPlan, bench: Bench, name: str, on_growth: OnGrowth | None
) -> Made:
    path = bench.folder / name
    report = _run(
        command.video(source, media, plan, name=name), media, bench, growing=path, on_growth=on_growth
    )
    scan: Literal["start", "keyframes"] = "keyframes" if plan.mode == "copy" else "start"
    facts = _probe(path, bench, container=command.OWN_FORMAT, scan=scan)
    found = _only(facts["scan"], "video")
    shift = found.first - found.first_decode if found is not None else 0.0
    verify.video_source(media, report, end=found.end - shift if found is not None else 0.0)
    is_copy, is_paced = plan.mode == "copy", plan.frame_rate is not None
    verify.video_output(media, report, found, is_copy=is_copy, is_paced=is_paced)
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
        duration_seconds=found.length or found.end - found.first,
        frames=found.packets,
        rung=plans.top(plan).name,
    )


def _check_picture(facts: dict[str, Any], width: int, height: int) -> None:
    track = next(one for one in facts["streams"] if one["type"] == "video")
    expected = ("h264", width, height, "yuv420p")
    if (track["codec"], track["width"], track["height"], track["pixel_format"]) != expected:
        raise Failure("output_invalid", f"the picture is not {expected}: {track}")


def _chunk_length(media: Media, chunk: Chunk, found: verify.Found, shift: float) -> float:
    """How long a chunk plays: until the next one begins, as its own file cannot tell."""
    if chunk.end_seconds is not None:
        return chunk.end_seconds - found.first_decode
    return found.length or found.end - shift - found.first_decode


def _stitched(parts: Sequence[Path], bench: Bench) -> Path:
    """Return one file with the fragments of all `parts`, whose times go on from one to the next."""
    if len(parts) == 1:
        return parts[0]
    whole = bench.folder / STITCHED
    first = b""
    with whole.open("wb") as target:
        for number, part in enumerate(parts):
            with part.open("rb") as file:
                size = fragments.read(file).init_size
                file.seek(0)
                init = file.read(size)
                if number == 0:
                    first = init
                    target.write(init)
                elif not fragments.is_same_init(first, init):
                    raise Failure(
                        "output_invalid", f"part {number} was encoded differently from the first one"
                    )
                bench.beat.advance()
                shutil.copyfileobj(file, target, COPY_BYTES)
    return whole


def _audio(
    source: str | Path, media: Media, plan: AudioPlan, bench: Bench, name: str, on_growth: OnGrowth | None
) -> Made:
    path = bench.folder / name
    report = _run(
        command.audio(source, media, plan, name=name), media, bench, growing=path, on_growth=on_growth
    )
    found = _only(_scan(path, bench, "packets"), "audio")
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


def _run(
    arguments: list[str],
    media: Media,
    bench: Bench,
    *,
    chunk: Chunk | None = None,
    growing: Path | None = None,
    on_growth: OnGrowth | None = None,
) -> transcript.Report:
    known = media.duration_seconds if media.is_duration_trusted else None
    if chunk is not None:  # progress is told on the video's clock, whatever part of it is encoded
        known = chunk.end_seconds or known
    bench.beat.window(0.0, ENCODING_SHARE)

    def grow() -> None:
        if growing is not None and on_growth is not None and growing.exists():
            on_growth(growing)

    return ffmpeg.run(
        arguments,
        binary=bench.binary,
        folder=bench.folder,
        beat=bench.beat,
        limits=bench.limits,
        duration=timedelta(seconds=known) if known else None,
        on_progress=grow,
    )


def _scan(path: Path, bench: Bench, scan: Literal["packets", "keyframes"]) -> dict[str, Any]:
    found: dict[str, Any] = _probe(path, bench, container=command.OWN_FORMAT, scan=scan)["scan"]
    return found


def _probe(
    path: Path, bench: Bench, *, container: str, scan: Literal["none", "packets", "start", "keyframes"]
) -> dict[str, Any]:
    return _probe_all([path], bench, container=container, scan=scan)[0]


def _probe_all(
    paths: Sequence[Path],
    bench: Bench,
    *,
    container: str,
    scan: Literal["none", "packets", "start", "keyframes"],
) -> list[dict[str, Any]]:
    bench.beat.window(ENCODING_SHARE, 1.0)
    try:
        return ffmpeg.probe(
            paths,
            folder=bench.folder,
            beat=bench.beat,
            limits=bench.limits,
            container=container,
            scan=scan,
            formats=(container,),
            protocols=command.protocols(paths[0]),
            max_streams=command.MAX_STREAMS,
            max_pixels=command.MAX_PIXELS,
        )
    except Failure as failure:
        # What cannot be read is ours: the source is not to blame.
        raise Failure("output_invalid", f"what ffmpeg made cannot be read: {failure.detail}") from failure


def _only(scan: dict[str, Any], kind: str) -> verify.Found | None:
    found = verify.tracks(scan, kind)
    return found[0] if len(found) == 1 and len(scan) == 1 else None


def _is_index_first(path: Path) -> bool:
    """Whether an MP4's `moov` box comes before its `mdat`."""
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, name = int.from_bytes(header[:4], "big"), header[4:]
            if name in (b"moov", b"mdat"):
                return name == b"moov"
            if size < 8:  # open-ended, or a length of 64 bits: nothing that comes before the index has it
                break
            file.seek(size - 8, 1)
    return False
