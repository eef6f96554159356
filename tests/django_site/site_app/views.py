"""The site's own views: they read the status table where a webhook would have written into theirs."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render

from site_app.models import Video
from watcher.contrib.django.models import Video as Watched


def may_watch(request: HttpRequest, video: Watched) -> bool:
    """Owners see their own uploads."""
    return Video.objects.filter(raw=video.name, owner=request.headers.get("X-User", "")).exists()


def home(request: HttpRequest) -> HttpResponse:
    """Show all uploads and how far they are."""
    uploads = list(Video.objects.order_by("id"))
    found = Watched.objects.newest([upload.raw for upload in uploads])
    return render(request, "home.html", {"shown": [(upload, found.get(upload.raw)) for upload in uploads]})


def watch(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one upload with a player."""
    upload = get_object_or_404(Video, pk=pk)
    return render(request, "watch.html", {"upload": upload, "video": Watched.objects.of(upload.raw)})


def detail(_request: HttpRequest, name: str) -> JsonResponse:
    """Answer what CatTube's watch page asks every second; fill in what has become known."""
    upload = get_object_or_404(Video, raw=name)
    video = Watched.objects.of(name)
    if video is not None and video.mp4 and not upload.transcoded:
        upload.transcoded, upload.thumbnail = video.mp4, video.poster or ""
        upload.save()
    return JsonResponse(
        {
            "title": upload.title,
            "transcoded": upload.transcoded,
            "thumbnail": upload.thumbnail,
            "progress": video.progress if video is not None else 0,
            "status": video.status if video is not None else "uploaded",
        }
    )
