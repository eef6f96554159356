"""`watcher doctor`: looks at everything that the daemon needs and says what is missing. Changes nothing."""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from watcher import bucket, config, database, discovery, ffmpeg, invariants, scratch, stats, workshop
from watcher.errors import Misconfigured, Outage

# Without these the rest works.
USEFUL = {
    "deleteFiles": "remove intermediates and outputs that were replaced; without it they stay and cost storage",
    "shareFiles": "play videos on the status page (`watcher web`)",
}
# What a bucket's CORS rule must allow for a page to play from it: downloads by name, in ranges.
PLAYING: dict[str, Any] = {
    "corsRuleName": "watcher-page",
    "allowedOrigins": [],
    "allowedOperations": ["b2_download_file_by_name"],
    "allowedHeaders": ["range"],
    "exposeHeaders": ["content-range"],
    "maxAgeSeconds": 3600,
}
# Below this the encode of one film may fill the disk.
ENOUGH_BYTES = 5 * 10**9
# Completed videos that a deep look fetches and plays: each is a download of all its outputs.
FILMS = 3
# What Landlock closes since which of its versions, beyond files; and what is open without it.
LANDLOCK_SINCE = {3: "truncating files", 4: "TCP to any address", 6: "signals to the user's other processes"}
UNCONFINED = "a hole in ffmpeg would let an upload read and change what this user can, and use the network"
# Of each kind of violation, so many are shown one by one.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `hint` says what to do unless all is well."""

    subject: str
    verdict: Literal["ok", "warning", "problem"]
    detail: str
    hint: str = ""


def examine(settings: config.Settings, *, is_deep: bool = False) -> Iterator[Finding]:
    """Yield findings one by one, as each check ends; a deep look holds table, bucket and machine against each other."""
    for check in (_b2, _ffmpeg, _scratch, _database, _quarantine, *((_invariants,) if is_deep else ())):
        try:
            yield from check(settings)
        except Misconfigured as error:
            for problem in error.problems:
                yield Finding(_subject(check), "problem", problem)
        except Outage as outage:
            # The hint of a code is for a daemon that goes on; this process ends.
            is_down = outage.code == "b2_unavailable"
            hint = "Check the network and B2_REALM." if is_down else outage.hint
            yield Finding(_subject(check), "problem", outage.detail, hint)


def _b2(settings: config.Settings) -> Iterator[Finding]:
    account = bucket.connect(
        key_id=settings.key_id, key=settings.key.get_secret_value(), realm=settings.realm
    )
    yield Finding("b2 key", "ok", f"accepted by {settings.realm}")
    for capability, purpose in workshop.NEEDED.items():
        if capability not in account.capabilities:
            yield Finding(
                "b2 key", "problem", f"lacks {capability}: cannot {purpose}", "Make a key that has it."
            )
    for capability, purpose in USEFUL.items():
        if capability not in account.capabilities:
            yield Finding(
                "b2 key", "warning", f"lacks {capability}: cannot {purpose}", "Make a key that has it."
            )
    if account.name_prefix is not None:
        for name, prefix in (
            ("WATCH_PREFIX", settings.watch_prefix),
            ("OUTPUT_PREFIX", settings.output_prefix),
        ):
            if not prefix.startswith(account.name_prefix):
                yield Finding(
                    "b2 key",
                    "problem",
                    f"is limited to names that begin with {account.name_prefix!r}, and {name} is {prefix!r}",
                    f"Set {name} below that prefix, or make a key without one.",
                )
    watched = account.bucket(settings.bucket)
    page = watched.list_page(prefix=settings.watch_prefix, cursor=None, count=1)
    yield Finding(
        "b2 bucket", "ok", f"{watched.name} can be listed ({'not empty' if page.listed else 'empty'})"
    )
    if settings.output_bucket != settings.bucket:
        yield Finding("b2 bucket", "ok", f"{account.bucket(settings.output_bucket).name} takes the outputs")
    yield from _page(account, settings)


def _page(account: bucket.Account, settings: config.Settings) -> Iterator[Finding]:
    """Look whether browsers may read the outputs for a page: B2 asks the bucket's CORS rules."""
    if "listBuckets" not in account.capabilities:
        yield Finding(
            "status page", "warning", "the key lacks listBuckets: cannot see the bucket's CORS rules"
        )
        return
    rules = account.bucket(settings.output_bucket).cors_rules()
    origins = sorted({origin for rule in rules if _lets_play(rule) for origin in rule["allowedOrigins"]})
    if origins:
        allowed = "pages of any origin" if "*" in origins else f"pages of {', '.join(origins)}"
        yield Finding("status page", "ok", f"{allowed} may play from bucket {settings.output_bucket}")
        return
    host = f"[{settings.web_host}]" if ":" in settings.web_host else settings.web_host
    page = f"http://{host}:{settings.web_port}"
    rule = {**PLAYING, "allowedOrigins": [page]}
    yield Finding(
        "status page",
        "warning",
        f"the CORS rules of bucket {settings.output_bucket} let no page play from it",
        f"To allow it for pages opened at {page}{', in place of the rules that are there' if rules else ''}"
        " (with the command of PyPI's package b2):\n"
        f"b2 bucket update {shlex.quote(settings.output_bucket)} --cors-rules {shlex.quote(json.dumps([rule]))}",
    )


def _lets_play(rule: Mapping[str, Any]) -> bool:
    headers = [header.lower() for header in rule.get("allowedHeaders") or ()]
    return PLAYING["allowedOperations"][0] in rule["allowedOperations"] and (
        "*" in headers or "range" in headers
    )


def _ffmpeg(settings: config.Settings) -> Iterator[Finding]:
    binary = ffmpeg.locate(settings.ffmpeg)
    origin = "FFMPEG" if settings.ffmpeg is not None else "imageio-ffmpeg"
    yield Finding("ffmpeg", "ok", f"{ffmpeg.version(binary)} from {origin}")
    if settings.confine == "no":
        yield Finding(
            "confined", "warning", f"no: {UNCONFINED}", "Remove CONFINE=no if this ffmpeg can do without."
        )
        return
    try:
        ffmpeg.version(binary, is_confined=True)
    except Misconfigured as error:
        hint = "Take the ffmpeg that comes with Watcher (remove FFMPEG), or set CONFINE=no."
        yield Finding("confined", "problem", f"this ffmpeg does not start confined: {error}", hint)
        return
    yield confinement(ffmpeg.kernel())


def confinement(kernel: ffmpeg.Kernel) -> Finding:
    """Say how far a hole in ffmpeg, used by a hostile upload, would lead."""
    if kernel.landlock == 0:
        hint = "Use Linux 6.12 or newer with Landlock, or run Watcher as a user that can reach nothing else."
        return Finding("confined", "warning", f"no: {UNCONFINED}", hint)
    is_open = [what for since, what in LANDLOCK_SINCE.items() if kernel.landlock < since]
    if not kernel.sockets:
        is_open.append("sockets other than TCP")
    done = f"ffmpeg and the prober see their own files and one port only (Landlock ABI {kernel.landlock})"
    if not is_open:
        return Finding("confined", "ok", done)
    hint = "A newer kernel (Linux 6.12) on x86-64 or ARM64 closes these too."
    return Finding("confined", "warning", f"in part: {done}; still open: {', '.join(is_open)}", hint)


def _scratch(settings: config.Settings) -> Iterator[Finding]:
    with scratch.Scratch(settings.scratch):
        pass
    free = scratch.free_bytes(settings.scratch)
    detail = f"{settings.scratch} is writable, {free / 1e9:.1f} GB free"
    if free < ENOUGH_BYTES:
        yield Finding("scratch", "warning", detail, "Free space, or point SCRATCH_DIR at a larger disk.")
    else:
        yield Finding("scratch", "ok", detail)


def _database(settings: config.Settings) -> Iterator[Finding]:
    version = database.driver().sqlite_version
    if database.has_safe_wal(database.driver().sqlite_version_info):
        yield Finding("sqlite", "ok", f"{version}, WAL journal")
    else:
        yield Finding(
            "sqlite",
            "warning",
            f"{version} can lose commits in WAL mode: the slower DELETE journal is used",
            "Install pysqlite3, or use a Python with SQLite 3.51.3 or newer.",
        )
    url, file = settings.database_url.get_secret_value(), settings.database_file
    folder = file.parent.resolve()
    if not os.access(folder, os.W_OK):  # SQLite keeps its journal beside the file
        what, do = ("cannot be written in", "Make it writable for Watcher's user")
        if not folder.is_dir():
            what, do = "is no folder", "Create it"
        yield Finding("database", "problem", f"{folder} {what}", f"{do}, or name another with DATABASE_URL.")
        return
    if not file.exists():
        yield Finding("database", "ok", f"{file} will be made at the first start")
        return
    if not file.is_file() or not os.access(file, os.W_OK):
        what = "cannot be written" if file.is_file() else "is not a file"
        hint = "Make it writable for Watcher's user, or name another with DATABASE_URL."
        yield Finding("database", "problem", f"{file} {what}", hint)
        return
    db = database.open_for_reading(url)
    try:
        if not database.is_current(db):
            yield Finding(
                "database",
                "warning",
                f"{settings.database_file} has schema {database.revision(db)}",
                "`watcher db upgrade`, or the next `watcher run`, brings it up to date.",
            )
            return
        problems = database.check(db)
        for problem in problems:
            yield Finding("database", "problem", problem, "Stop the daemon and restore a backup.")
        if not problems:
            yield Finding(
                "database", "ok", f"{settings.database_file}: intact, {sum(stats.counts(db).values())} videos"
            )
    finally:
        db.dispose()


def _quarantine(settings: config.Settings) -> Iterator[Finding]:
    if not settings.database_file.is_file():
        return
    db = database.open_for_reading(settings.database_url.get_secret_value())
    try:
        entries = stats.quarantined(db) if database.is_current(db) else []
    finally:
        db.dispose()
    for entry in entries:
        yield Finding(
            "quarantine",
            "warning",
            f"{entry.name or entry.file_id or 'an entry'}: {entry.why}",
            "Upload the file again, without the odd file information.",
        )


def _invariants(settings: config.Settings) -> Iterator[Finding]:
    if not settings.database_file.is_file():
        return
    account = bucket.connect(
        key_id=settings.key_id, key=settings.key.get_secret_value(), realm=settings.realm
    )
    readings = database.open_for_reading(settings.database_url.get_secret_value())
    try:
        if not database.is_current(readings):
            return
        site = invariants.Site(
            readings=readings,
            watched=discovery.Watched(
                account, account.bucket(settings.bucket), settings.watch_prefix, settings.own_prefix
            ),
            target=account.bucket(settings.output_bucket),
            output_prefix=settings.output_prefix,
            scratch=settings.scratch,
            binary=ffmpeg.locate(settings.ffmpeg),
            max_attempts=settings.max_attempts,
        )
        found = invariants.check(site, is_settled=False, films=FILMS)
        if found:  # a daemon may have been at work in between: only what stays so counts
            again = invariants.check(site, is_settled=False, films=FILMS)
            found = [broken for broken in again if broken in found]
    finally:
        readings.dispose()
    for name, (meaning, hint) in invariants.INVARIANTS.items():
        broken = [one for one in found if one.invariant == name]
        for one in broken[:SHOWN]:
            where = f"video {one.video_id}: " if one.video_id is not None else ""
            yield Finding(name, "problem", where + one.what, hint)
        if len(broken) > SHOWN:
            yield Finding(name, "problem", f"and {len(broken) - SHOWN} more", hint)
        if not broken:
            yield Finding(name, "ok", meaning)


def _subject(check: Callable[[config.Settings], Iterator[Finding]]) -> str:
    return {"_quarantine": "table"}.get(check.__name__, check.__name__.removeprefix("_"))
