"""The door to B2: what comes through it, and what its errors become. Against the local B2, over HTTP."""

import concurrent.futures
import itertools
import json
import os
import pathlib
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from watcher import beat as beats
from watcher import bucket as door
from watcher import errors, localb2
from watcher.localb2 import Fault

PART = 5_000_000  # bytes; what the `b2` fixture's clients are told to send parts of
NAMES = [
    "a b 'c' \"d\" $(e) 100% +.mp4",
    "-dash",
    "🎬/é",
    "..",
    "a/../b",
    "x" * 250,
    "/".join(["y" * 199] * 5),
]


class StopsAt(beats.Beat):
    """A beat that is told to stop once the work is so far."""

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self._at = fraction

    def advance(self, fraction: float | None = None) -> None:
        super().advance(fraction)
        if self.fraction >= self._at:
            self.stop(errors.Stopped("shutting down"))


def put(
    bucket: door.Bucket, folder: pathlib.Path, name: str, data: bytes = b"bytes", **info: str
) -> door.Stored:
    path = folder / "source"
    path.write_bytes(data)
    return bucket.upload(path, name, content_type="video/mp4", info=info, beat=beats.Beat())


def answer_with(b2: localb2.LocalB2, operation: str, body: Any, status: int = 200, **headers: str) -> None:
    """Let every request for `operation` be answered with `body` from now on."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    b2.faults[:] = [Fault(operation, status, raw, headers, times=-1)]


def test_pages_hold_each_current_file_once_and_the_cursor_goes_on(
    bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    for name in ("in/a", "in/b", "in/c", "other"):
        put(bucket, tmp_path, name)
    newer = put(bucket, tmp_path, "in/b", b"newer", title="B")

    first = bucket.list_page(prefix="in/", cursor=None, count=2)
    second = bucket.list_page(prefix="in/", cursor=first.cursor, count=2)

    assert [entry.name for entry in (*first.entries, *second.entries)] == ["in/a", "in/b", "in/c"]
    assert second.cursor is None
    entry = first.entries[1]
    assert (entry.file_id, entry.size_bytes, entry.content_sha1) == (newer.file_id, 5, newer.sha1)
    assert (entry.content_type, entry.info) == ("video/mp4", {"title": "B"})
    assert abs(entry.uploaded_at - datetime.now(UTC)) < timedelta(hours=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_round_trips(bucket: door.Bucket, tmp_path: pathlib.Path, name: str) -> None:
    stored = put(bucket, tmp_path, name, name.encode())

    assert [entry.name for entry in bucket.list_page(prefix="", cursor=None, count=10).entries] == [name]
    assert bucket.read_range(stored.file_id, 0, stored.size_bytes) == name.encode()
    bucket.delete(stored.file_id, name)
    assert bucket.list_page(prefix="", cursor=None, count=10).listed == 0


GOOD = {
    "action": "upload",
    "fileId": "4_z1",
    "fileName": "good",
    "contentLength": 1,
    "contentType": "video/mp4",
    "contentSha1": "none",
    "fileInfo": {"src_last_modified_millis": "not a number"},
    "uploadTimestamp": 1_700_000_000_000,
}


@pytest.mark.parametrize(
    "bad",
    [
        {"fileId": None},
        {"fileName": "half a \ud83d"},
        {"fileName": "tab\there"},
        {"contentLength": -1},
        {"contentLength": "1"},
        {"contentLength": True},
        {"contentType": None},
        {"fileInfo": {"a": 1}},
        {"fileInfo": {"a": "\udc00"}},
        {"fileInfo": ["a"]},
        {"uploadTimestamp": None},
        {"uploadTimestamp": 10**18},
        {"action": "teleport"},
    ],
)
def test_one_bad_entry_is_reported_and_hides_no_other(
    b2: localb2.LocalB2, bucket: door.Bucket, bad: dict[str, Any]
) -> None:
    rows = [GOOD, {**GOOD, **bad}, 7, {**GOOD, "fileId": "4_z2", "fileName": "also good"}]
    answer_with(b2, "b2_list_file_names", {"files": rows, "nextFileName": None})

    page = bucket.list_page(prefix="", cursor=None, count=10)

    assert [entry.name for entry in page.entries] == ["good", "also good"]
    assert [json.loads(entry.raw) for entry in page.unread] == [{**GOOD, **bad}, 7]
    assert all(entry.why for entry in page.unread)
    for entry in page.unread:
        ((entry.name or "") + (entry.file_id or "") + entry.raw + entry.why).encode()


def test_hide_markers_folders_and_unfinished_files_are_no_entries(
    b2: localb2.LocalB2, bucket: door.Bucket
) -> None:
    rows = [{"action": action, "fileId": None, "fileName": "x"} for action in ("hide", "folder", "start")]
    answer_with(b2, "b2_list_file_names", {"files": [*rows, GOOD], "nextFileName": None})

    page = bucket.list_page(prefix="", cursor=None, count=10)

    assert ([entry.name for entry in page.entries], page.unread, page.listed) == (["good"], (), 4)


@pytest.mark.parametrize(
    "body", [b"<html>portal</html>", b'{"files": [', b"[]", b"{}", b'{"files": 1}', b"\xff"]
)
def test_an_answer_that_is_no_listing_is_an_outage(
    b2: localb2.LocalB2, bucket: door.Bucket, body: bytes
) -> None:
    answer_with(b2, "b2_list_file_names", body)

    with pytest.raises(errors.Outage) as caught:
        bucket.list_page(prefix="", cursor=None, count=10)

    assert caught.value.code == "b2_unavailable"


def test_a_cursor_that_does_not_advance_is_an_error(b2: localb2.LocalB2, bucket: door.Bucket) -> None:
    answer_with(b2, "b2_list_file_names", {"files": [GOOD], "nextFileName": "good"})

    assert bucket.list_page(prefix="", cursor=None, count=1).cursor == "good"
    with pytest.raises(errors.Outage, match="cursor"):
        bucket.list_page(prefix="", cursor="good", count=1)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "transaction_cap_exceeded", "b2_cap_exceeded"),
        (403, "storage_cap_exceeded", "b2_cap_exceeded"),
        (403, "download_cap_exceeded", "b2_cap_exceeded"),
        (403, "access_denied", "b2_unauthorized"),
        (401, "unauthorized", "b2_unauthorized"),
        (500, "internal_error", "b2_unavailable"),
        (503, "service_unavailable", "b2_unavailable"),
        (429, "too_many_requests", "b2_unavailable"),
        (408, "request_timeout", "b2_unavailable"),
        (418, "teapot", "b2_unavailable"),
    ],
)
def test_an_error_of_b2_becomes_an_outage_with_its_code(
    b2: localb2.LocalB2, bucket: door.Bucket, status: int, code: str, expected: str
) -> None:
    answer_with(b2, "b2_list_file_names", {"status": status, "code": code, "message": "no"}, status)

    with pytest.raises(errors.Outage) as caught:
        bucket.list_page(prefix="", cursor=None, count=10)

    assert caught.value.code == expected
    assert "watcher-demo" in caught.value.detail
    assert b2.key not in repr(caught.getrepr(style="long"))


def test_a_long_retry_after_is_handed_on_and_not_slept_through(
    b2: localb2.LocalB2, bucket: door.Bucket
) -> None:
    answer_with(b2, "b2_list_file_names", {}, 503, **{"Retry-After": "3600"})

    with pytest.raises(errors.Outage) as caught:
        bucket.list_page(prefix="", cursor=None, count=10)

    assert caught.value.retry_after == timedelta(hours=1)
    assert b2.calls["b2_list_file_names"] == 1


def test_a_hiccup_is_not_noticed(b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    for operation in ("b2_get_upload_url", "b2_upload_file", "b2_list_file_names", "b2_download_file_by_id"):
        b2.faults.append(Fault(operation))

    stored = put(bucket, tmp_path, "name", b"0123456789")

    assert [entry.name for entry in bucket.list_page(prefix="", cursor=None, count=10).entries] == ["name"]
    b2.faults.append(Fault("b2_download_file_by_id", cut_after=3))
    assert bucket.read_range(stored.file_id, 2, 9) == b"2345678"
    assert b2.faults == []


def test_a_range_is_exact_even_if_b2_sends_the_whole_file(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    stored = put(bucket, tmp_path, "name", b"0123456789")
    assert bucket.read_range(stored.file_id, 9, 10) == b"9"
    assert bucket.read_range(stored.file_id, 4, 4) == b""

    answer_with(b2, "b2_download_file_by_id", b"0123456789", **{"x-bz-file-id": stored.file_id})

    assert bucket.read_range(stored.file_id, 0, 3) == b"012"
    with pytest.raises(errors.Outage):
        bucket.read_range(stored.file_id, 3, 6)


def test_a_file_that_is_gone_says_so(bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    stored = put(bucket, tmp_path, "name")
    bucket.delete(stored.file_id, "name")
    bucket.delete(stored.file_id, "name")

    with pytest.raises(errors.SourceGone):
        bucket.read_range(stored.file_id, 0, 1)
    with pytest.raises(errors.SourceGone):
        bucket.download(stored.file_id, tmp_path / "out", beat=beats.Beat())
    assert not (tmp_path / "out").exists()


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    data = os.urandom(2 * PART + 17)
    beat = beats.Beat()
    (tmp_path / "up").write_bytes(data)

    stored = bucket.upload(tmp_path / "up", "large", content_type="video/mp4", info={"a": "b"}, beat=beat)
    b2.faults.append(Fault("b2_download_file_by_id", cut_after=PART))
    bucket.download(stored.file_id, tmp_path / "down", beat=beats.Beat())

    (entry,) = bucket.list_page(prefix="", cursor=None, count=10).entries
    assert b2.calls["b2_upload_part"] == 3
    assert (entry.content_sha1, entry.info["a"], beat.fraction) == (stored.sha1, "b", 1.0)
    assert (tmp_path / "down").read_bytes() == data


def pieces_of(bucket: door.Bucket, folder: pathlib.Path, data: bytes, *borders: int) -> list[door.Piece]:
    """Upload what lies between each two borders, as files of their own."""
    pieces = []
    for start, end in itertools.pairwise(borders):
        stored = put(bucket, folder, f"piece-{start}", data[start:end])
        pieces.append(door.Piece(stored.file_id, start, stored.size_bytes, stored.sha1))
    return pieces


def test_what_of_a_large_file_is_in_the_bucket_is_copied_there(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    data = os.urandom(3 * PART + 100)
    pieces = pieces_of(bucket, tmp_path, data, PART, 2 * PART, 3 * PART)
    (tmp_path / "up").write_bytes(data)
    beat = beats.Beat()

    stored = bucket.upload(
        tmp_path / "up", "film", content_type="video/mp4", info={}, beat=beat, pieces=pieces
    )

    bucket.download(stored.file_id, tmp_path / "down", beat=beats.Beat())
    assert (tmp_path / "down").read_bytes() == data
    assert (b2.calls["b2_copy_part"], b2.calls["b2_upload_part"], beat.fraction) == (2, 2, 1.0)


@pytest.mark.parametrize("trouble", ["gone", "other bytes", "refused", "cut off", "another sum", "no sum"])
def test_what_cannot_be_copied_is_uploaded(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path, trouble: str
) -> None:
    data = os.urandom(3 * PART)
    [piece] = pieces_of(bucket, tmp_path, data, PART, 2 * PART)
    answers = {
        "refused": Fault("b2_copy_part", 401, b'{"code": "unauthorized"}', times=-1),
        "cut off": Fault("b2_copy_part", cut_after=3, times=-1),
        "another sum": Fault("b2_copy_part", 200, b'{"contentSha1": "00"}'),
        "no sum": Fault("b2_copy_part", 200, b'{"contentSha1": null}'),
    }
    if trouble == "gone":
        bucket.delete(piece.file_id, "piece-5000000")
    if trouble == "other bytes":
        data = os.urandom(3 * PART)
    if trouble in answers:
        b2.faults.append(answers[trouble])
    (tmp_path / "up").write_bytes(data)

    stored = bucket.upload(
        tmp_path / "up", "film", content_type="video/mp4", info={}, beat=beats.Beat(), pieces=[piece]
    )

    bucket.download(stored.file_id, tmp_path / "down", beat=beats.Beat())
    assert (tmp_path / "down").read_bytes() == data
    assert b2.calls["b2_upload_part"] == 3
    assert list(bucket.list_unfinished("")) == []


def test_a_copy_that_fails_in_passing_is_tried_again(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    data = os.urandom(3 * PART)
    pieces = pieces_of(bucket, tmp_path, data, PART, 2 * PART)
    (tmp_path / "up").write_bytes(data)
    b2.faults.extend([Fault("b2_copy_part"), Fault("b2_copy_part", cut_after=3)])

    bucket.upload(
        tmp_path / "up", "film", content_type="video/mp4", info={}, beat=beats.Beat(), pieces=pieces
    )

    assert (b2.calls["b2_copy_part"], b2.calls["b2_upload_part"]) == (3, 2)


def test_a_film_that_ends_before_its_pieces_is_uploaded(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    data = os.urandom(3 * PART)
    pieces = pieces_of(bucket, tmp_path, data, PART, 2 * PART, 3 * PART)
    for size in (PART - 1, PART + 7, 2 * PART):
        (tmp_path / "up").write_bytes(data[:size])
        stored = bucket.upload(
            tmp_path / "up", "film", content_type="video/mp4", info={}, beat=beats.Beat(), pieces=pieces
        )
        bucket.download(stored.file_id, tmp_path / "down", beat=beats.Beat())
        assert (tmp_path / "down").read_bytes() == data[:size]


def test_a_copy_that_is_stopped_leaves_nothing_behind(bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    data = os.urandom(3 * PART)
    pieces = pieces_of(bucket, tmp_path, data, PART, 2 * PART)
    (tmp_path / "up").write_bytes(data)

    with pytest.raises(errors.Stopped, match="shutting down"):
        bucket.upload(
            tmp_path / "up", "film", content_type="video/mp4", info={}, beat=StopsAt(0.3), pieces=pieces
        )

    assert list(bucket.list_unfinished("")) == []
    assert list(bucket.list_versions("film")) == []


def test_an_upload_that_is_stopped_leaves_nothing_behind(bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    (tmp_path / "up").write_bytes(os.urandom(3 * PART))

    for path_bytes, fraction in ((3 * PART, 0.4), (PART, 0.4)):
        os.truncate(tmp_path / "up", path_bytes)
        with pytest.raises(errors.Stopped, match="shutting down"):
            bucket.upload(tmp_path / "up", "name", content_type="video/mp4", info={}, beat=StopsAt(fraction))

    assert list(bucket.list_unfinished("")) == []
    assert list(bucket.list_versions("")) == []


@pytest.mark.parametrize(("operation", "size"), [("b2_upload_file", 5), ("b2_start_large_file", PART + 1)])
def test_an_upload_whose_answer_was_lost_leaves_one_object(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path, operation: str, size: int
) -> None:
    put(bucket, tmp_path, "film", b"by another attempt", attempt="1")
    b2.faults.append(Fault(operation, cut_after=3))
    stored = put(bucket, tmp_path, "film", bytes(size), attempt="2")
    found = [(entry.info["attempt"], entry.file_id) for entry in bucket.list_versions("film")]
    assert [attempt for attempt, _ in found] == ["2", "1"]
    assert found[0][1] == stored.file_id
    assert list(bucket.list_unfinished("")) == []
    assert b2.calls[operation] >= 2


def test_a_part_that_cannot_be_sent_cancels_the_large_file(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "up").write_bytes(os.urandom(3 * PART))
    b2.faults.append(Fault("b2_upload_part", 403, b'{"code": "storage_cap_exceeded"}'))

    with pytest.raises(errors.Outage) as caught:
        bucket.upload(tmp_path / "up", "name", content_type="video/mp4", info={}, beat=beats.Beat())

    assert caught.value.code == "b2_cap_exceeded"
    assert list(bucket.list_unfinished("")) == []


def test_unfinished_large_files_are_found_and_cancelled(b2: localb2.LocalB2, bucket: door.Bucket) -> None:
    session = bucket._session
    started = session.start_large_file(bucket.id, "out/name", "video/mp4", {"attempt": "7"})

    (found,) = bucket.list_unfinished("out/")
    assert (found.file_id, found.name, found.info) == (started["fileId"], "out/name", {"attempt": "7"})
    assert list(bucket.list_unfinished("elsewhere/")) == []
    bucket.cancel_unfinished(found.file_id)
    bucket.cancel_unfinished(found.file_id)
    assert list(bucket.list_unfinished("")) == []


def test_a_lost_answer_to_the_finish_is_not_a_failed_upload(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "up").write_bytes(os.urandom(PART + 1))
    b2.faults.append(Fault("b2_finish_large_file", cut_after=5))

    stored = bucket.upload(tmp_path / "up", "name", content_type="video/mp4", info={}, beat=beats.Beat())

    assert [entry.file_id for entry in bucket.list_versions("")] == [stored.file_id]


def test_a_download_that_is_stopped_leaves_no_file(bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    stored = put(bucket, tmp_path, "name", os.urandom(1_000_000))

    with pytest.raises(errors.Stopped):
        bucket.download(stored.file_id, tmp_path / "out", beat=StopsAt(0.1))

    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_the_worlds_fault(bucket: door.Bucket, tmp_path: pathlib.Path) -> None:
    stored = put(bucket, tmp_path, "name", os.urandom(1_000_000))
    (tmp_path / "out").symlink_to("/dev/full")

    with pytest.raises(errors.Outage) as caught:
        bucket.download(stored.file_id, tmp_path / "out", beat=beats.Beat())

    assert caught.value.code == "disk_full"


def test_sixteen_threads_with_an_expired_token_authorise_once(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    stored = put(bucket, tmp_path, "name")
    b2.expire_tokens()
    together = threading.Barrier(16)

    def read(_: int) -> bytes:
        together.wait()
        return bucket.read_range(stored.file_id, 0, 5)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(read, range(16))) == {b"bytes"}
    assert b2.calls["b2_authorize_account"] == 2


def test_an_upload_goes_on_after_its_tokens_expired(
    b2: localb2.LocalB2, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    put(bucket, tmp_path, "first")
    b2.expire_tokens()

    put(bucket, tmp_path, "second")

    assert [entry.name for entry in bucket.list_versions("")] == ["first", "second"]


def test_transactions_are_counted_as_b2_bills_them(
    b2: localb2.LocalB2, account: door.Account, bucket: door.Bucket, tmp_path: pathlib.Path
) -> None:
    assert account.take_transactions() == {"C": 2}  # authorise, look up the bucket
    stored = put(bucket, tmp_path, "name")
    bucket.read_range(stored.file_id, 0, 1)
    assert account.take_transactions() == {"A": 2, "B": 1}
    answer_with(b2, "b2_list_file_names", {"files": [GOOD] * 2_001, "nextFileName": None})

    bucket.list_page(prefix="", cursor=None, count=10_000)

    assert account.take_transactions() == {"C": 3}
    assert account.take_transactions() == {}


def test_a_restricted_key_says_what_it_may(b2: localb2.LocalB2, bucket: door.Bucket) -> None:
    session = bucket._session
    key = session.create_key(
        session.account_info.get_account_id(), ["listFiles"], "reader", None, [bucket.id], "in/"
    )

    reader = door.connect(key_id=key["applicationKeyId"], key=key["applicationKey"], realm=b2.realm)

    assert (reader.capabilities, reader.name_prefix) == ({"listFiles"}, "in/")
    assert reader.bucket_restriction == {"watcher-demo"}
    assert reader.bucket("watcher-demo").list_page(prefix="in/", cursor=None, count=1).listed == 0
    with pytest.raises(errors.Misconfigured, match="restricted to watcher-demo"):
        reader.bucket("another")
    with pytest.raises(errors.Outage) as caught:
        reader.bucket("watcher-demo").list_page(prefix="", cursor=None, count=1)
    assert caught.value.code == "b2_unauthorized"


def test_a_bucket_that_does_not_exist_is_the_operators_to_mend(account: door.Account) -> None:
    with pytest.raises(errors.Misconfigured, match="no bucket of that name"):
        account.bucket("no-such-bucket")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key_id": ""}, "B2_APPLICATION_KEY_ID is empty"),
        ({"key": "two words"}, "B2_APPLICATION_KEY holds characters"),
        ({"key": "line\n"}, "B2_APPLICATION_KEY holds characters"),
        ({"realm": "prodution"}, "neither a URL nor one of dev, production, staging"),
        ({"realm": ""}, "neither a URL"),
        ({"realm": "http://b2.example"}, "unencrypted"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_before_any_call(change: dict[str, str], says: str) -> None:
    settings = {"key_id": "id", "key": "secret", "realm": "production", **change}

    with pytest.raises(errors.Misconfigured, match=says) as caught:
        door.connect(**settings)

    assert settings["key"] == "" or settings["key"] not in str(caught.value)


def test_a_refused_key_is_an_outage_that_names_no_key(b2: localb2.LocalB2) -> None:
    with pytest.raises(errors.Outage) as caught:
        door.connect(key_id=b2.key_id, key="wrong-secret", realm=b2.realm)

    assert caught.value.code == "b2_unauthorized"
    assert "wrong-secret" not in str(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize("body", [b'{"accountId": "1"}', b"[]"])
def test_a_realm_that_is_not_b2_is_the_operators_to_mend(b2: localb2.LocalB2, body: bytes) -> None:
    answer_with(b2, "b2_authorize_account", body)

    with pytest.raises(errors.Misconfigured, match="B2_REALM"):
        door.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm)


def test_a_server_that_is_down_is_an_outage(tmp_path: pathlib.Path) -> None:
    with localb2.serve(tmp_path) as b2:
        realm = b2.realm

    with pytest.raises(errors.Outage) as caught:
        door.connect(key_id=b2.key_id, key=b2.key, realm=realm)

    assert caught.value.code == "b2_unavailable"


def test_work_goes_on_after_the_server_was_restarted(tmp_path: pathlib.Path) -> None:
    with localb2.serve(tmp_path / "b2") as b2:
        bucket = door.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm).bucket("watcher-demo")
        stored = put(bucket, tmp_path, "name")
        port = int(b2.realm.rpartition(":")[2])

    with localb2.serve(tmp_path / "b2", port=port):
        assert bucket.read_range(stored.file_id, 0, 5) == b"bytes"
        put(bucket, tmp_path, "another")
