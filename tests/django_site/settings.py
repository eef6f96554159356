"""A site such as somebody would have: its own database and uploads, and Watcher's table beside them."""

import os
from pathlib import Path

STATE = Path(os.environ["SITE_STATE"])

SECRET_KEY = "of-the-tests"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "site_app", "watcher.contrib.django"]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
]
STATIC_URL = "static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": STATE / "site.db"},
    "watcher": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"file:{os.environ['WATCHER_DB']}?mode=ro"},
}
DATABASE_ROUTERS = ["watcher.contrib.django.router.Router"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "watcher": {"BACKEND": "storage.PrivateB2"},
}
WATCHER_MAY_WATCH = "site_app.views.may_watch"
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django": {"handlers": ["console"], "level": "ERROR"}},
}
