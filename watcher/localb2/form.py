"""The shape of B2's requests and answers: files and parts as JSON, ranges, and what names may be. Pure."""

import re
from typing import Any

from watcher.localb2.store import File, Part, Refused

ACCOUNT_ID = "10ca1b210ca1"

JSON = dict[str, Any]


def as_json(file: File) -> JSON:
    """Return a file version as B2's calls describe it."""
    return {
        **short_json(file),
        "action": file.action,
        "contentLength": file.size,
        "contentMd5": None,
        "contentSha1": None if file.action == "hide" else file.sha1 or "none",
        "contentType": file.content_type,
        "fileInfo": file.info,
        "fileRetention": {
            "isClientAuthorizedToRead": True,
            "value": {"mode": None, "retainUntilTimestamp": None},
        },
        "legalHold": {"isClientAuthorizedToRead": True, "value": None},
        "replicationStatus": None,
        "serverSideEncryption": {"algorithm": None, "mode": None},
        "uploadTimestamp": file.uploaded_ms,
    }


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return what a Range header asks for as start and end (not included); None for everything."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match[1] == match[2] == "":
        return None
    start = int(match[1]) if match[1] else max(0, size - int(match[2]))
    end = min(size, int(match[2]) + 1) if match[1] and match[2] else size
    if start >= end:
        raise Refused(416, "range_not_satisfiable", f"the file has {size} bytes")
    return start, end


def short_json(file: File) -> JSON:
    return {
        "accountId": ACCOUNT_ID,
        "bucketId": file.bucket_id,
        "fileId": file.file_id,
        "fileName": file.name,
    }


def part_json(file_id: str, part: Part) -> JSON:
    return {
        "fileId": file_id,
        "partNumber": part.number,
        "contentLength": part.size,
        "contentSha1": part.sha1,
        "contentMd5": None,
        "uploadTimestamp": part.uploaded_ms,
    }


def limit(body: JSON, field: str, most: int) -> int:
    count = int(body.get(field) or 100)
    if count < 1:
        raise Refused(400, "bad_request", f"{field} must be at least 1")
    return min(count, most)


def text(name: str | None) -> str:
    """Refuse what no name or prefix can be, so that SQLite is never asked about it."""
    try:
        (name or "").encode()
    except UnicodeEncodeError:
        raise Refused(400, "bad_request", "not valid UTF-8") from None
    return name or ""


def checked_name(name: str) -> str:
    if not 1 <= len(text(name).encode()) <= 1024:
        raise Refused(400, "bad_request", "file names must have from 1 to 1024 bytes")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise Refused(400, "bad_request", "file names must not hold control characters")
    return name


def checked_info(info: dict[str, str]) -> dict[str, str]:
    if len(info) > 10 or not all(
        re.fullmatch(r"[!-~]{1,50}", key) and isinstance(info[key], str) for key in info
    ):
        raise Refused(400, "bad_request", "fileInfo takes up to 10 strings with plain names")
    if any(key.lower().startswith("b2-") and not value.isprintable() for key, value in info.items()):
        raise Refused(400, "bad_request", "fileInfo that becomes a header must not hold control characters")
    return {key.lower(): text(value) for key, value in info.items()}
