"""What the table says of one video, held against its own events. Pure: rows in, violations out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from watcher.invariants.broken import Broken
from watcher.models import NO_RUN, STEP_UNFINISHED, UNFINISHED, OutputKind, StepKind, StepStatus, VideoStatus
from watcher.stats import Story

# What ends an attempt and leaves the video running.
_ENDS = ("finished", "retried", "handed_back", "rescued")
# What ends the video, by the event that tells of it, and the states it may come from.
_LAST = {
    "failed": VideoStatus.FAILED,
    "skipped": VideoStatus.SKIPPED,
    "cancelled": VideoStatus.CANCELLED,
    "completed": VideoStatus.COMPLETED,
}


def check(story: Story, *, max_attempts: int) -> Iterator[Broken]:
    """Yield what can never be right, whether or not somebody works on the video."""
    told = _Told()
    for event in story.events:
        for what in told.hear(event):
            yield Broken("illegal", what, story.video.id)
    for label in told.again:
        yield Broken("twice", f"step {label} was finished and then started again", story.video.id)
    yield from _agreement(story, told)
    yield from _results(story, told)
    for step in story.steps:
        if step.attempts > max_attempts:
            what = f"step {_label(step)} was tried {step.attempts} times, of {max_attempts}"
            yield Broken("attempts", what, story.video.id)
    can_move = any(step.status in (StepStatus.PENDING, StepStatus.RUNNING) for step in story.steps)
    if story.video.status in UNFINISHED and not can_move:
        yield Broken("stuck", f"it is {story.video.status}, and no step can run", story.video.id)
    if story.video.status not in UNFINISHED:
        for step in story.steps:
            if step.status in STEP_UNFINISHED:
                what = f"it is {story.video.status}, and step {_label(step)} is {step.status}"
                yield Broken("illegal", what, story.video.id)


def check_is_over(story: Story) -> Iterator[Broken]:
    """Yield what may only be while work is under way."""
    if story.video.status in UNFINISHED:
        yield Broken("unfinished", f"it is {story.video.status}", story.video.id)
    for step in story.steps:
        if step.lease_until is not None or step.token is not None or step.worker is not None:
            yield Broken("leftover", f"step {_label(step)} is still leased to {step.worker}", story.video.id)
    for output in story.outputs:
        if output.obsolete_at is not None or output.run == NO_RUN:
            yield Broken("leftover", f"the obsolete {output.name} was not deleted", story.video.id)


@dataclass
class _Told:
    """What the events told so far say of the state."""

    status: VideoStatus | None = None
    running: dict[str, str | None] = field(default_factory=dict)  # token by step
    done: set[str] = field(default_factory=set)  # steps finished in the present run
    tokens: set[str] = field(default_factory=set)  # of all attempts that finished
    again: list[str] = field(default_factory=list)  # steps that were started after they had finished

    def hear(self, event: Any) -> Iterator[str]:
        """Take the next event; yield what is wrong with it."""
        if event.what == "started":
            yield from self._start(event)
        elif event.what in _ENDS:
            yield from self._end(event)
        elif event.what in _LAST:
            yield from self._over(event)
        elif event.what == "adopted":
            yield from self._adopt(event)
        elif event.what in ("discovered", "revived", "requeued"):
            if (event.what == "discovered") != (self.status is None) or self.status in UNFINISHED:
                yield f"it was {event.what} while it was {self.status or 'unknown'}"
            self.status = VideoStatus.PENDING
            self.running.clear()
            detail = event.detail or {}
            if event.what == "revived" or detail.get("from_scratch") or detail.get("run"):
                self.done.clear()
        else:
            yield f"the event {event.what!r} is none of those that are known"

    def _adopt(self, event: Any) -> Iterator[str]:
        """What was published is known again: whatever was under way for it is over, and `completed` follows."""
        if self.status in (None, VideoStatus.CANCELLED):
            yield f"it was adopted while it was {self.status or 'unknown'}"
        self.status = VideoStatus.RUNNING
        self.running.clear()
        self.done.clear()
        self.tokens.add(str((event.detail or {}).get("token")))

    def _start(self, event: Any) -> Iterator[str]:
        if self.status not in UNFINISHED:
            yield f"step {event.step} was started while it was {self.status or 'unknown'}"
        if event.step in self.running:
            yield f"step {event.step} was started while it was running already"
        if event.step in self.done and event.step != StepKind.ANNOUNCE:
            self.again.append(event.step)
        self.status = VideoStatus.RUNNING
        self.running[event.step] = (event.detail or {}).get("token")

    def _end(self, event: Any) -> Iterator[str]:
        if event.step not in self.running:
            yield f"step {event.step} was {event.what} while it was not running"
        token = self.running.pop(event.step, None)
        if event.what == "finished":
            self.done.add(event.step)
            if token is not None:
                self.tokens.add(token)

    def _over(self, event: Any) -> Iterator[str]:
        if self.status not in UNFINISHED:
            yield f"it was {event.what} while it was {self.status or 'unknown'}"
        if event.step is not None and event.step not in self.running:
            yield f"step {event.step} was {event.what} while it was not running"
        self.status = _LAST[event.what]
        self.running.clear()


def _agreement(story: Story, told: _Told) -> Iterator[Broken]:
    """Yield where the rows are not what the events say."""
    if told.status != story.video.status:
        what = f"it is {story.video.status}, and its events make it {told.status}"
        yield Broken("illegal", what, story.video.id)
    running = {_label(step): step.token for step in story.steps if step.status == StepStatus.RUNNING}
    if running.keys() != told.running.keys():
        what = f"running are {sorted(running)}, and by its events {sorted(told.running)}"
        yield Broken("illegal", what, story.video.id)
    elif any(told.running[step] not in (None, token) for step, token in running.items()):
        yield Broken("twice", "a running step has another owner than the events say", story.video.id)


def _results(story: Story, told: _Told) -> Iterator[Broken]:
    """Yield where more than one result counts, or one that is not the last owner's."""
    live = [output for output in story.outputs if output.obsolete_at is None and output.run != NO_RUN]
    places: dict[tuple[Any, ...], str] = {}
    names: dict[tuple[str, str], str] = {}
    owners = told.tokens | {token for token in told.running.values() if token is not None}
    for output in live:
        place = (output.run, output.kind, output.rung, output.ordinal)
        if place in places:
            yield Broken("twice", f"{places[place]} and {output.name} are the same part", story.video.id)
        places[place] = output.name
        if (output.bucket, output.name) in names:
            yield Broken("twice", f"{output.name} is recorded in two versions", story.video.id)
        names[output.bucket, output.name] = output.file_id
        if owners and output.token is not None and output.token not in owners:
            what = f"{output.name} counts, and its attempt neither finished nor runs"
            yield Broken("twice", what, story.video.id)
    if story.video.status == VideoStatus.COMPLETED and story.video.reason is None:
        kinds = {output.kind for output in live if output.run == story.video.run}
        for kind in (OutputKind.MP4, OutputKind.POSTER, OutputKind.HLS, OutputKind.PLAYLIST):
            if kind not in kinds:
                yield Broken("missing", f"it is completed, and has no {kind}", story.video.id)


def _label(step: Any) -> str:
    return step.kind if step.ordinal == 0 else f"{step.kind}:{step.ordinal}"
