"""`{% load watcher %}`, then `{% watcher_player video %}`."""

from typing import Any

from django import template
from django.urls import reverse

from watcher.contrib.django import views
from watcher.contrib.django.models import Video

register = template.Library()


@register.inclusion_tag("watcher/player.html")
def watcher_player(video: Video | None) -> dict[str, Any]:
    """Show a video: a player as soon as its beginning plays, progress before that, or why there is none.

    `video` may be None: Watcher has not seen the upload yet. The page brings itself up to date.
    """
    shown: dict[str, Any] = {"video": video}
    if video is None:
        return shown
    shown["status_url"] = reverse("watcher:status", args=[video.id])
    if video.hls:
        shown["hls_url"] = reverse("watcher:playlist", args=[video.id, video.hls.rpartition("/")[2]])
    for what in ("mp4", "poster"):
        if name := getattr(video, what):
            shown[f"{what}_url"] = views.storage().url(name)
    return shown
