"""`path("watcher/", include("watcher.contrib.django.urls"))`."""

from django.urls import path, re_path

from watcher.contrib.django import views

app_name = "watcher"
urlpatterns = [
    path("<int:video_id>/status", views.status, name="status"),
    # Names of a folder of ours: what else is in the bucket cannot be asked for.
    re_path(
        r"^(?P<video_id>[0-9]{1,18})/hls/(?P<name>[A-Za-z0-9_-]+\.m3u8)$", views.playlist, name="playlist"
    ),
]
