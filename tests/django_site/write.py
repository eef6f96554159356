"""Tries every way to write that a site has, and prints what became of each."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django

django.setup()

from django.core.management import call_command
from django.db import connections, transaction

from watcher.contrib.django.models import Video


def _sql(statement: str) -> None:
    with connections["watcher"].cursor() as cursor:
        cursor.execute(statement)


def _unlocked() -> None:
    with connections["watcher"].cursor() as cursor:
        cursor.execute("PRAGMA query_only = OFF")
        cursor.execute("DELETE FROM outputs")


def _locked_in_transaction() -> None:
    with transaction.atomic(using="watcher"):
        Video.objects.using("watcher").filter(id=1).update(status="failed")


WAYS = {
    "save": lambda: Video.objects.get(id=1).save(),
    "save using": lambda: Video.objects.get(id=1).save(using="watcher"),
    "create": lambda: Video.objects.create(id=9, name="x", progress=0),
    "update": lambda: Video.objects.filter(id=1).update(status="failed"),
    "update using": _locked_in_transaction,
    "delete": lambda: Video.objects.get(id=1).delete(),
    "delete using": lambda: Video.objects.using("watcher").filter(id=1).delete(),
    "bulk": lambda: Video.objects.bulk_update([Video.objects.get(id=1)], ["status"]),
    "sql": lambda: _sql("UPDATE videos SET status = 'failed'"),
    "table": lambda: _sql("CREATE TABLE mine (x)"),
    "unlocked": _unlocked,
}

for name, attempt in WAYS.items():
    try:
        attempt()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
    else:
        print(f"{name}: written")
call_command("migrate", database="watcher", verbosity=0)
print("migrate: done")
