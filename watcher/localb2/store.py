"""The files of the local B2: rows in SQLite, bytes on disk. Knows nothing of HTTP, keys or accounts.

A kill at any moment loses nothing that was answered: bytes are written before the row that names them, and
bytes that no row names are removed at the next start. A power cut may lose the last seconds: this is a
development tool.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from typing import Any

COPY_BYTES = (
    256 * 1024
)  # large enough that Python's cost per block does not show, small enough to stay in cache

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id TEXT NOT NULL UNIQUE,
    bucket_id TEXT NOT NULL,
    name TEXT NOT NULL,
    action TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha1 TEXT,
    content_type TEXT,
    info TEXT NOT NULL,
    uploaded_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS files_listing ON files (bucket_id, name, uploaded_ms DESC, number DESC);
CREATE INDEX IF NOT EXISTS files_unfinished ON files (bucket_id, number) WHERE action = 'start';
CREATE TABLE IF NOT EXISTS parts (
    file_id TEXT NOT NULL,
    part INTEGER NOT NULL,
    size INTEGER NOT NULL,
    sha1 TEXT NOT NULL,
    blob TEXT NOT NULL UNIQUE,
    uploaded_ms INTEGER NOT NULL,
    PRIMARY KEY (file_id, part)
);
"""
_SELECT = "SELECT file_id, bucket_id, name, action, size, sha1, content_type, info, uploaded_ms FROM files "


class Refused(Exception):
    """A request that B2 answers with an error: HTTP status, B2's code, and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclasses.dataclass(frozen=True)
class File:
    """One file version, hide marker or unfinished large file; `action` as B2 names it."""

    file_id: str
    bucket_id: str
    name: str
    action: str
    size: int
    sha1: str | None
    content_type: str | None
    info: dict[str, str]
    uploaded_ms: int


@dataclasses.dataclass(frozen=True)
class Part:
    """Received bytes: a whole small file, or one part of a large one."""

    number: int
    size: int
    sha1: str
    blob: str
    uploaded_ms: int


class Store:
    """One folder of files. Thread-safe; one process at a time."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._blobs = folder / "bytes"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "localb2.sqlite3", isolation_level=None, check_same_thread=False, timeout=0
        )
        try:
            # The exclusive lock keeps a second server off the folder; without fsync a kill is still safe.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            self._remove_nameless_bytes()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def setting(self, name: str) -> Any:
        """Return what `set` kept under `name`, or None."""
        row = self._one("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(row[0]) if row else None

    def set(self, name: str, value: Any) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def receive(self, blocks: Iterable[bytes], number: int, uploaded_ms: int) -> Part:
        """Write `blocks` to disk; nothing refers to them until the part is given to `add` or `add_part`."""
        blob, size, digest = secrets.token_hex(16), 0, hashlib.sha1(usedforsecurity=False)
        path = self._blobs / blob
        try:
            with path.open("xb") as target:
                for block in blocks:
                    target.write(block)
                    digest.update(block)
                    size += len(block)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Part(number, size, digest.hexdigest(), blob, uploaded_ms)

    def discard(self, part: Part) -> None:
        (self._blobs / part.blob).unlink(missing_ok=True)

    def add(self, file: File, part: Part | None = None) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO files (file_id, bucket_id, name, action, size, sha1, content_type, info,"
                " uploaded_ms)"
                " VALUES (:file_id, :bucket_id, :name, :action, :size, :sha1, :content_type, :info,"
                " :uploaded_ms)",
                {**vars(file), "info": json.dumps(file.info)},
            )
            if part:
                self._insert_part(db, file.file_id, part)

    def add_part(self, file_id: str, part: Part) -> None:
        """Keep one part of a large file; a part of the same number is replaced."""
        with self._transaction() as db:
            if not db.execute(
                "SELECT 1 FROM files WHERE file_id = ? AND action = 'start'", (file_id,)
            ).fetchone():
                raise Refused(400, "bad_request", f"No active upload for: {file_id}")
            old = db.execute(
                "DELETE FROM parts WHERE file_id = ? AND part = ? RETURNING blob", (file_id, part.number)
            ).fetchall()
            self._insert_part(db, file_id, part)
        self._unlink(old)

    def finish(self, file_id: str, size: int) -> File:
        """Make a large file one that can be read; its parts stay where they are."""
        with self._transaction() as db:
            db.execute(
                "UPDATE files SET action = 'upload', size = ? WHERE file_id = ? AND action = 'start'",
                (size, file_id),
            )
        return self.file(file_id)

    def remove(self, file_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
            blobs = db.execute("DELETE FROM parts WHERE file_id = ? RETURNING blob", (file_id,)).fetchall()
        self._unlink(blobs)

    def file(self, file_id: str) -> File:
        row = self._one(_SELECT + "WHERE file_id = ?", file_id)
        if row is None:
            raise Refused(404, "not_found", f"File not present: {file_id}")
        return _file(row)

    def current(self, bucket_id: str, name: str) -> File | None:
        """Return the newest version of `name`, which may be a hide marker."""
        row = self._one(
            _SELECT + "WHERE bucket_id = ? AND name = ? AND action <> 'start'"
            " ORDER BY uploaded_ms DESC, number DESC LIMIT 1",
            bucket_id,
            name,
        )
        return _file(row) if row else None

    def is_empty(self, bucket_id: str) -> bool:
        return self._one("SELECT 1 FROM files WHERE bucket_id = ? LIMIT 1", bucket_id) is None

    def names(self, bucket_id: str, start: str, prefix: str, count: int) -> tuple[list[File], str | None]:
        """Return the newest version of each name from `start` on, and the name to go on from."""
        found: list[File] = []
        seen: str | None = None
        with self._lock:
            rows = self._db.execute(
                _SELECT + "WHERE bucket_id = ? AND name >= ? AND action <> 'start'"
                " ORDER BY name, uploaded_ms DESC, number DESC",
                (bucket_id, max(start, prefix)),
            )
            for row in rows:
                name = row[2]
                if name == seen:
                    continue
                seen = name
                if not name.startswith(prefix):
                    return found, None
                if row[3] != "upload":
                    continue
                if len(found) == count:
                    return found, name
                found.append(_file(row))
        return found, None

    def versions(
        self, bucket_id: str, start: str, start_id: str | None, prefix: str, count: int
    ) -> tuple[list[File], File | None]:
        """Return every version from `start` (there from `start_id`) on, and the one to go on from."""
        found: list[File] = []
        with self._lock:
            rows = self._db.execute(
                _SELECT + "WHERE bucket_id = ? AND name >= ? ORDER BY name, uploaded_ms DESC, number DESC",
                (bucket_id, max(start, prefix)),
            )
            skips_to = (
                start_id
                if start_id and self._one("SELECT 1 FROM files WHERE file_id = ?", start_id)
                else None
            )
            for row in rows:
                if skips_to and row[2] == start and row[0] != skips_to:
                    continue
                skips_to = None
                if not row[2].startswith(prefix):
                    break
                if len(found) == count:
                    return found, _file(row)
                found.append(_file(row))
        return found, None

    def unfinished(
        self, bucket_id: str, start_id: str | None, prefix: str, count: int
    ) -> tuple[list[File], str | None]:
        with self._lock:
            first = self._one("SELECT number FROM files WHERE file_id = ?", start_id) or (0,)
            rows = self._db.execute(
                _SELECT + "WHERE bucket_id = ? AND action = 'start' AND number >= ? ORDER BY number",
                (bucket_id, *first),
            ).fetchall()
        files = [_file(row) for row in rows if row[2].startswith(prefix)]
        return files[:count], files[count].file_id if len(files) > count else None

    def parts(self, file_id: str) -> list[Part]:
        with self._lock:
            rows = self._db.execute(
                "SELECT part, size, sha1, blob, uploaded_ms FROM parts WHERE file_id = ? ORDER BY part",
                (file_id,),
            ).fetchall()
        return [Part(*row) for row in rows]

    def read(self, file_id: str, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`."""
        for part in self.parts(file_id):
            if start < part.size and end > 0:
                with (self._blobs / part.blob).open("rb") as source:
                    source.seek(max(start, 0))
                    left = min(end, part.size) - max(start, 0)
                    while left > 0 and (block := source.read(min(COPY_BYTES, left))):
                        left -= len(block)
                        yield block
            start, end = start - part.size, end - part.size

    def _insert_part(self, db: sqlite3.Connection, file_id: str, part: Part) -> None:
        db.execute(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?)",
            (file_id, part.number, part.size, part.sha1, part.blob, part.uploaded_ms),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _one(self, statement: str, *values: Any) -> Any:
        with self._lock:
            return self._db.execute(statement, values).fetchone()

    def _unlink(self, rows: list[tuple[str]]) -> None:
        for (blob,) in rows:
            (self._blobs / blob).unlink(missing_ok=True)

    def _remove_nameless_bytes(self) -> None:
        named = {row[0] for row in self._db.execute("SELECT blob FROM parts")}
        for path in self._blobs.iterdir():
            if path.name not in named:
                path.unlink()


def _file(row: tuple[Any, ...]) -> File:
    file_id, bucket_id, name, action, size, sha1, content_type, info, uploaded_ms = row
    return File(file_id, bucket_id, name, action, size, sha1, content_type, json.loads(info), uploaded_ms)
