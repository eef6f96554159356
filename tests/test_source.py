"""What ffmpeg sees of a source: byte ranges over HTTP, from the local B2 through the block cache."""

import concurrent.futures
import http.client
import os
import pathlib
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from house import wait_for

from watcher import bucket as door
from watcher import localb2, source
from watcher.beat import Beat
from watcher.errors import Outage, SourceGone, Stopped
from watcher.source import blocks, line

BLOCK = 10_000
CAP_EXCEEDED = b'{"status": 403, "code": "download_cap_exceeded", "message": "a cap is spent"}'
DOWNLOAD = "b2_download_file_by_id"


class Film:
    """An object in the bucket, a server, and the calls that were made for it."""

    def __init__(self, b2: localb2.LocalB2, bucket: door.Bucket, server: source.Server, folder: Path) -> None:
        self.b2, self.bucket, self.server = b2, bucket, server
        self.folder = folder / "blocks"
        self.data = b""
        self.file_id = ""

    def put(self, size_bytes: int) -> None:
        self.data = os.urandom(size_bytes)
        path = self.folder.parent / "film"
        path.write_bytes(self.data)
        self.file_id = self.bucket.upload(
            path, "film", content_type="video/mp4", info={}, beat=Beat()
        ).file_id

    def open(self, beat: Beat | None = None) -> AbstractContextManager[source.Opened]:
        return self.server.open(self.file_id, len(self.data), folder=self.folder, beat=beat or Beat())

    @property
    def fetched(self) -> int:
        return self.b2.calls[DOWNLOAD]


@pytest.fixture
def film(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Film]:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 0)
    with source.Server(bucket) as server:
        yield Film(b2, bucket, server, tmp_path)


def ask(url: str, wanted: str | None = None, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    try:
        connection.request(method, parts.path, headers={"Range": wanted} if wanted else {})
        answer = connection.getresponse()
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            body = cut.partial
        return answer.status, dict(answer.getheaders()), body
    finally:
        connection.close()


RANGES = {
    "bytes=0-": (0, 35_000),
    "bytes=0-0": (0, 1),
    "bytes=9999-10000": (9_999, 10_001),
    "bytes=12345-23456": (12_345, 23_457),
    "bytes=34999-": (34_999, 35_000),
    "bytes=30000-99999": (30_000, 35_000),
    "bytes=-1": (34_999, 35_000),
    "bytes=-20001": (14_999, 35_000),
    "bytes=-99999": (0, 35_000),
}
NO_RANGES = ["bytes=35000-", "bytes=99999-", "bytes=-0", "bytes=7-3", "bytes=-", "x=1-2"]


def test_a_range_is_answered_with_exactly_its_bytes(film: Film) -> None:
    film.put(35_000)
    with film.open() as opened:
        for wanted, (start, end) in RANGES.items():
            status, headers, body = ask(opened.url, wanted)
            assert (wanted, status, body) == (wanted, 206, film.data[start:end])
            assert headers["Content-Range"] == f"bytes {start}-{end - 1}/35000"
            assert headers["Content-Length"] == str(end - start)
        opened.check()


def test_the_first_and_the_last_blocks_are_smaller(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 8)
    monkeypatch.setattr(blocks, "SMALL_BLOCK_BYTES", BLOCK // 8)
    film.put(35_000)
    with film.open() as opened:
        ask(opened.url, "bytes=0-31")
        ask(opened.url, "bytes=-31")
        assert [path.stat().st_size for path in film.folder.iterdir()] == [BLOCK // 8, BLOCK // 8]
        for wanted, (start, end) in RANGES.items():
            assert (wanted, ask(opened.url, wanted)[2]) == (wanted, film.data[start:end])
        assert ask(opened.url)[2] == film.data
    assert film.fetched == 8 + 2 + 4


@hypothesis.given(
    st.integers(0, 10**7),
    st.integers(1, 10**7),
    st.integers(0, 9),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
)
def test_each_byte_lies_in_one_block(
    place: int, beyond: int, head: int, small_bytes: int, block_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "HEAD_BLOCKS", head)
        patch.setattr(blocks, "SMALL_BLOCK_BYTES", small_bytes)
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        grid = blocks.Grid(place + beyond)
        number = grid.number_at(place)
        start, end = grid.bounds(number)
        assert start <= place < end
        assert end - start in (small_bytes, block_bytes)
        assert grid.bounds(number + 1)[0] == end
        assert grid.number_at(start) == number
        assert grid.bounds(0)[0] == 0


def test_without_a_range_all_of_it_is_answered(film: Film) -> None:
    film.put(35_000)
    with film.open() as opened:
        status, headers, body = ask(opened.url)
        assert (status, body, headers["Accept-Ranges"]) == (200, film.data, "bytes")


def test_a_head_request_fetches_nothing(film: Film) -> None:
    film.put(35_000)
    with film.open() as opened:
        status, headers, body = ask(opened.url, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "35000", b"")
    assert film.fetched == 0


def test_what_lies_past_the_end_is_refused_with_the_size(film: Film) -> None:
    film.put(35_000)
    with film.open() as opened:
        for wanted in NO_RANGES:
            status, headers, body = ask(opened.url, wanted)
            assert (wanted, status, headers["Content-Range"], body) == (wanted, 416, "bytes */35000", b"")
        opened.check()


def test_an_empty_source_has_no_range(film: Film) -> None:
    with film.open() as opened:
        assert [ask(opened.url, wanted)[0] for wanted in (None, "bytes=0-", "bytes=-5")] == [200, 416, 416]


def test_each_block_is_fetched_once_however_many_read_it(film: Film) -> None:
    film.put(10 * BLOCK - 5)
    with film.open() as one, film.open() as two, concurrent.futures.ThreadPoolExecutor(8) as readers:
        answers = readers.map(ask, [one.url, two.url] * 4)
        assert all(body == film.data for _, _, body in answers)
    with film.open() as again:
        assert ask(again.url)[2] == film.data
    assert film.fetched == 10


def test_only_a_reader_that_reads_on_is_read_ahead_for(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 0)
    monkeypatch.setattr(line.Line, "learn", lambda *_, **__: None)  # so small blocks tell nothing
    for last, fetched in ((0, 1), (BLOCK - 1, 1), (2 * BLOCK, 5)):
        b2.calls.clear()
        with source.Server(bucket) as server:
            film = Film(b2, bucket, server, tmp_path)
            film.put(20 * BLOCK)
            with film.open() as opened:
                ask(opened.url, f"bytes=0-{last}")
            server._pool.shutdown(wait=True)
            assert film.fetched == fetched
            server.forget(film.folder)


def test_readers_get_the_right_bytes_while_blocks_are_dropped_under_them(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "CACHE_BYTES", 3 * BLOCK)
    film.put(12 * BLOCK + 17)
    size, dice = len(film.data), random.Random(7)
    spans = [sorted((dice.randrange(size), dice.randrange(size))) for _ in range(30)]
    with film.open() as opened, concurrent.futures.ThreadPoolExecutor(6) as readers:

        def read(span: list[int]) -> bool:
            return ask(opened.url, f"bytes={span[0]}-{span[1]}")[2] == film.data[span[0] : span[1] + 1]

        assert all(readers.map(read, [*spans, [0, size - 1]]))
        opened.check()
        film.server._pool.shutdown(wait=True)
        assert len(list(film.folder.iterdir())) <= 3 + line.MOST_AHEAD
    assert film.fetched > 13


def test_a_block_appears_under_its_name_only_when_it_is_whole(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader may hold the name of a block that was dropped and is being fetched again.
    film.put(BLOCK)
    write, seen = pathlib.Path.write_bytes, []

    def write_slowly(path: Path, data: bytes) -> int:
        written = write(path, data[: BLOCK // 2])
        seen.append((film.folder / "00000000").exists())
        return written if len(data) <= BLOCK // 2 else write(path, data)

    with film.open() as opened:
        monkeypatch.setattr(pathlib.Path, "write_bytes", write_slowly)
        assert ask(opened.url)[2] == film.data
    assert seen == [False]
    assert [path.name for path in film.folder.iterdir()] == ["00000000"]


def test_a_reader_that_stands_back_takes_no_block_while_another_waits_for_its_own(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SHORT_SECONDS", 0.0)
    film.put(3 * BLOCK)
    read, is_free, fetched = film.bucket.read_range, threading.Event(), []

    def read_slowly(_: door.Bucket, file_id: str, start: int, end: int) -> bytes:
        fetched.append(start // BLOCK)
        assert is_free.wait(60)
        return read(file_id, start, end)

    monkeypatch.setattr(door.Bucket, "read_range", read_slowly)
    stood_back = threading.Event()

    def wait(is_short: Callable[[], bool], _size: float) -> None:
        while is_short():
            stood_back.set()
            time.sleep(0.01)

    behind = film.server.open(film.file_id, len(film.data), folder=film.folder, beat=Beat(), wait=wait)
    with film.open() as first, behind as second, concurrent.futures.ThreadPoolExecutor(2) as readers:
        one = readers.submit(ask, first.url, "bytes=0-0")
        wait_for(lambda: first.blocks.is_short_of(2), "a reader that waits")
        other = readers.submit(ask, second.url, f"bytes={2 * BLOCK}-")
        assert stood_back.wait(60)
        assert fetched == [0]
        is_free.set()
        assert one.result()[2] == film.data[:1]
        assert other.result()[2] == film.data[2 * BLOCK :]
    assert fetched == [0, 2]


def test_a_slow_line_is_left_to_one_block_and_the_next() -> None:
    slow = line.Line()
    assert slow.ahead == line.MOST_AHEAD
    slow.learn(0.7, beside=1, size_bytes=BLOCK)
    for _ in range(4):
        slow.learn(0.7 * 5, beside=5, size_bytes=BLOCK)  # each has a fifth of the line
    assert slow.ahead == 1
    for _ in range(4):
        slow.learn(0.7 * 2, beside=2, size_bytes=BLOCK)
    assert slow.ahead == 1


def test_a_line_that_each_connection_adds_to_gets_as_many_as_there_may_be() -> None:
    long = line.Line()
    long.learn(0.1, beside=1, size_bytes=BLOCK)
    for _ in range(4):
        long.learn(0.5, beside=5, size_bytes=BLOCK)  # something else was in the way
    assert long.ahead == 1
    for _ in range(20):
        long.learn(0.1, beside=long.ahead + 1, size_bytes=BLOCK)
    assert long.ahead == line.MOST_AHEAD


def test_blocks_are_compared_with_those_of_their_size() -> None:
    slow = line.Line()
    slow.learn(0.2, beside=1, size_bytes=BLOCK // 4)
    slow.learn(0.7 * 2, beside=2, size_bytes=BLOCK)  # nothing is known of one alone
    assert slow.ahead == line.MOST_AHEAD
    for _ in range(4):
        slow.learn(0.2 * 5, beside=5, size_bytes=BLOCK // 4)
    assert slow.ahead == 1


def test_a_slow_line_is_known_after_the_first_blocks_of_a_film(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, read = threading.Lock(), bucket.read_range

    def read_one_by_one(_: door.Bucket, file_id: str, start: int, end: int) -> bytes:
        with taken:
            time.sleep(0.05)
            return read(file_id, start, end)

    monkeypatch.setattr(door.Bucket, "read_range", read_one_by_one)
    monkeypatch.setattr(blocks, "SMALL_BLOCK_BYTES", BLOCK)
    with source.Server(bucket) as server:
        film = Film(b2, bucket, server, tmp_path)
        film.put(blocks.HEAD_BLOCKS * BLOCK)
        with film.open() as opened:
            ask(opened.url)
        server._pool.shutdown(wait=True)
        assert server._line.ahead == 1


def test_what_is_learnt_of_the_line_is_what_blocks_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 1.0, 2.0, 4.0, 4.0])
    monkeypatch.setattr(line.time, "monotonic", lambda: next(now))
    learnt: list[tuple[float, float]] = []
    monkeypatch.setattr(
        line.Line, "learn", lambda _, seconds, **told: learnt.append((seconds, told["beside"]))
    )
    one = line.Line()
    one.fetch(lambda: b"", is_full=True)
    one.fetch(lambda: one.fetch(lambda: b"", is_full=True), is_full=True)
    # The second began one second before the third, and they ended together.
    assert learnt == [(1.0, 1.0), (2.0, 2.0), (3.0, 5 / 3)]


def test_an_outage_reaches_the_step_and_not_only_the_reader(film: Film) -> None:
    film.put(2 * BLOCK)  # no third one, which would be read ahead and could meet the fault instead
    beat = Beat()
    with film.open(beat) as opened:
        ask(opened.url, "bytes=0-0")
        film.b2.faults.append(localb2.Fault(DOWNLOAD, 403, CAP_EXCEEDED))
        status, _, body = ask(opened.url)
        assert (status, body) == (200, film.data[:BLOCK])
        for meets_it in (opened.check, beat.check):
            with pytest.raises(Outage) as caught:
                meets_it()
            assert caught.value.code == "b2_cap_exceeded"


def test_what_could_not_be_fetched_is_fetched_when_it_is_asked_for_again(film: Film) -> None:
    film.put(BLOCK)
    film.b2.faults.append(localb2.Fault(DOWNLOAD, 403, CAP_EXCEEDED))
    with film.open() as opened:
        ask(opened.url)
    with film.open() as opened:
        assert ask(opened.url)[2] == film.data
        opened.check()


def test_a_source_that_was_deleted_is_said_to_be_gone(film: Film) -> None:
    film.put(BLOCK)
    film.bucket.delete(film.file_id, "film")
    beat = Beat()
    with film.open(beat) as opened:
        ask(opened.url)
        for meets_it in (opened.check, beat.check):
            with pytest.raises(SourceGone):
                meets_it()


def test_a_full_disk_is_an_outage_and_leaves_no_half_block(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    film.put(BLOCK)
    write = pathlib.Path.write_bytes

    def no_space(path: Path, data: bytes) -> int:
        write(path, data[:10])
        raise OSError(28, "No space left on device")

    with film.open() as opened:
        with monkeypatch.context() as full:
            full.setattr(pathlib.Path, "write_bytes", no_space)
            ask(opened.url)
        with pytest.raises(Outage) as caught:
            opened.check()
        assert caught.value.code == "disk_full"
        assert list(film.folder.iterdir()) == []
    with film.open() as opened:
        assert ask(opened.url)[2] == film.data


def test_a_stopped_step_gets_no_more_bytes(film: Film) -> None:
    film.put(BLOCK)
    beat = Beat()
    with film.open(beat) as opened:
        beat.stop(Stopped())
        assert ask(opened.url)[2] == b""
        opened.check()  # the beat says why


def test_an_unknown_secret_finds_nothing(film: Film) -> None:
    film.put(BLOCK)
    with film.open() as opened:
        for url in (opened.url[:-1], opened.url + "x", opened.url.rsplit("/", 1)[0] + "/"):
            assert ask(url)[0] == 404
    assert ask(opened.url)[0] == 404
    assert film.fetched == 0


def test_nothing_is_served_after_the_source_was_closed_and_the_step_is_left_alone(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1_000_000)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 0)
    film.put(30_000_000)  # more than the sockets' buffers hold
    beat = Beat()
    with film.open(beat) as opened, socket.socket() as client:
        parts = urllib.parse.urlsplit(opened.url)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect((parts.hostname, parts.port))
        client.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = len(client.recv(1000))
        client_of_a_closed_source = client.dup()
    film.b2.faults.append(localb2.Fault(DOWNLOAD, 403, CAP_EXCEEDED, times=-1))
    with client_of_a_closed_source as client:
        while data := client.recv(1_000_000):
            received += len(data)
    assert received < len(film.data)
    beat.check()  # ffmpeg hung up and is gone: what its last request met is no longer the step's matter


def test_a_slow_reader_gets_every_byte(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    # ffmpeg may read a film of few bits per second, which it encodes slowly, for longer than any time-out.
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1_000_000)
    monkeypatch.setattr(blocks, "HEAD_BLOCKS", 0)
    monkeypatch.setattr(source._Handler, "timeout", 0.2)
    film.put(30_000_000)
    with film.open() as opened, socket.socket() as slow:
        parts = urllib.parse.urlsplit(opened.url)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.connect((parts.hostname, parts.port))
        slow.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(3):
            with socket.create_connection((parts.hostname, parts.port)) as silent:
                assert silent.recv(1) == b""  # the server's patience with it is over
        received = b"".join(iter(lambda: slow.recv(1_000_000), b""))
        opened.check()
    assert received.endswith(film.data)


def test_blocks_that_are_in_use_are_not_forgotten(film: Film) -> None:
    film.put(3 * BLOCK)
    with film.open() as opened:
        ask(opened.url, "bytes=0-0")
        film.server.forget(film.folder)
        assert ask(opened.url)[2] == film.data
    assert film.fetched == 3
    film.server.forget(film.folder)
    film.server.forget(film.folder)
    with film.open() as opened:
        assert ask(opened.url)[2] == film.data
    assert film.fetched == 6


def test_a_videos_folder_that_was_deleted_is_not_made_again(film: Film) -> None:
    film.put(1)
    film.folder = film.folder.parent / "deleted" / "v1" / "blocks"
    with pytest.raises(FileNotFoundError), film.open():
        pass
    assert not film.folder.parent.parent.exists()  # a worker's, which without its lock would look dead
