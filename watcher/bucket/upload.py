"""Files to B2, in one piece or in parts."""

import concurrent.futures
import contextlib
import hashlib
import io
import itertools
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from b2sdk.v3 import exception
from typing_extensions import Buffer, override

from watcher import beat as beats
from watcher import crashpoint
from watcher.bucket import listing, session, trouble
from watcher.errors import Failure, Misconfigured, Outage, SourceGone, Stopped

PARTS_AT_ONCE = (
    4  # one connection rarely fills a line to B2; more than four gain little and starve other seats
)
BLOCK_BYTES = 1024 * 1024
_TWINS = 100  # versions of one name that are looked at for what earlier tries left: the newest come first


@dataclass(frozen=True, slots=True)
class Stored:
    """What an upload left in the bucket; `sha1` in hex, of the whole file."""

    file_id: str
    name: str
    size_bytes: int
    sha1: str
    # False: an earlier try may have left the same, which could not be looked for or removed.
    is_alone: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """A file in the bucket that should hold the same as another does from its byte `start` on; `sha1` in hex."""

    file_id: str
    start: int
    size_bytes: int
    sha1: str


def upload(
    opened: session.Session,
    bucket_id: str,
    path: pathlib.Path,
    name: str,
    *,
    content_type: str,
    info: dict[str, str],
    beat: beats.Beat,
    pieces: Sequence[Piece] = (),
) -> Stored:
    """Upload a file; in parts, several at once, when it is larger than the part size that B2 recommends.

    What of it is there as `pieces` becomes parts that B2 copies, whatever its size. They have to lie side by side, each
    of the size that a part may have, and so has what comes before them. One that turns out to hold something else, or
    to be gone, is uploaded.
    """
    parts = _parts(path, _sizes(pieces, opened.account_info.get_recommended_part_size()), beat)
    whole = parts.pop()
    sending = _Sending(opened, path, beat, whole.size, f"upload {name}")
    if len(parts) > 1:
        info = {**info, "large_file_sha1": whole.sha1}
        # After what comes before them, each is a part; where the file ends earlier, not all are.
        pairs = zip(parts[1:], pieces, strict=False)
        same = {part.number: piece.file_id for part, piece in pairs if part.sha1 == piece.sha1}
        answer = sending.large(bucket_id, name, content_type, info, parts, same)
    else:
        answer = sending.small(bucket_id, name, content_type, info, whole)
    if answer["contentLength"] != whole.size:
        raise Outage(
            "b2_unavailable", f"upload {name}: B2 stored {answer['contentLength']} of {whole.size} bytes"
        )
    return Stored(answer["fileId"], name, whole.size, whole.sha1, sending.is_alone)


def cancel(opened: session.Session, file_id: str) -> None:
    """Cancel an unfinished large file; fine if there is none of this id."""

    def act() -> None:
        with contextlib.suppress(exception.FileNotPresent, exception.BadRequest):
            opened.cancel_large_file(file_id)

    with contextlib.suppress(SourceGone):
        trouble.patiently(f"cancel the unfinished {file_id}", act)


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    start: int
    size: int
    sha1: str


class _Sending:
    """An upload in progress, shared by the threads that send its parts."""

    def __init__(
        self, opened: session.Session, path: pathlib.Path, beat: beats.Beat, total: int, doing: str
    ) -> None:
        self._session, self._path, self._beat, self._total, self._doing = opened, path, beat, total, doing
        self._sent: dict[int, int] = {}  # bytes by part
        self._lock = threading.Lock()
        self._abandoned = False
        self.is_alone = True

    @contextlib.contextmanager
    def _tidying_up(self) -> Iterator[None]:
        """Let what goes wrong go, and note it: the upload itself went well."""
        self.is_alone = False
        with contextlib.suppress(Outage, Failure, Misconfigured, SourceGone), trouble.translated("tidy up"):
            yield
            self.is_alone = True

    def small(self, bucket_id: str, name: str, content_type: str, info: dict[str, str], whole: _Part) -> Any:
        tries = 0

        def act() -> Any:
            nonlocal tries
            tries += 1
            with self._open(whole) as body:
                # requests sends an empty stream in chunks, which B2 does not take; it can measure b"".
                return self._session.upload_file(
                    bucket_id, name, whole.size, content_type, whole.sha1, info, body if whole.size else b""
                )

        stored = trouble.patiently(self._doing, act, sleep=self._beat.wait)
        if tries > 1:
            self._delete_twins(bucket_id, name, info, stored["fileId"])
        return stored

    def large(
        self,
        bucket_id: str,
        name: str,
        content_type: str,
        info: dict[str, str],
        parts: list[_Part],
        same: dict[int, str],
    ) -> Any:
        """Send a file in parts; those in `same`, by number, B2 has as the file of that id."""
        tries = 0

        def start() -> Any:
            nonlocal tries
            tries += 1
            return self._session.start_large_file(bucket_id, name, content_type, info)

        started = trouble.patiently(f"start to {self._doing}", start, sleep=self._beat.wait)
        crashpoint.here("upload.start")
        try:
            if tries > 1:
                self._cancel_twins(bucket_id, name, info, started["fileId"])
            self._send(started["fileId"], parts, same)
            finished = self._finish(started["fileId"], [part.sha1 for part in parts])
            crashpoint.here("upload.finish")
            return finished
        except BaseException:
            # Should this fail too, the first error is the one to tell, and `list_unfinished` shows the rest.
            with contextlib.suppress(Outage, Failure, Misconfigured):
                cancel(self._session, started["fileId"])
            raise

    def _delete_twins(self, bucket_id: str, name: str, info: dict[str, str], kept: str) -> None:
        """Delete what an earlier try stored whose answer was lost: nobody knows its id, so nobody else would."""
        doing = f"look for what earlier tries to {self._doing} stored"
        with self._tidying_up():
            answer = trouble.patiently(
                doing, lambda: self._session.list_file_versions(bucket_id, name, None, _TWINS, name)
            )
            for entry in listing.parse(answer, cursor_field="nextFileName", doing=doing).entries:
                if info and (entry.name, entry.info) == (name, info) and entry.file_id != kept:
                    with contextlib.suppress(exception.FileNotPresent):
                        self._session.delete_file_version(entry.file_id, name)

    def _cancel_twins(self, bucket_id: str, name: str, info: dict[str, str], kept: str) -> None:
        """Cancel what an earlier try started whose answer was lost."""
        doing = f"look for what earlier tries to {self._doing} started"
        with self._tidying_up():
            answer = trouble.patiently(
                doing, lambda: self._session.list_unfinished_large_files(bucket_id, None, _TWINS, name)
            )
            for twin in listing.parse_unfinished(answer, doing=doing):
                if info and (twin.name, twin.info) == (name, info) and twin.file_id != kept:
                    cancel(self._session, twin.file_id)

    def _send(self, file_id: str, parts: list[_Part], same: dict[int, str]) -> None:
        def send(part: _Part) -> None:
            def act() -> None:
                with self._open(part) as body:
                    self._session.upload_part(file_id, part.number, part.size, part.sha1, body)

            if part.number not in same or not self._copy(file_id, part, same[part.number]):
                trouble.patiently(f"{self._doing}, part {part.number}", act, sleep=self._wait)
            crashpoint.here("upload.part")

        with concurrent.futures.ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="upload") as pool:
            jobs = [pool.submit(send, part) for part in parts]
            try:
                for job in concurrent.futures.as_completed(jobs):
                    job.result()
            except BaseException:
                self._abandoned = True
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _copy(self, file_id: str, part: _Part, source_id: str) -> bool:
        """Have B2 copy a part from another file; False where that came to nothing, and it has to be sent."""
        doing = f"{self._doing}, copy part {part.number}"
        try:
            answer = trouble.patiently(
                doing, lambda: self._session.copy_part(source_id, file_id, part.number), sleep=self._wait
            )
        except (SourceGone, Failure, Outage):  # of the network, too: the bytes are here all the same
            self._check()
            return False
        self._note(part, part.size)
        return bool(answer.get("contentSha1") == part.sha1)

    def _finish(self, file_id: str, sha1s: list[str]) -> Any:
        def act() -> Any:
            try:
                return self._session.finish_large_file(file_id, sha1s)
            except exception.BadRequest:
                # When only the answer to an earlier try was lost, the file is finished already.
                found = self._session.get_file_info_by_id(file_id)
                if found["action"] != "upload":
                    raise
                return found

        return trouble.patiently(f"finish to {self._doing}", act, sleep=self._beat.wait)

    def _open(self, part: _Part) -> "_Body":
        return _Body(self._path, part, self._moved)

    def _moved(self, part: _Part, sent: int) -> None:
        try:
            self._note(part, sent)
        except (Stopped, Failure) as why:
            raise trouble.Interrupted(why) from None

    def _note(self, part: _Part, sent: int) -> None:
        with self._lock:
            self._sent[part.number] = sent
            moved = sum(self._sent.values())
        self._check()
        self._beat.advance(moved / self._total)

    def _wait(self, seconds: float) -> None:
        self._check()
        self._beat.wait(seconds)

    def _check(self) -> None:
        if self._abandoned:
            raise Stopped("another part could not be uploaded")


class _Body(io.RawIOBase):
    """A stretch of a file as a request's body, which reports how far it is."""

    def __init__(self, path: pathlib.Path, part: _Part, moved: Callable[[_Part, int], None]) -> None:
        self._file = path.open("rb")
        self._part = part
        self._position = 0
        self._moved = moved
        self.seek(0)

    def __len__(self) -> int:
        return self._part.size

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)[: self._part.size - self._position]
        count = self._file.readinto(view)
        self._position += count
        self._moved(self._part, self._position)
        return count

    @override
    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence != 0:
            raise io.UnsupportedOperation("only from the start")
        self._file.seek(self._part.start + offset)
        self._position = offset
        return offset

    @override
    def tell(self) -> int:
        return self._position

    @override
    def close(self) -> None:
        self._file.close()
        super().close()


def _sizes(pieces: Sequence[Piece], part_bytes: int) -> Iterator[int]:
    """Yield how large each part of a file is, but the last."""
    if pieces:
        yield pieces[0].start
    yield from (piece.size_bytes for piece in pieces)
    yield from itertools.repeat(part_bytes)


def _parts(path: pathlib.Path, sizes: Iterable[int], beat: beats.Beat) -> list[_Part]:
    """Return the parts of a file with their SHA-1, and at the end, as number 0, the whole."""
    whole = hashlib.sha1(usedforsecurity=False)
    parts: list[_Part] = []
    start = 0
    with path.open("rb") as source:
        for part_bytes in sizes:
            size, digest = 0, hashlib.sha1(usedforsecurity=False)
            while block := source.read(min(BLOCK_BYTES, part_bytes - size)):
                whole.update(block)
                digest.update(block)
                size += len(block)
                beat.advance()
            if size == 0:
                break
            parts.append(_Part(len(parts) + 1, start, size, digest.hexdigest()))
            start += size
    return [*parts, _Part(0, 0, start, whole.hexdigest())]
