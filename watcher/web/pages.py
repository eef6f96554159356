"""The pages for people: the gallery, a video, the operations. Each is whole without JavaScript."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import fastapi
from fastapi.responses import HTMLResponse
from sqlalchemy.engine import Engine

from watcher import config, scratch, stats
from watcher.errors import Misconfigured, Outage
from watcher.models import UNFINISHED, VideoStatus
from watcher.web import guard, playback, shown, state, views

SHOWN = 24  # videos on a page: whole rows with one, two, three, four or six in a row
LONGEST_SEARCH = 200  # characters; longer ones find nothing that a part of them does not
DAYS = 14  # of B2 calls
TROUBLES = 12  # the newest ones
MOST = 2**63 - 1  # what a column of the database holds

Readings = Annotated[Engine, fastapi.Depends(state.readings)]
Settings = Annotated[config.Settings, fastapi.Depends(state.settings)]
Player = Annotated[playback.Playback, fastapi.Depends(state.player)]
Tally = Annotated[stats.Tally, fastapi.Depends(state.tally)]
Id = Annotated[int, fastapi.Path(ge=1, le=MOST)]

router = fastapi.APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
def gallery(
    db: Readings,
    tally: Tally,
    status: Annotated[str, fastapi.Query(max_length=20)] = "",
    q: Annotated[str, fastapi.Query(max_length=LONGEST_SEARCH)] = "",
    before: Annotated[int | None, fastapi.Query(ge=1, le=MOST)] = None,
) -> str:
    """Show the videos, newest first: all, those in one state, or those whose names hold `q`."""
    chosen = VideoStatus(status) if status in list(VideoStatus) else None
    now = _now()
    page = stats.page(db, before=before, status=chosen, search=q.strip(), limit=SHOWN)
    counts = tally.by_status()
    return views.render(
        "gallery.html",
        page=page,
        running=stats.running(db),
        counts=counts,
        total=sum(counts.values()),
        states=[one.value for one in VideoStatus if counts.get(one)],
        chosen=chosen,
        search=q.strip(),
        before=before,
        swept_at=stats.last_sweep(db),
        pauses=shown.pauses(stats.pauses(db, now=now)),
        now=now,
    )


@router.get("/videos/{video_id}")
def video(video_id: Id, db: Readings, player: Player, settings: Settings) -> HTMLResponse:
    """Show one video: player, what was made of it, its story, and what to do if it failed."""
    rows = stats.list_videos(db, ids=[video_id])
    whole = stats.video(db, video_id)
    if not rows or whole is None:
        raise fastapi.HTTPException(404, f"There is no video {video_id}.")
    outputs = stats.outputs(db, video_id)
    buckets = {output.bucket for output in outputs}
    if rows[0]["status"] in UNFINISHED:
        buckets.add(settings.output_bucket)  # the page is kept up to date, but not the policy it came with
    origins, trouble = _origins(player, buckets)
    page = views.render(
        "video.html",
        video=rows[0],
        hint=whole.hint,
        origins=origins,
        trouble=trouble,
        renditions=shown.renditions(outputs),
        steps=stats.steps(db, video_id),
        story=shown.story(stats.events(db, video_id)),
        now=_now(),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": guard.policy(*origins)})


@router.get("/operations")
def operations(db: Readings, tally: Tally, settings: Settings) -> str:
    """Show the operator what is waiting, what is being done, what it costs, and what went wrong."""
    now = _now()
    hours = stats.hours(db, now=now, count=24)
    days = [(now - timedelta(days=back)).strftime("%Y-%m-%d") for back in range(DAYS - 1, -1, -1)]
    calls = {day: stats.transactions(db, day=day) for day in days}
    return views.render(
        "operations.html",
        queue=stats.queue(db, now),
        pauses=shown.pauses(stats.pauses(db, now=now)),
        counts=tally.by_status(),
        failures=sorted(
            ((code, count) for (_, code), count in tally.by_error().items() if code), key=lambda one: -one[1]
        ),
        seats=settings.seats,
        running=stats.running_steps(db),
        hours=hours,
        hour_bars=shown.bars([(f"{one.start:%H}:00 UTC", [("videos", one.videos)]) for one in hours]),
        lately=stats.throughput(db, since=now - timedelta(hours=1), until=now),
        calls=calls,
        today=days[-1],
        dollars=sum(shown.price(one) for one in calls.values()),
        call_bars=shown.bars(
            [(day, [(kind, one.get(kind, 0)) for kind in ("A", "B", "C")]) for day, one in calls.items()]
        ),
        scans=stats.scans(db),
        unread=stats.count_quarantined(db),
        troubles=shown.troubles(stats.troubles(db, limit=TROUBLES)),
        free_bytes=scratch.free_bytes(settings.scratch) if settings.scratch.is_dir() else None,
        now=now,
    )


def _origins(player: playback.Playback, buckets: set[str]) -> tuple[list[str], str | None]:
    """Return where the page loads its media from; when that cannot be told, what keeps it from playing."""
    try:
        return sorted({player.origin(bucket) for bucket in buckets}), None
    except Outage as outage:
        return [], f"{outage.detail} {outage.hint}"
    except Misconfigured as error:
        return [], " ".join(error.problems)


def _now() -> datetime:
    return datetime.now(UTC)
