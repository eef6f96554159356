"""The blocks of a source: byte ranges fetched from the bucket, once each, and kept on disk for all its readers."""

import math
import secrets
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from watcher import crashpoint
from watcher.errors import Outage
from watcher.source.line import Line

# One B2 call each: small enough to answer a probe quickly, large enough to keep calls and latency down.
BLOCK_BYTES = 2 * 1024 * 1024
# The first and the last ones are smaller: whoever opens a film looks at its first bytes, then at the index, which may
# be at its end, then at the first pictures, and makes its first seconds and the next. On a slow line a viewer would
# wait each time for the rest of a large one, and for as much of the next, which comes beside it.
SMALL_BLOCK_BYTES = 512 * 1024
HEAD_BLOCKS = 48
# What one video may keep on disk: a film fits; beyond it the blocks longest unused are dropped.
CACHE_BYTES = 4 * 1024**3
# The line is short while a reader had to wait for a block, and for so long after.
SHORT_SECONDS = 1.0


class Ranges(Protocol):
    """The part of `bucket.Bucket` that is needed here."""

    def read_range(self, file_id: str, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` (exclusive) of a file version."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """How a source of `size_bytes` is divided into blocks, which are numbered from 0."""

    size_bytes: int

    def number_at(self, place: int) -> int:
        """Return the number of the block that holds the byte at `place`."""
        beyond = place - HEAD_BLOCKS * SMALL_BLOCK_BYTES
        if beyond < 0:
            return place // SMALL_BLOCK_BYTES
        behind = beyond - self._large * BLOCK_BYTES
        if behind < 0:
            return HEAD_BLOCKS + beyond // BLOCK_BYTES
        return HEAD_BLOCKS + self._large + behind // SMALL_BLOCK_BYTES

    def bounds(self, number: int) -> tuple[int, int]:
        """Return where a block starts and ends (exclusive); the source may end before."""
        return self._start(number), self._start(number + 1)

    @property
    def _large(self) -> int:
        """How many blocks are large; what does not fill one more is at the end."""
        return max(self.size_bytes - HEAD_BLOCKS * SMALL_BLOCK_BYTES, 0) // BLOCK_BYTES

    def _start(self, number: int) -> int:
        large = min(max(number - HEAD_BLOCKS, 0), self._large)
        return (number - large) * SMALL_BLOCK_BYTES + large * BLOCK_BYTES


class Blocks:
    """The blocks of one source in one folder; each is fetched once, whoever asks."""

    def __init__(
        self,
        bucket: Ranges,
        file_id: str,
        size_bytes: int,
        folder: Path,
        pool: ThreadPoolExecutor,
        line: Line,
    ) -> None:
        self.grid = Grid(size_bytes)
        self.users = 0
        self._bucket = bucket
        self._file_id = file_id
        self._folder = folder
        self._pool = pool
        self._line = line
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[Path]] = OrderedDict()
        self._waiting = 0  # readers for whose blocks the line is too slow; those that stand back do not count
        self._waited_at = -math.inf
        folder.mkdir(exist_ok=True)

    def open(self, number: int, *, read_bytes: int, is_urgent: bool) -> BinaryIO:
        """Return the open file of a block, fetched if need be; start fetching those after it.

        As many bytes ahead as the reader has read on before it, and no more blocks than the line is worth.
        """
        end = self.grid.bounds(number)[1]
        while True:
            future = self._request(number)
            for later in range(number + 1, number + 1 + self._line.ahead):
                start = self.grid.bounds(later)[0]
                if start < self.grid.size_bytes and start - end < read_bytes:
                    self._request(later)
            try:
                path = self._await(future) if is_urgent else future.result()
                return path.open("rb")
            except FileNotFoundError:  # dropped from the cache in between
                with self._lock:
                    if self._blocks.get(number) is future:
                        del self._blocks[number]

    def is_short_of(self, number: int) -> bool:
        """Tell whether a block would have to be fetched while others wait for theirs."""
        with self._lock:
            future = self._blocks.get(number)
            is_here = future is not None and future.done()
            is_short = self._waiting > 0 or time.monotonic() < self._waited_at + SHORT_SECONDS
            return is_short and not is_here

    def _await(self, future: "Future[Path]") -> Path:
        if future.done():
            return future.result()
        with self._lock:
            self._waiting += 1
        try:
            return future.result()
        finally:
            with self._lock:
                self._waiting -= 1
                self._waited_at = time.monotonic()

    def _request(self, number: int) -> "Future[Path]":
        with self._lock:
            future = self._blocks.get(number)
            if future is None or (future.done() and future.exception() is not None):
                future = self._blocks[number] = self._pool.submit(self._fetch, number)
                self._evict(keep=number)  # which may be there already, and all the others still on their way
            self._blocks.move_to_end(number)
            return future

    def _fetch(self, number: int) -> Path:
        start, full = self.grid.bounds(number)
        end = min(full, self.grid.size_bytes)
        data = self._line.fetch(
            lambda: self._bucket.read_range(self._file_id, start, end), is_full=end == full
        )
        path = self._folder / f"{number:08d}"
        # Under its own name only when whole: who was about to read it when it was dropped may open it now.
        fresh = self._folder / f"{number:08d}.{secrets.token_hex(4)}"
        try:
            fresh.write_bytes(data)
            crashpoint.here("ranges")
            fresh.rename(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise Outage(
                "disk_full", f"could not write {len(data)} bytes of the source to scratch: {error}"
            ) from error
        with self._lock:
            self._evict(keep=number)  # when it was asked for, too many others may have been on their way
        return path

    def _evict(self, *, keep: int) -> None:
        while len(self._blocks) * BLOCK_BYTES > CACHE_BYTES:
            number = next((n for n, future in self._blocks.items() if future.done() and n != keep), None)
            if number is None:
                return
            del self._blocks[number]
            (self._folder / f"{number:08d}").unlink(missing_ok=True)
