"""What the player asks for: playlists with links into the private bucket, posters, the storyboard, the MP4."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import fastapi
from fastapi.responses import RedirectResponse, Response

from watcher import stats
from watcher.errors import SourceGone
from watcher.models import OutputKind
from watcher.web.pages import Id, Player, Readings

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
# Of a video whose length is not known yet: a token has to last for it all the same.
UNKNOWN_LENGTH = timedelta(hours=3)
# The address changes with the picture.
KEPT = {"Cache-Control": "private, max-age=86400"}

Name = Annotated[str, fastapi.Path(max_length=100)]

router = fastapi.APIRouter(include_in_schema=False, prefix="/videos/{video_id}")

_T = TypeVar("_T")


@router.get("/hls/{name}")
def playlist(video_id: Id, name: Name, db: Readings, player: Player) -> Response:
    """Give the master playlist as it is, and a media playlist with links to its segments."""

    def text() -> str:
        output = _output(db, video_id, (OutputKind.HLS, OutputKind.PLAYLIST), name)
        found = player.read(output.bucket, output.file_id, output.size_bytes).decode()
        if output.kind == OutputKind.HLS:
            return found  # it names the others as they are called here too
        return player.playlist(output.bucket, output.name, found, film=_film(db, video_id), now=_now())

    return Response(_fresh(text), media_type=PLAYLIST_TYPE)


@router.get("/video.mp4")
def film(video_id: Id, db: Readings, player: Player) -> Response:
    """Send the browser to the MP4, which it reads from B2 in ranges."""
    output = _output(db, video_id, (OutputKind.MP4,))
    link = player.link(output.bucket, output.name, film=_film(db, video_id), now=_now())
    return RedirectResponse(link)


@router.get("/poster.jpg")
def poster(video_id: Id, db: Readings, player: Player) -> Response:
    """Give the poster: a page of them needs no token for each of their folders."""

    def picture() -> Response:
        output = _output(db, video_id, (OutputKind.POSTER,))
        data = player.read(output.bucket, output.file_id, output.size_bytes)
        return Response(data, media_type=output.content_type, headers=KEPT)

    return _fresh(picture)


@router.get("/storyboard.vtt")
def storyboard(video_id: Id, db: Readings, player: Player) -> Response:
    """Give the storyboard's times with links to its pictures."""

    def text() -> str:
        output = _output(db, video_id, (OutputKind.STORYBOARD,))
        found = player.read(output.bucket, output.file_id, output.size_bytes).decode()
        return player.playlist(output.bucket, output.name, found, film=_film(db, video_id), now=_now())

    return Response(_fresh(text), media_type="text/vtt")


def _output(db: Readings, video_id: int, kinds: tuple[str, ...], leaf: str | None = None) -> Any:
    """Return the output that may be read of one of these kinds (and last part of its name)."""
    for output in stats.outputs(db, video_id):
        if output.kind in kinds and leaf in (None, output.name.rpartition("/")[2]):
            return output
    raise fastapi.HTTPException(404, "There is no such output, or not yet.")


def _film(db: Readings, video_id: int) -> timedelta:
    row = stats.video(db, video_id)
    seconds = row.duration_seconds if row is not None else None
    return UNKNOWN_LENGTH if seconds is None else timedelta(seconds=seconds)


def _fresh(act: Callable[[], _T]) -> _T:
    """Return what `act` returns; once more if what it found in the table was replaced before it was read."""
    try:
        return act()
    except SourceGone:
        try:
            return act()
        except SourceGone:
            raise fastapi.HTTPException(404, "The output was replaced or deleted just now.") from None


_now = functools.partial(datetime.now, UTC)
