"""Sends what is asked of Watcher's models to Watcher's database, and refuses to write there."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

ALIAS = "watcher"  # in DATABASES
APP = "watcher"


class ReadOnly(ImproperlyConfigured):
    """Somebody tried to write to the status table, which is Watcher's alone."""


class Router:
    """`DATABASE_ROUTERS = ["watcher.contrib.django.router.Router"]`."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        """Return where Watcher's models are read; no opinion on others."""
        return ALIAS if model._meta.app_label == APP else None

    def db_for_write(self, model: Any, **_: Any) -> None:
        """Refuse to write Watcher's models; no opinion on others."""
        if model._meta.app_label == APP:
            raise ReadOnly("only Watcher writes the status table: `watcher requeue` asks it for something")

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        """Keep everybody's migrations out of Watcher's database, and Watcher's models out of theirs."""
        return False if db == ALIAS or app_label == APP else None
