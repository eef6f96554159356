"""What a player asks a site for: how far a video is, and playlists whose segments a private bucket will give out."""

import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.files.storage import InvalidStorageError, default_storage, storages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.http import require_safe

from watcher.contrib.django.models import Video

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"

_URI = re.compile(r'URI="([^"]*)"')


@require_safe
def status(request: HttpRequest, video_id: int) -> JsonResponse:
    """Say how far a video is."""
    answer = JsonResponse(_video(request, video_id).as_dict())
    answer["Cache-Control"] = "no-store"
    return answer


@require_safe
def playlist(request: HttpRequest, video_id: int, name: str) -> HttpResponse:
    """Give a playlist, with addresses for its segments that the storage signs.

    Playlists name each other and their segments relative to themselves; those of a private bucket need more.
    """
    video = _video(request, video_id)
    if video.hls is None:
        raise Http404("there is nothing to play yet")
    folder, _, master = video.hls.rpartition("/")
    try:
        with storage().open(f"{folder}/{name}") as file:
            text = file.read().decode()
    except FileNotFoundError:
        raise Http404(f"there is no playlist {name}") from None
    if name != master:
        text = signed(text, lambda uri: storage().url(f"{folder}/{uri}"))
    answer = HttpResponse(text, content_type=PLAYLIST_TYPE)
    answer["Cache-Control"] = "no-store"
    return answer


def signed(text: str, sign: Callable[[str], str]) -> str:
    """Return a media playlist with `sign` of each name in place of the name."""

    def address(name: str) -> str:
        return sign(urllib.parse.unquote(name))

    return "\n".join(
        _URI.sub(lambda found: f'URI="{address(found[1])}"', line)
        if line.startswith("#")
        else address(line)
        if line
        else line
        for line in text.split("\n")
    )


def storage() -> Any:
    """Return the storage of the output bucket."""
    try:
        return storages["watcher"]
    except InvalidStorageError:
        return default_storage


def _video(request: HttpRequest, video_id: int) -> Video:
    """Return a video that this request may see; to others it does not exist."""
    path = getattr(settings, "WATCHER_MAY_WATCH", None)
    may_watch = import_string(path) if path else _is_logged_in
    video = Video.objects.filter(id=video_id).first()
    if video is None or not may_watch(request, video):
        raise Http404("there is no such video")
    return video


def _is_logged_in(request: HttpRequest, _video: Video) -> bool:
    user = getattr(request, "user", None)
    return user is not None and user.is_authenticated
