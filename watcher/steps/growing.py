"""Publishes a fragmented file in parts while ffmpeg still writes it, so that it plays before it is done."""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from watcher import crashpoint, encode, fragments, ledger, log, playlists, publish
from watcher import names as naming
from watcher.errors import Stopped
from watcher.models import OutputKind
from watcher.steps.attempt import Attempt

# Seconds of each part at least; the last one repeats. A viewer waits for the first; later each object costs a call.
PART_SECONDS = (2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
# What the first one has if it is there at once: a viewer who comes to its end has to ask for what is new first.
FIRST_SECONDS = 4.0

_log = log.get()


class Growing:
    """The published parts of one growing file. All calls come from the thread of the step."""

    def __init__(
        self, attempt: Attempt, kind: OutputKind, *, width: int | None = None, height: int | None = None
    ) -> None:
        self._attempt = attempt
        self._kind = kind
        self._width = width
        self._height = height
        self._path: Path | None = None
        self._given_up = 0  # files that were dropped for another: their parts' names are not used again
        self._fragments = 0  # published so far
        self._parts = 0
        self.seconds = 0.0  # of what ffmpeg has written, published or not

    @property
    def is_playable(self) -> bool:
        """Whether what a viewer begins with is published."""
        return self._parts > 0

    def grow(self, path: Path) -> None:
        """Publish and record the fragments that have come to the file, once they make up a part."""
        layout = self._read(path)
        self.seconds = sum(one.duration_seconds for one in layout.fragments)
        # The last fragment may not be all there yet, or be cut short by the end: it waits for the next.
        there = layout.fragments[self._fragments : -1]
        more = fragments_of_part([one.duration_seconds for one in there], self._parts)
        if more is None:
            return
        output = self._upload(path, layout, self._fragments + more)
        attempt = self._attempt
        if not ledger.publish(attempt.shop.db, attempt.claim, outputs=[output], now=attempt.clock()):
            publish.withdraw(attempt.shop.target, [output])
            raise Stopped
        attempt.announce()

    def finish(self, made: encode.Made) -> bool:
        """Publish the rest of the finished and verified file, and complete the step; False when it was lost."""
        attempt = self._attempt
        layout = self._read(made.path)
        publish.check_whole(layout)
        # Sound says itself how long its last fragment is; a picture's last frame is shown until the end.
        end = made.end_seconds if self._kind == OutputKind.VIDEO_PART else None
        output = self._upload(made.path, layout, len(layout.fragments), end_seconds=end)
        output = replace(output, frames=made.frames)
        crashpoint.here("grown")
        won = ledger.finish(
            attempt.shop.db,
            attempt.claim,
            outputs=[output],
            now=attempt.clock(),
            sound=_heard(made),
            loss=made.loss,
        )
        if won:
            loudness = made.loudness.lufs if made.loudness else None
            _log.info(
                "made",
                parts=self._parts,
                frames=made.frames,
                is_copy=made.is_copy,
                **({} if loudness is None else {"lufs": loudness, "gain_db": made.gain_db}),
            )
        else:
            publish.withdraw(attempt.shop.target, [output])
        return won

    def _read(self, path: Path) -> fragments.Layout:
        if path != self._path:
            if self._parts:
                attempt = self._attempt
                if not ledger.retract(attempt.shop.db, attempt.claim, now=attempt.clock()):
                    raise Stopped
            self._given_up += self._path is not None
            self._path, self._fragments, self._parts = path, 0, 0
        with path.open("rb") as file:
            return fragments.read(file)

    def _upload(
        self, path: Path, layout: fragments.Layout, end: int, *, end_seconds: float | None = None
    ) -> ledger.NewOutput:
        """Upload the fragments up to `end` that are not published yet, as one object."""
        attempt, first = self._attempt, self._fragments
        part = attempt.folder / f"part-{self._parts}"
        start_byte, end_byte = playlists.span(layout, first=first, end=end)
        publish.cut(path, part, start_byte, end_byte)
        made = encode.Made(
            path=part,
            kind="video" if self._kind == OutputKind.VIDEO_PART else "audio",
            content_type="video/mp4" if self._kind == OutputKind.VIDEO_PART else "audio/mp4",
            is_copy=True,
            width=self._width,
            height=self._height,
            duration_seconds=sum(one.duration_seconds for one in layout.fragments[first:end]),
        )
        kind = f"{attempt.claim.kind}{publish.rung(made) or ''}{'b' * self._given_up}"
        output = publish.upload(
            attempt.shop.target,
            made,
            kind=self._kind,
            ordinal=self._parts,
            name=naming.part(attempt.place, kind, self._parts, attempt.claim.token),
            claim=attempt.claim,
            beat=attempt.beat.part(0.0, 0.0),
            byte_ranges=publish.byte_ranges(path, first=first, end=end, end_seconds=end_seconds),
        )
        attempt.keep(part, output.sha1)
        self._fragments, self._parts = end, self._parts + 1
        return output


def fragments_of_part(seconds: Sequence[float], number: int) -> int | None:
    """Return how many of the fragments that are there, each `seconds` long, part `number` takes; None: it waits."""
    ends = list(itertools.accumulate(seconds))
    if not ends or ends[-1] < PART_SECONDS[min(number, len(PART_SECONDS) - 1)]:
        return None
    if number > 0:
        return len(ends)
    # A viewer waits for no more of the first part than it takes: a copy may be far ahead already.
    return bisect.bisect_left(ends, min(FIRST_SECONDS, ends[-1])) + 1


def _heard(made: encode.Made) -> ledger.NewSound | None:
    if made.loudness is None:
        return None
    return ledger.NewSound(made.loudness.lufs, made.loudness.peak_dbfs, made.gain_db)
