"""What CatTube has: a model of its own, whose `transcoded` and `thumbnail` the webhook used to fill."""

from django.db import models


class Video(models.Model):
    """An upload."""

    title = models.CharField(max_length=200)
    owner = models.CharField(max_length=100)
    raw = models.CharField(max_length=1024)
    transcoded = models.CharField(max_length=1024, blank=True)
    thumbnail = models.CharField(max_length=1024, blank=True)

    class Meta:
        app_label = "site_app"

    def __str__(self) -> str:
        return self.title
