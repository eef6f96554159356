"""The daemon: APScheduler's short jobs, and seats that run the steps. Nothing here knows what a step does."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

from apscheduler.schedulers.background import BackgroundScheduler

from watcher import (
    config,
    crashpoint,
    database,
    discovery,
    ledger,
    leftovers,
    log,
    memory,
    pauses,
    plan,
    repair,
    retry,
    stats,
    steps,
    wallclock,
)
from watcher.beat import Beat
from watcher.errors import Failure, Outage, Stopped
from watcher.models import StepKind
from watcher.workshop import Workshop

# How often seats look for work that other processes, or the end of a back-off, made due. Steps that are
# unblocked here wake a seat at once.
DISPATCH = timedelta(seconds=1)
# How often expired leases are looked for, and what is obsolete is cleared away.
TIDY = timedelta(seconds=15)
# How often progress is written, for those who watch it; a write takes milliseconds.
RENEW = timedelta(seconds=2)
# A tick that takes longer hangs: a call to B2 is given up after two minutes at most, three tries make six.
TICK_PATIENCE = timedelta(minutes=8)
# So many chunks of a film, its last, have all processors: they are short, and end when nothing else of it is made.
LATE_CHUNKS = 2

_log = log.get()


def now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


class Daemon:
    """One process's share of the work. `with` starts it; leaving drains it."""

    def __init__(self, shop: Workshop, *, seats: int, poll_every: timedelta, drain: timedelta) -> None:
        self._shop = shop
        self._seats = seats
        self._poll_every = poll_every
        self._drain = drain
        self._running: dict[int, tuple[ledger.Claim, Beat]] = {}
        self._seated: dict[int, datetime] = {}  # of the running steps those with a seat, and when each is due
        self._claiming = threading.Lock()  # held from the look at free seats until one is taken
        self._lock = threading.Lock()
        self._sweeping_up = threading.Lock()  # held while folders are removed: no step begins in one of them
        self._wake = threading.Condition()
        self._news = 0  # counts what may have made a step due, so that a seat about to wait misses none
        self._stopping = threading.Event()
        self._polled = 0  # complete sweeps
        self._pauses = pauses.Pauses(shop.db, worker=shop.scratch.worker, clock=now)
        self._wall = wallclock.WallClock(now)
        self._heeding = threading.Lock()  # held until all is planned anew: nobody goes by a new clock before
        self._alone: int | None = None  # the step beside which no other may run
        self._rescues_from = 0.0  # on the monotonic clock
        self._absences = discovery.Absences()
        self._was_idle = False  # when `wait` ended
        self._outages = 0  # polls in a row that B2 did not answer
        self._threads: list[threading.Thread] = []
        self._due: dict[str, float] = {}  # until when each tick has to move again, on the monotonic clock
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def __enter__(self) -> Self:
        shop = self._shop
        repair.catch_up(
            shop.db, shop.readings, shop.watched, shop.target, output_prefix=shop.output_prefix, clock=now
        )
        memory.share_one_heap()
        leftovers.bury_the_dead(shop, clock=now)
        for job, every in (
            (self._poll, self._poll_every),
            (self._dispatch, DISPATCH),
            (self._renew, min(RENEW, self._shop.lease / 6)),  # several chances before a lease runs out
            (self._tidy, TIDY),
        ):
            self._expect(job.__name__, every)
            self._scheduler.add_job(
                self._tick, "interval", args=[job, every], seconds=every.total_seconds(), next_run_time=now()
            )
        self._scheduler.start()
        # Beside those in the seats: one that overtakes, and as many that only move bytes any more.
        for number in range(2 * self._seats + 1):
            # Not waited for by the interpreter: drain has its bound, and ffmpeg dies with its parent.
            thread = threading.Thread(target=self._work_on, name=f"worker-{number + 1}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + self._drain.total_seconds()
        self.stop()
        # Not waited for: a tick may hang in a call to B2 for minutes, and none has anything to lose.
        self._scheduler.shutdown(wait=False)
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
        if self._was_idle:  # only now: a seat may have noted what it left when it found its step lost
            pauses.through(self._tidy_all)
        pauses.through(self._tidy_scratch)
        pauses.through(self._count_transactions)
        self._pauses.leave()

    def stop(self) -> None:
        """Take no more work, and have running steps hand theirs back."""
        self._stopping.set()
        with self._lock:
            for _, beat in self._running.values():
                beat.stop(Stopped())
        self._notify()

    def wait(self, *, until_idle: bool = False, tick: Callable[[], None] | None = None) -> bool:
        """Block until `stop` is called: False; or with `until_idle` until a sweep found nothing unfinished: True.

        Raises what `database.demand_in_place` and `Scratch.demand_in_place` raise.
        """
        # Only with `until_idle` somebody waits for the end; otherwise each look costs an idle daemon CPU time.
        while not self._stopping.wait(0.2 if until_idle else 1.0):
            database.demand_in_place(self._shop.db)
            self._shop.scratch.demand_in_place()
            if tick is not None:
                tick()
            pauses.through(self._heed_the_clock)
            if until_idle and self._is_idle():
                self._was_idle = True
                return True
        return False

    def _heed_the_clock(self) -> datetime:
        """Return the time, and put right what was planned by a wall clock that has been set since."""
        with self._heeding:
            at, step = self._wall.read()
            if step is not None:
                self._plan_anew(step)
        return at

    def late(self) -> list[str]:
        """Name what should have moved by now and did not: ticks that hang, and steps that cannot be stopped."""
        at = time.monotonic()
        late = [name.strip("_") for name, due in self._due.items() if at > due]
        hung = self._shop.stall + TICK_PATIENCE
        with self._lock:
            running = list(self._running.values())
        return late + [c.label for c, beat in running if at - beat.advanced_at > hung.total_seconds()]

    def _tick(self, job: Callable[[], None], every: timedelta) -> None:
        pauses.through(job)
        self._expect(job.__name__, every)

    def _expect(self, name: str, pause: timedelta) -> None:
        """Note that a tick moved now, and has to move again after `pause`."""
        self._due[name] = time.monotonic() + (pause + TICK_PATIENCE).total_seconds()

    def _plan_anew(self, step: timedelta) -> None:
        _log.warning("clock_was_set", by=str(step), hint="ticks and waits are planned anew")
        # Leases look as if they had run out; whoever lives renews his before this.
        self._rescues_from = time.monotonic() + self._shop.lease.total_seconds()
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=now())
        if step < timedelta():
            ledger.end_waits(self._shop.db, now=now())
            self._notify()

    def _is_idle(self) -> bool:
        readings = self._shop.readings
        try:
            is_done = self._polled > 0 and stats.count_unfinished(readings) == 0
            return is_done and not stats.awaits_debris(readings, now=now())
        except Outage:  # of the database: the ticks tell of it
            return False

    def _work_on(self) -> None:
        while not self._stopping.is_set():
            news = self._news
            if (pause := self._pauses.wait_seconds()) > 0:
                self._stopping.wait(pause)
                continue
            try:
                if not self._work():
                    self._wait_for_news(news)
            except Outage as outage:  # of the database: the step's lease will run out
                _log.warning("seat_paused", code=outage.code, error=outage.detail, hint=outage.hint)
                self._stopping.wait(retry.FIRST.total_seconds())
            except Exception:  # noqa: BLE001 - a daemon whose seats are gone looks alive and does nothing
                _log.exception("seat_failed")
                self._stopping.wait(retry.FIRST.total_seconds())

    def _wait_for_news(self, seen: int) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._news != seen or self._stopping.is_set())

    def _work(self) -> bool:
        """Run the earliest due step; False when there is none, or no seat for it."""
        shop, beat = self._shop, Beat()
        if not self._has_room():
            return True  # after the pause
        with self._claiming:
            taken = self._take(beat)
        if taken is None:
            return False
        claim, threads = taken
        if self._stopping.is_set():
            beat.stop(Stopped())  # it was set between the claim and its entry among the running
        leave = functools.partial(self._leave, claim)
        crashpoint.here("claim")
        try:
            if claim.is_suspect:
                self._wait_to_be_alone(claim.step_id, beat)
            outage = steps.perform(claim, shop, beat, clock=now, seat=steps.Seat(threads, leave))
        finally:
            with self._lock:
                del self._running[claim.step_id]
                self._seated.pop(claim.step_id, None)
            if claim.is_suspect:
                self._alone = None
        self._pauses.note_attempt(claim.video_id, outage)
        self._tidy_scratch()
        self._notify()  # its siblings may be unblocked
        return True

    def _has_room(self) -> bool:
        """Whether there is room on the disk for a step; a pause of the work begins when there is none."""
        if (outage := leftovers.lacks_room(self._shop)) is not None:
            self._tidy_scratch()
            outage = leftovers.lacks_room(self._shop)
        self._pauses.note_room(outage)
        return outage is None

    def _wait_to_be_alone(self, step_id: int, beat: Beat) -> None:
        """Wait until no other step runs here: one that kills its worker each time must not use up their attempts."""
        with contextlib.suppress(Stopped, Failure):  # which the step itself meets and records
            while True:
                with self._lock:
                    if set(self._running) == {step_id}:
                        return
                beat.advance()
                beat.wait(0.2)

    def _take(self, beat: Beat) -> tuple[ledger.Claim, int] | None:
        """Claim the earliest due step if a seat is free for it; return it with the threads it may use.

        When all seats are taken, one step may overtake: one that is due before another that holds a seat. So a
        short clip does not wait for the chunks of a film, which are as long as a minute.
        """
        shop = self._shop
        if self._alone is not None:
            return None
        with self._lock:
            dues = list(self._seated.values())
        if len(dues) > self._seats:
            return None
        latest = max(dues) if len(dues) == self._seats else None
        claim = ledger.claim(shop.db, worker=shop.scratch.worker, now=now(), lease=shop.lease, before=latest)
        if claim is None:
            return None
        # Before it holds a seat, which it would not leave where its plan cannot be read.
        is_late = _is_late(claim)
        with self._sweeping_up, self._lock:
            self._running[claim.step_id] = claim, beat
            # Sound takes next to nothing, and stands back; stitching is soon done.
            working = [self._running[step_id][0] for step_id in self._seated]
            rivals = [one.due_at for one in working if one.kind not in (StepKind.AUDIO, StepKind.STITCH)]
            self._seated[claim.step_id] = claim.due_at
        if claim.is_suspect:
            self._alone = claim.step_id
        # More threads than processors cost memory, and some time: those that run together share them. What is
        # due first has all of them, and the niceness of the others lets it.
        is_first = all(claim.due_at < due for due in rivals)
        cores = config.cores()
        return claim, cores if is_first or is_late else max(1, cores // (len(rivals) + 1))

    def _leave(self, claim: ledger.Claim) -> None:
        with self._lock:
            running = self._running.get(claim.step_id)
            # A reader of the source may outlive its attempt, and the next one at the same step has a seat of its own.
            is_mine = running is not None and running[0].token == claim.token
            left = self._seated.pop(claim.step_id, None) if is_mine else None
        if left is not None:
            self._notify()

    def _poll(self) -> None:
        if self._stopping.is_set():
            return
        shop = self._shop
        try:
            new = discovery.sweep(
                shop.db,
                shop.readings,
                shop.watched,
                clock=now,
                go_on=self._goes_on_polling,
                absences=self._absences,
            )
        except Outage as outage:
            self._outages += 1
            wait = retry.delay(self._outages, spread=shop.scratch.worker)
            pause = max(wait, outage.retry_after or timedelta())
            self._pauses.note_poll(outage, pause)
            self._expect(self._poll.__name__, pause)
            self._stopping.wait(pause.total_seconds())  # max_instances=1: no other poll starts meanwhile
            return
        self._outages = 0
        self._polled += 1
        self._pauses.note_poll(None)
        if new:
            self._notify()

    def _goes_on_polling(self) -> bool:
        """Note that a page is done: a sweep of a large bucket takes as long as it takes."""
        self._expect(self._poll.__name__, timedelta())
        return not self._stopping.is_set()

    def _dispatch(self) -> None:
        with self._lock:
            is_full = len(self._seated) > self._seats
        if not is_full and stats.has_due_step(self._shop.readings, now()):
            self._notify()

    def _notify(self) -> None:
        with self._wake:
            self._news += 1
            self._wake.notify_all()

    def _renew(self) -> None:
        """Renew the leases of the steps whose work advanced; stop those that stalled, or were lost."""
        shop = self._shop
        with self._lock:
            running = list(self._running.values())
        for claim, beat in running:
            still = time.monotonic() - beat.advanced_at
            if still > shop.stall.total_seconds():
                beat.stop(Failure("stalled", f"step {claim.label} made no progress for {still:.0f} s"))
            elif not ledger.renew(shop.db, claim, fraction=beat.fraction, now=now(), lease=shop.lease):
                beat.stop(Stopped())

    def _tidy(self) -> None:
        """Rescue steps whose lease ran out; clear away in B2 and on disk what nobody may read."""
        # First our own: after the machine was suspended, or starved, their leases are over and they are not lost.
        self._renew()
        shop, at = self._shop, self._heed_the_clock()
        if time.monotonic() >= self._rescues_from:
            leftovers.rescue(shop, now=at)
        self._tidy_scratch()
        self._count_transactions()
        steps.clear_away(self._shop, now=at, go_on=lambda: not self._stopping.is_set())
        if not self._running:
            memory.give_back()

    def _tidy_all(self) -> None:
        """Tidy until nothing is left that can be cleared away: this run ends, and there may be no other."""
        self._tidy()
        while steps.clear_away(self._shop, now=now(), go_on=lambda: True):
            pass

    def _tidy_scratch(self) -> None:
        with self._sweeping_up:
            with self._lock:
                busy = {claim.video_id for claim, _ in self._running.values()}
            leftovers.forget_idle(self._shop, busy)

    def _count_transactions(self) -> None:
        ledger.count_transactions(self._shop.db, self._shop.account.take_transactions(), now=now())


def sweep_once(shop: Workshop) -> int:
    """List the bucket to the end once, without working on anything; return how many videos are new."""
    return discovery.sweep(shop.db, shop.readings, shop.watched, clock=now, go_on=lambda: True)


def _is_late(claim: ledger.Claim) -> bool:
    if claim.kind != StepKind.VIDEO or claim.plan is None:
        return False
    last = len(plan.load(dict(claim.plan)).chunks) - 1
    # Never the second: it is beside the first, for which a viewer waits.
    return claim.ordinal > max(last - LATE_CHUNKS, 1)
