"""One attempt at a step: what it works on and with, and how it reads the source and keeps its parts."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from watcher import encode, ffmpeg, ledger, media, names, plan, source, stats
from watcher.beat import Beat
from watcher.errors import Failure, Skip, SourceGone
from watcher.models import OutputKind, StepKind
from watcher.workshop import Workshop

# Reading the index of ten hours takes 15 s of processor time; one that takes more is made to.
INSPECT_CPU = timedelta(seconds=120)
# What a step may take that makes next to nothing: a slow machine, an odd codec, a long way to the first frame.
FREE_CPU = timedelta(minutes=10)
FREE_BYTES = 256 * 1024**2
MARGIN = 2  # of what the plan's bit rates, or a copy, should come to

Clock = Callable[[], datetime]

# Of programs that run side by side, the one whose media a viewer needs sooner gets the processors: each chunk
# stands back behind the one before. Beside the first chunk the second has a third of a processor, the fifth and
# later ones a seventh. More would starve films on machines that do other things as well.
NICENESS_OF_CHUNKS = (0, 3, 5, 7, 8)  # the last one repeats
# The first part of the sound takes no time, and the rest can wait, as still pictures can.
NICENESS = {StepKind.AUDIO: 4, StepKind.STILLS: 4, StepKind.STORYBOARD: 5, StepKind.STITCH: 4}


@dataclass(frozen=True, slots=True)
class Seat:
    """What an attempt may take of the machine."""

    threads: int | None = None  # as in `encode.Bench`
    # Called, once or more often, when only bytes are left to be moved, so that the next step can be made meanwhile.
    leave: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a step's work needs. `folder` is empty, its own, and gone afterwards."""

    claim: ledger.Claim
    shop: Workshop
    beat: Beat
    folder: Path
    clock: Clock
    # Announces what there is by now, if there is anything new. A step that publishes as it goes calls it: all
    # seats may be taken by such steps, for as long as a film takes.
    announce: Callable[[], None]
    seat: Seat = Seat()

    @property
    def place(self) -> str:
        """Where the video's outputs go: a prefix of object names, with a slash at its end."""
        return names.folder(self.shop.output_prefix, self.claim.name)

    @property
    def facts(self) -> media.Media:
        """What inspect found."""
        assert self.claim.media is not None  # recorded by the inspect step, with the plan
        return media.load(dict(self.claim.media))

    @property
    def plan(self) -> plan.Plan:
        """What inspect planned."""
        assert self.claim.plan is not None
        return plan.load(dict(self.claim.plan))

    def bench(self, start: float, end: float) -> encode.Bench:
        """Return what `encode` works with, for the share `start` to `end` (0..1) of the step's progress."""
        beat = self.beat.part(start, end)
        return encode.Bench(
            binary=self.shop.binary,
            folder=self.folder,
            beat=beat,
            limits=self._limits(),
            is_salvaging=self.shop.is_salvaging,
            threads=self.seat.threads,
        )

    @property
    def inspect_limits(self) -> ffmpeg.Limits:
        """What may be used to look at a source of which nothing is known yet."""
        return dataclasses.replace(self.shop.limits, cpu=INSPECT_CPU)

    def _limits(self) -> ffmpeg.Limits:
        """Return what a child may use to make this much video."""
        most = self.shop.limits
        seconds = _seconds(self.claim, self.facts, self.plan, most)
        rate = sum(rung.max_rate for rung in self.plan.rungs) / 8
        made = FREE_BYTES + MARGIN * (self.claim.size_bytes + seconds * rate)
        return dataclasses.replace(
            most,
            cpu=FREE_CPU + timedelta(seconds=seconds * self.shop.cpu_per_second),
            file_bytes=int(min(made, most.file_bytes or made)),
            nice=_niceness(self.claim),
        )

    @contextlib.contextmanager
    def source(self, *, wait: source.Wait | None = None) -> Iterator[str]:
        """Give the source's URL; `wait` keeps its reader back.

        What kept bytes from ffmpeg goes before whatever ffmpeg made of the lack.
        """
        claim = self.claim
        folder = self.shop.blocks(claim.video_id)
        size, beat = claim.size_bytes, self.beat
        with self.shop.server.open(claim.file_id, size, folder=folder, beat=beat, wait=wait) as opened:
            try:
                yield opened.url
            except (Failure, Skip):
                opened.check()
                raise
            opened.check()

    def keep(self, path: Path, sha1: str) -> None:
        """Keep the file of a part for `package`, which is likely to run here: it saves the download."""
        path.rename(self.shop.parts(self.claim.video_id) / sha1)

    def fetch(self, part: stats.Part, beat: Beat) -> Path:
        """Return the file of a part: as it was kept here, or downloaded."""
        here = self.shop.parts(self.claim.video_id) / part.sha1
        if here.is_file() and here.stat().st_size == part.size_bytes:
            return here
        path = self.folder / f"{part.kind}-{part.rung}-{part.ordinal}"
        try:
            self.shop.target.download(part.file_id, path, beat=beat)
        except SourceGone as error:  # which means the film everywhere else
            where = self.shop.target.name
            raise Failure("part_lost", f"{part.name} is no longer in the bucket {where}") from error
        self.keep(path, part.sha1)  # `stitch` has it first, and `package` again
        return here


def _niceness(claim: ledger.Claim) -> int:
    if claim.kind == StepKind.VIDEO:
        return NICENESS_OF_CHUNKS[min(claim.ordinal, len(NICENESS_OF_CHUNKS) - 1)]
    return NICENESS.get(StepKind(claim.kind), 0)


def _seconds(claim: ledger.Claim, facts: media.Media, made: plan.Plan, most: ffmpeg.Limits) -> float:
    """Return how much video a step is about; what a container does not know for sure may be as much as allowed."""
    longest = most.media.total_seconds() if most.media is not None else 0.0
    known = [
        facts.duration_seconds,
        *(track.duration_seconds for track in (facts.video, facts.audio) if track),
    ]
    whole = max((seconds for seconds in known if seconds), default=longest)
    if not facts.is_duration_trusted:
        whole = longest
    if claim.kind != StepKind.VIDEO:
        return whole
    chunk = made.chunks[claim.ordinal]
    return max((whole if chunk.end_seconds is None else chunk.end_seconds) - chunk.start_seconds, 0.0)


def check_ordinals(parts: Sequence[stats.Part], expected: int) -> None:
    """Raise unless the recorded parts are `expected` many without a gap, and at least one."""
    found = [part.ordinal for part in parts]
    if not found or found != list(range(expected)):
        raise Failure("output_invalid", f"of {expected} parts only these are recorded: {found}")


def check_place(attempt: Attempt, parts: Sequence[stats.Part]) -> None:
    """Raise unless all parts lie where the playlists that name them go: the settings may have changed meanwhile."""
    here = attempt.shop.target.name
    for part in parts:
        is_named = part.kind != OutputKind.MP4_PART
        if is_named and (part.bucket != here or not part.name.startswith(attempt.place)):
            raise Failure(
                "part_lost",
                f"{part.name!r} lies in the bucket {part.bucket!r}, and the playlists go to {attempt.place!r}"
                f" in {here!r}: OUTPUT_PREFIX or OUTPUT_BUCKET_NAME was changed before the video was complete",
            )
