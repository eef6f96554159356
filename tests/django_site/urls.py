from django.urls import include, path
from site_app import views

urlpatterns = [
    path("", views.home),
    path("watch/<int:pk>/", views.watch),
    path("api/videos/<path:name>", views.detail),
    path("watcher/", include("watcher.contrib.django.urls")),
]
