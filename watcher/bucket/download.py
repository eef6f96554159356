"""Bytes from B2: ranges, and whole files."""

import hashlib
import io
import pathlib

import requests
from b2sdk.v3 import exception

from watcher import beat as beats
from watcher.bucket import listing, session, trouble
from watcher.errors import Failure, Outage

SLOWEST_BYTES_PER_SECOND = 32 * 1024  # below this a range read counts as stuck
GRACE_SECONDS = 60.0


def read_range(opened: session.Session, file_id: str, start: int, end: int) -> bytes:
    """Try once to read the bytes from `start` up to `end`; raises what b2sdk raises."""
    response = _get(opened, file_id, (start, end - 1))
    offset = _offset(response)
    if offset != start:
        response.close()
        raise exception.B2ConnectionError(f"B2 sent bytes from {offset}, not from {start}")
    wanted, found = end - start, bytearray()
    for block in session.blocks(response, GRACE_SECONDS + wanted / SLOWEST_BYTES_PER_SECOND):
        found += block
        if len(found) > wanted:  # B2 may answer `bytes=0-9` with the whole file
            break
    if len(found) < wanted:
        raise exception.B2ConnectionError(f"the body ended after {len(found)} of {wanted} bytes")
    del found[wanted:]
    return bytes(found)


def download(opened: session.Session, file_id: str, path: pathlib.Path, *, beat: beats.Beat) -> None:
    """Write a whole file to `path`; what is broken off is taken up again, as long as bytes keep coming."""
    doing = f"download {file_id}"
    try:
        with trouble.translated(doing), path.open("wb") as target:
            fetch = _Fetch(opened, file_id, target, beat)
            while not fetch.is_complete:
                before = fetch.done
                try:
                    trouble.patiently(doing, fetch.go_on, sleep=beat.wait)
                except Outage as outage:
                    if fetch.done == before or not trouble.is_passing(outage):
                        raise
            fetch.verify(doing)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Fetch:
    """A download in progress: what has come, and what it should be."""

    def __init__(
        self, opened: session.Session, file_id: str, target: io.BufferedWriter, beat: beats.Beat
    ) -> None:
        self._session, self._file_id, self._target, self._beat = opened, file_id, target, beat
        self._digest = hashlib.sha1(usedforsecurity=False)
        self._total: int | None = None
        self._sha1: str | None = None  # which B2 has verified
        self._claimed_sha1: str | None = None  # which only the uploader has stated
        self.done = 0

    @property
    def is_complete(self) -> bool:
        return self.done == self._total

    def go_on(self) -> None:
        """Fetch what is missing, over one connection."""
        wanted = None if self._total is None or self.done == 0 else (self.done, self._total - 1)
        response = _get(self._session, self._file_id, wanted)
        if _offset(response) != self.done:
            response.close()
            raise exception.B2ConnectionError(f"B2 did not go on from byte {self.done}")
        if self._total is None:
            self._total = int(response.headers["Content-Length"])
            self._sha1 = listing.stated_sha1(response.headers.get("X-Bz-Content-Sha1"), {})
            self._claimed_sha1 = response.headers.get("X-Bz-Info-large_file_sha1")
        left = self._total - self.done
        for block in session.blocks(response, GRACE_SECONDS + left / SLOWEST_BYTES_PER_SECOND):
            self._target.write(block)
            self._digest.update(block)
            self.done += len(block)
            self._beat.advance(self.done / self._total)
        if self.done != self._total:
            raise exception.B2ConnectionError(f"the body ended after {self.done} of {self._total} bytes")

    def verify(self, doing: str) -> None:
        found = self._digest.hexdigest()
        if self._sha1 not in (None, found):
            raise Outage("b2_unavailable", f"{doing}: the bytes do not have the SHA-1 that B2 states")
        claimed = listing.stated_sha1(self._claimed_sha1, {})
        if self._sha1 is None and claimed not in (None, found):
            raise Failure(
                "source_damaged", f"{doing}: the bytes do not have the SHA-1 that the uploader stated"
            )


def _get(opened: session.Session, file_id: str, wanted: tuple[int, int] | None) -> requests.Response:
    """Ask for a file, or the bytes from and to (included) `wanted` of it."""
    url = opened.get_download_url_by_id(file_id)
    response: requests.Response = opened.download_file_from_url(url, range_=wanted).response
    if response.headers.get("X-Bz-File-Id") != file_id:
        # A portal or a proxy that answers in B2's place: its page would pass for bytes of the film.
        response.close()
        raise exception.B2ConnectionError(f"what answered is not B2, or not with file {file_id}")
    return response


def _offset(response: requests.Response) -> int:
    """Return the offset of the first byte of a body; -1 when a partial one does not say."""
    if response.status_code == requests.codes.ok:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1
