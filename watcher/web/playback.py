"""What a browser needs to play a video from a private bucket: tokens for that video's folder, and playlists with them.

The application key stays here. A page gets addresses of objects with a token that opens the one folder, for a
bounded time; texts and small pictures are read here and handed on. Knows nothing of pages.
"""

import collections
import contextlib
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from watcher import bucket, config
from watcher.errors import Misconfigured, Outage

# A token outlives the film by this much, and is given out until less than `LEAST_SPARE` of that is left: who
# starts a film can see it to its end, with a pause for coffee. After that the player asks for a new one.
SPARE = timedelta(hours=1)
LEAST_SPARE = timedelta(minutes=20)
LONGEST = timedelta(days=7)  # B2 gives no longer ones
# When B2 hangs, a call takes a minute. So that pages about the table do not wait behind such calls, few are made
# at a time, who gets no turn soon is told so, and after a failure nobody tries for a while.
AT_ONCE = 8  # of the forty requests that are worked on at a time
TURN_SECONDS = 5.0
PAUSE_SECONDS = 10.0
MOST_PASSES = 2_000  # videos; one pass takes half a kilobyte
MOST_KEPT_BYTES = 64 * 1024 * 1024  # of playlists and posters: some hundred videos' worth
LARGEST_BYTES = 8 * 1024 * 1024  # a playlist of a day's film has a tenth of it; more is none of ours

_URI = re.compile(r'URI="([^"]*)"')


@dataclass
class _Pass:
    """The token for one folder, and when it ends."""

    token: str = ""
    until: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Playback:
    """The way from a page to the output bucket. Connects when first needed. Thread-safe."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._down: tuple[Outage, float] | None = (
            None  # the last failure, and until when (monotonic) it stands
        )
        self._account: bucket.Account | None = None
        self._buckets: dict[str, bucket.Bucket] = {}
        self._passes: collections.OrderedDict[tuple[str, str], _Pass] = collections.OrderedDict()
        self._kept: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._kept_bytes = 0

    def origin(self, bucket_name: str) -> str:
        """Return the origin (scheme and host) that the objects of a bucket come from."""
        parts = urllib.parse.urlsplit(self._bucket(bucket_name).address)
        return f"{parts.scheme}://{parts.netloc}"

    def link(self, bucket_name: str, name: str, *, film: timedelta, now: datetime) -> str:
        """Return the address of an object, good for at least the length of the `film` from `now` on."""
        base, query = self._opened(bucket_name, _folder(name), film, now)
        return f"{base}{urllib.parse.quote(name)}?{query}"

    def playlist(self, bucket_name: str, name: str, text: str, *, film: timedelta, now: datetime) -> str:
        """Return the text of the media playlist (or storyboard) `name`, with addresses that `link` would give."""
        folder = _folder(name)
        base, query = self._opened(bucket_name, folder, film, now)

        def linked(address: str) -> str:
            path, mark, rest = address.partition("#")
            return f"{base}{urllib.parse.quote(folder)}{path}?{query}{mark}{rest}"

        return relinked(text, linked)

    def read(self, bucket_name: str, file_id: str, size_bytes: int) -> bytes:
        """Return a small object whole, kept for the next who asks; SourceGone when it was replaced meanwhile."""
        with self._lock:
            if (known := self._kept.get(file_id)) is not None:
                self._kept.move_to_end(file_id)
                return known
        if size_bytes > LARGEST_BYTES:
            raise Outage(
                "b2_unavailable", f"{file_id} has {size_bytes} bytes, too many for what it should be"
            )
        holder = self._bucket(bucket_name)
        with self._turn():
            data = holder.read_range(file_id, 0, size_bytes)
        with self._lock:
            if file_id not in self._kept:
                self._kept[file_id] = data
                self._kept_bytes += len(data)
            while self._kept_bytes > MOST_KEPT_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return data

    def _opened(self, bucket_name: str, folder: str, film: timedelta, now: datetime) -> tuple[str, str]:
        """Return what goes before and behind a percent-encoded name in `folder`."""
        holder = self._bucket(bucket_name)
        with self._lock:
            one = self._passes.setdefault((bucket_name, folder), _Pass())
            self._passes.move_to_end((bucket_name, folder))
            while len(self._passes) > MOST_PASSES:
                self._passes.popitem(last=False)
        with _held(one.lock):  # a player asks for picture and sound at once: one call to B2 is enough
            if one.until is None or one.until - now < min(film + LEAST_SPARE, LONGEST - SPARE):
                valid = min(film + SPARE, LONGEST)
                with self._turn():
                    one.token = holder.authorize_downloads(folder, valid=valid)
                one.until = now + valid
            return holder.address, f"Authorization={urllib.parse.quote(one.token, safe='')}"

    def _bucket(self, name: str) -> bucket.Bucket:
        if name in self._buckets:
            return self._buckets[name]
        with _held(self._connecting), self._turn():
            if self._account is None:
                key = self._settings.key.get_secret_value()
                self._account = bucket.connect(
                    key_id=self._settings.key_id, key=key, realm=self._settings.realm
                )
            if "shareFiles" not in self._account.capabilities:
                raise Misconfigured(
                    ["B2_APPLICATION_KEY_ID: the key lacks shareFiles, which playing from a page needs"]
                )
            if name not in self._buckets:
                self._buckets[name] = self._account.bucket(name)
            return self._buckets[name]

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Make the calls of the block one of the few that are made at a time; Outage when that is no use now."""
        if self._down is not None and time.monotonic() < self._down[1]:
            raise Outage(self._down[0].code, self._down[0].detail)
        if not self._turns.acquire(timeout=TURN_SECONDS):
            raise Outage("b2_unavailable", f"{AT_ONCE} earlier requests still wait for B2")
        try:
            yield
        except Outage as outage:
            self._down = (outage, time.monotonic() + PAUSE_SECONDS)
            raise
        finally:
            self._turns.release()


def relinked(text: str, linked: Callable[[str], str]) -> str:
    """Return a media playlist or a WebVTT of pictures with every address in it replaced by `linked` of it."""
    lines = text.split("\n")
    if lines[0].startswith("WEBVTT"):
        return "\n".join(linked(line) if "#xywh=" in line else line for line in lines)
    return "\n".join(
        _URI.sub(lambda found: f'URI="{linked(found[1])}"', line)
        if line.startswith("#")
        else linked(line)
        if line.strip()
        else line
        for line in lines
    )


def _folder(name: str) -> str:
    return name[: name.rindex("/") + 1]


@contextlib.contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock for the block; Outage when who has it waits for B2 for long, as there are only so many threads."""
    if not lock.acquire(timeout=TURN_SECONDS):
        raise Outage("b2_unavailable", "an earlier request still waits for B2")
    try:
        yield
    finally:
        lock.release()
