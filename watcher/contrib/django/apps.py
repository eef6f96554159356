"""The app, and the lock on its database: whatever the settings say, nothing is written through this connection."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import DatabaseError, connections
from django.db.backends.signals import connection_created

from watcher import contract
from watcher.contrib.django.router import ALIAS

_LOCKS = {"sqlite": "PRAGMA query_only = ON", "postgresql": "SET default_transaction_read_only = on"}


class Watcher(AppConfig):
    """`INSTALLED_APPS = [..., "watcher.contrib.django"]`."""

    name = "watcher.contrib.django"
    label = "watcher"
    verbose_name = "Watcher"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Lock connections as they are made, and have `manage.py check` look at the settings."""
        connection_created.connect(_lock, dispatch_uid="watcher.lock")
        checks.register(check_settings)
        checks.register(check_table, checks.Tags.database)


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Say what is missing in the settings."""
    if ALIAS in connections:
        return []
    return [
        checks.Error(
            f"DATABASES has no {ALIAS!r}: Watcher's videos cannot be read",
            hint=f'add DATABASES["{ALIAS}"], and watcher.contrib.django.router.Router to DATABASE_ROUTERS',
            id="watcher.E001",
        )
    ]


def check_table(databases: list[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Say whether the table is there and keeps the promise that this app was written for."""
    if ALIAS not in (databases or []):
        return []
    try:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT version FROM video_status_version")
            version = cursor.fetchone()[0]
    except DatabaseError as error:
        hint = "check the path in DATABASES; `watcher db upgrade` brings an older table up to date"
        return [checks.Error(f"the status table cannot be read: {error}", hint=hint, id="watcher.E002")]
    if version != contract.VERSION:
        hint = "install the version of Watcher here that the daemon has"
        return [
            checks.Error(
                f"the status table has version {version}, not {contract.VERSION}",
                hint=hint,
                id="watcher.E003",
            )
        ]
    return []


def _lock(connection: Any, **_: Any) -> None:
    if connection.alias == ALIAS:
        with connection.cursor() as cursor:
            cursor.execute(_LOCKS[connection.vendor])
