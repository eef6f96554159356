"""B2's list answers as values: each entry read on its own, so that a bad one hides no other. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from watcher.errors import Outage

RAW_LETTERS = 4_000  # of an unreadable entry that are kept: enough for its name and all its file info

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file version. `content_sha1` is in hex; None where neither B2 nor the uploader states it."""

    file_id: str
    name: str
    size_bytes: int
    content_type: str
    content_sha1: str | None
    uploaded_at: datetime
    info: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Unread:
    """An entry that could not be read: what is known of it, its JSON (bounded, ASCII) and why."""

    name: str | None
    file_id: str | None
    raw: str
    why: str


@dataclass(frozen=True, slots=True)
class Page:
    """One list call's answer. `listed` counts all that B2 returned, hide markers and folders too."""

    entries: tuple[Entry, ...]
    unread: tuple[Unread, ...]
    cursor: str | None
    listed: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A large file that was started and not finished."""

    file_id: str
    name: str
    info: Mapping[str, str]
    started_at: datetime


def parse(answer: Any, *, cursor_field: str, doing: str) -> Page:
    """Return a list call's answer as a page; Outage if it is not a list call's answer at all."""
    rows = _rows(answer, doing)
    cursor = answer.get(cursor_field)
    if not (cursor is None or isinstance(cursor, str)):
        raise Outage("b2_unavailable", f"{doing}: {cursor_field} is {type(cursor).__name__}, not text")
    entries: list[Entry] = []
    unread: list[Unread] = []
    for row in rows:
        try:
            if row["action"] in ("hide", "start", "folder"):
                continue
            if row["action"] != "upload":
                raise ValueError(f"action is {row['action']!r}")
            entries.append(_entry(row))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            unread.append(_unread(row, error))
    return Page(tuple(entries), tuple(unread), cursor, len(rows))


def parse_unfinished(answer: Any, *, doing: str) -> Iterator[Unfinished]:
    """Yield the unfinished large files of one answer; those that cannot be read are left out."""
    for row in _rows(answer, doing):
        try:
            yield Unfinished(_text(row, "fileId"), _name(row), _info(row), _time(row))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue


def parse_versions(answer: Any, *, name: str, doing: str) -> list[tuple[str, str]]:
    """Return (action, file id) of the versions of exactly this name, the newest first, without unfinished ones."""
    return [
        (str(row["action"]), str(row["fileId"]))
        for row in _rows(answer, doing)
        if isinstance(row, dict) and row.get("fileName") == name and row.get("action") in ("upload", "hide")
    ]


def stated_sha1(content_sha1: object, info: Mapping[str, str]) -> str | None:
    """Return the SHA-1 of a whole file: B2's own, or for a large file what its uploader stated."""
    for stated in (content_sha1, info.get("large_file_sha1")):
        if isinstance(stated, str) and re.fullmatch(r"[0-9a-f]{40}", stated):
            return stated
    return None


def _rows(answer: Any, doing: str) -> list[Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("files"), list):
        raise Outage("b2_unavailable", f"{doing}: the answer holds no list of files")
    rows: list[Any] = answer["files"]
    return rows


def _entry(row: Any) -> Entry:
    info = _info(row)
    size = row["contentLength"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"contentLength is {size!r}")
    return Entry(
        file_id=_text(row, "fileId"),
        name=_name(row),
        size_bytes=size,
        content_type=_text(row, "contentType"),
        content_sha1=stated_sha1(row.get("contentSha1"), info),
        uploaded_at=_time(row),
        info=info,
    )


def _text(row: Any, field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} is {value!r}")
    value.encode()  # JSON can carry half a surrogate pair, which no database and no URL can
    return value


def _name(row: Any) -> str:
    name = _text(row, "fileName")
    if any(ord(letter) < 32 for letter in name):
        raise ValueError("fileName holds control characters")
    return name


def _info(row: Any) -> dict[str, str]:
    info = row.get("fileInfo") or {}
    if not isinstance(info, dict) or not all(isinstance(value, str) for value in info.values()):
        raise ValueError("fileInfo is not text by name")
    json.dumps(info, ensure_ascii=False).encode()
    return info


def _time(row: Any) -> datetime:
    milliseconds = row["uploadTimestamp"]
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool):
        raise ValueError(f"uploadTimestamp is {milliseconds!r}")
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _unread(row: Any, error: Exception) -> Unread:
    facts = row if isinstance(row, dict) else {}
    why = f"lacks {error}" if isinstance(error, KeyError) else str(error)
    raw = json.dumps(row)[:RAW_LETTERS]
    return Unread(_plain(facts.get("fileName")), _plain(facts.get("fileId")), raw, why[:300])


def _plain(value: object) -> str | None:
    """Return `value` if it is text that can be stored and shown as it is."""
    if isinstance(value, str) and value.isprintable():  # surrogates are not printable
        return value
    return None
