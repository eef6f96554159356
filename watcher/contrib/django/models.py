"""The view `video_status` as a model. Reads only."""

from datetime import UTC
from typing import Any, ClassVar

from django.db import models

from watcher import contract

_MEANINGS = {column.name: column.meaning for column in contract.COLUMNS}


class UtcTimeField(models.DateTimeField):
    """A time as the contract writes it: on SQLite text that sorts. Compare it with <, >, range; not by its parts."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Return what a time is compared with in the database."""
        if not prepared:
            value = self.get_prep_value(value)
        if value is None or connection.vendor != "sqlite":
            return super().get_db_prep_value(value, connection, prepared=True)
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class VideoQuerySet(models.QuerySet):
    """What sites ask."""

    def of(self, name: str) -> "Video | None":
        """Return the newest version of the object of this name, None when Watcher has not seen it yet."""
        found: Video | None = self.filter(name=name).order_by("-id").first()
        return found

    def newest(self, names: list[str]) -> "dict[str, Video]":
        """Return the newest version of each of these objects that Watcher has seen, by name, in one query."""
        return {video.name: video for video in self.filter(name__in=names).order_by("id")}


class Video(models.Model):
    """One version of an uploaded object: see the README for what its fields promise."""

    id = models.BigIntegerField(primary_key=True, help_text=_MEANINGS["id"])
    file_id = models.TextField(help_text=_MEANINGS["file_id"])
    bucket = models.TextField(help_text=_MEANINGS["bucket"])
    name = models.TextField(help_text=_MEANINGS["name"])
    size_bytes = models.BigIntegerField(help_text=_MEANINGS["size_bytes"])
    status = models.TextField(
        choices=[(one, one) for one in contract.STATUSES], help_text=_MEANINGS["status"]
    )
    reason = models.TextField(null=True, help_text=_MEANINGS["reason"])
    error_code = models.TextField(null=True, help_text=_MEANINGS["error_code"])
    error = models.TextField(null=True, help_text=_MEANINGS["error"])
    progress = models.FloatField(help_text=_MEANINGS["progress"])
    discovered_at = UtcTimeField(help_text=_MEANINGS["discovered_at"])
    playable_at = UtcTimeField(null=True, help_text=_MEANINGS["playable_at"])
    completed_at = UtcTimeField(null=True, help_text=_MEANINGS["completed_at"])
    duration_seconds = models.FloatField(null=True, help_text=_MEANINGS["duration_seconds"])
    width = models.IntegerField(null=True, help_text=_MEANINGS["width"])
    height = models.IntegerField(null=True, help_text=_MEANINGS["height"])
    hls = models.TextField(null=True, help_text=_MEANINGS["hls"])
    mp4 = models.TextField(null=True, help_text=_MEANINGS["mp4"])
    poster = models.TextField(null=True, help_text=_MEANINGS["poster"])
    storyboard = models.TextField(null=True, help_text=_MEANINGS["storyboard"])
    audio_language = models.TextField(null=True, help_text=_MEANINGS["audio_language"])
    loudness_lufs = models.FloatField(null=True, help_text=_MEANINGS["loudness_lufs"])

    objects = VideoQuerySet.as_manager()

    class Meta:
        """Watcher makes the view."""

        managed = False
        db_table = contract.VIEW
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_playable(self) -> bool:
        """Whether there is something to play, be it only the beginning."""
        return bool(self.hls or self.mp4)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in ("pending", "running")

    def as_dict(self) -> dict[str, Any]:
        """Return what a page needs that waits for the video: values that JSON knows."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "error_code": self.error_code,
            "error": self.error,
            "progress": self.progress,
            "is_playable": self.is_playable,
            "is_over": self.is_over,
        }
