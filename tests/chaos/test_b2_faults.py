"""Every operation of B2 that is used, under every fault that B2, a proxy or the line may bring, over real HTTP.

Passing trouble passes: the call succeeds in the end and has taken effect once. Lasting trouble is named, and is not
hammered on: requests are counted.
"""

import dataclasses
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from house import House, clip, wait_for

from watcher import bucket as door
from watcher import config, daemon, localb2, retry, stats, workshop
from watcher.beat import Beat
from watcher.bucket import session, trouble
from watcher.errors import Misconfigured, Outage

INFO = {"watcher-source": "4_z", "watcher-token": "0" * 32}
SMALL, LARGE = 30_000, 5_000_100  # the second goes up in two parts
HTML = {"status": 200, "headers": {"Content-Type": "text/html"}, "body": b"<html>Please log in</html>"}


@dataclasses.dataclass
class Place:
    """A bucket with one film in it, an unfinished large file, and the means to look."""

    b2: localb2.LocalB2
    account: door.Account
    bucket: door.Bucket
    folder: Path
    film: str
    unfinished: str

    def file(self, size: int) -> Path:
        path = self.folder / f"file-{size}"
        path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        return path

    def put(self, size: int, name: str = "new") -> str:
        return self.bucket.upload(
            self.file(size), name, content_type="video/mp4", info=INFO, beat=Beat()
        ).file_id

    def there(self) -> tuple[list[str], list[str]]:
        """Return the names of all versions, and of the unfinished files."""
        return (
            sorted(entry.name for entry in self.bucket.list_versions("")),
            sorted(entry.name for entry in self.bucket.list_unfinished("")),
        )


@pytest.fixture
def place(b2: localb2.LocalB2, account: door.Account, bucket: door.Bucket, tmp_path: Path) -> Place:
    other = door.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm).bucket(bucket.name)
    place = Place(b2, account, other, tmp_path, "", "")
    place.film = place.put(SMALL, "film")
    place.bucket = bucket  # which has no upload URL yet
    opened = bucket._session
    place.unfinished = opened.start_large_file(bucket.id, "unfinished", "video/mp4", {})["fileId"]
    b2.calls.clear()
    return place


def _fetch(place: Place) -> bytes:
    path = place.folder / "fetched"
    place.bucket.download(place.film, path, beat=Beat())
    return path.read_bytes()


BEFORE = (["film"], ["unfinished"])
ADDED = (["film", "new"], ["unfinished"])
# By operation: what makes Watcher call it, and what is in the bucket afterwards.
CALLS: dict[str, tuple[Callable[[Place], object], tuple[list[str], list[str]]]] = {
    "b2_authorize_account": (
        lambda place: (
            door.connect(key_id=place.b2.key_id, key=place.b2.key, realm=place.b2.realm).name_prefix
        ),
        BEFORE,
    ),
    "b2_list_buckets": (lambda place: place.account.bucket("watcher-demo").name, BEFORE),
    "b2_list_file_names": (
        lambda place: [e.name for e in place.bucket.list_page(prefix="", cursor=None, count=9).entries],
        BEFORE,
    ),
    "b2_list_file_versions": (lambda place: place.bucket.fate("film", place.film), BEFORE),
    "b2_list_unfinished_large_files": (
        lambda place: [each.name for each in place.bucket.list_unfinished("")],
        BEFORE,
    ),
    "b2_download_file_by_id": (_fetch, BEFORE),
    "b2_get_upload_url": (lambda place: len(place.put(SMALL)), ADDED),
    "b2_upload_file": (lambda place: len(place.put(SMALL)), ADDED),
    "b2_start_large_file": (lambda place: len(place.put(LARGE)), ADDED),
    "b2_get_upload_part_url": (lambda place: len(place.put(LARGE)), ADDED),
    "b2_upload_part": (lambda place: len(place.put(LARGE)), ADDED),
    "b2_finish_large_file": (lambda place: len(place.put(LARGE)), ADDED),
    "b2_cancel_large_file": (lambda place: place.bucket.cancel_unfinished(place.unfinished), (["film"], [])),
    "b2_delete_file_version": (lambda place: place.bucket.delete(place.film, "film"), ([], ["unfinished"])),
}


def said(status: int, code: str, **headers: str) -> dict[str, object]:
    body = f'{{"status": {status}, "code": "{code}", "message": "as asked for"}}'.encode()
    return {"status": status, "body": body, "headers": headers}


PASSING: dict[str, dict[str, object]] = {
    "500": said(500, "internal_error"),
    "503": said(503, "service_unavailable"),
    "503-retry-after": said(503, "service_unavailable", **{"Retry-After": "0"}),
    "429": said(429, "too_many_requests"),
    "429-retry-after": said(429, "too_many_requests", **{"Retry-After": "0"}),
    "408": said(408, "request_timeout"),
    "closed-before": {"how": "unread"},
    "closed-during": {"how": "middle"},
    "closed-after": {"how": "lost"},
    "stalled": {"how": "stalled"},
    "truncated": {"cut_after": 10},
    "corrupt": {"how": "corrupt"},
    "html": HTML,
    "expired": said(401, "expired_auth_token"),
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no longer than it takes to see that the waiting ends."""
    monkeypatch.setattr(trouble, "pause_after", lambda _: 0.01)


NOT_PASSING = {
    ("b2_authorize_account", "expired"),  # a refused key: see below
    ("b2_download_file_by_id", "corrupt"),  # the step is handed back: see below
}


@pytest.mark.parametrize(
    ("operation", "fault"),
    [(call, fault) for call in CALLS for fault in PASSING if (call, fault) not in NOT_PASSING],
)
@pytest.mark.usefixtures("hasty")
def test_passing_trouble_passes_and_the_call_takes_effect_once(
    place: Place, operation: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "stalled":
        monkeypatch.setattr(session._Http, "TIMEOUT", 2)
        monkeypatch.setattr(session._Http, "TIMEOUT_FOR_COPY", 2)
        monkeypatch.setattr(session._Http, "TIMEOUT_FOR_UPLOAD", 2)
    act, expected = CALLS[operation]
    place.b2.faults.append(localb2.Fault(operation, **PASSING[fault]))  # type: ignore[arg-type]
    answer = act(place)
    assert place.b2.faults == []  # it was met
    parts = 2 if operation == "b2_upload_part" else 1
    assert place.b2.calls[operation] <= parts + 2
    assert place.b2.calls["b2_authorize_account"] <= 2
    assert place.there() == expected
    if operation == "b2_download_file_by_id":
        assert answer == place.file(SMALL).read_bytes()


def test_a_file_that_came_damaged_is_an_outage_and_not_kept(place: Place) -> None:
    place.b2.faults.append(localb2.Fault("b2_download_file_by_id", how="corrupt"))
    with pytest.raises(Outage, match="SHA-1"):
        _fetch(place)
    assert not (place.folder / "fetched").exists()


def test_a_page_in_place_of_bytes_of_a_film_never_passes_for_them(place: Place) -> None:
    page = {"status": 200, "headers": {"Content-Type": "text/html"}, "body": b"<html>" * 999}
    place.b2.faults.append(localb2.Fault("b2_download_file_by_id", **page))  # type: ignore[arg-type]
    assert place.bucket.read_range(place.film, 0, 100) == place.file(SMALL).read_bytes()[:100]


LASTING: dict[str, tuple[dict[str, object], str]] = {
    "503": (said(503, "service_unavailable"), "b2_unavailable"),
    "503-retry-after": (said(503, "service_unavailable", **{"Retry-After": "900"}), "b2_unavailable"),
    "429-retry-after": (said(429, "too_many_requests", **{"Retry-After": "900"}), "b2_unavailable"),
    "closed": ({"how": "unread"}, "b2_unavailable"),
    "html": (HTML, "b2_unavailable"),
    "cap": (said(403, "cap_exceeded"), "b2_cap_exceeded"),
    "revoked": (said(401, "bad_auth_token"), "b2_unauthorized"),
    "no-capability": (said(401, "unauthorized"), "b2_unauthorized"),
    "access-denied": (said(403, "access_denied"), "b2_unauthorized"),
}


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.usefixtures("hasty")
def test_lasting_trouble_is_named_and_not_hammered_on(place: Place, operation: str, fault: str) -> None:
    asked, code = LASTING[fault]
    place.b2.faults.append(localb2.Fault(operation, times=-1, **asked))  # type: ignore[arg-type]
    with pytest.raises((Outage, Misconfigured)) as caught:
        CALLS[operation][0](place)
    if isinstance(caught.value, Misconfigured):  # of what answers like no B2 at all
        assert (operation, fault) == ("b2_authorize_account", "html")
    else:
        assert caught.value.code == code
        if "retry-after" in fault:
            assert caught.value.retry_after == timedelta(seconds=900)
    parts = 2 if operation in ("b2_upload_part", "b2_get_upload_part_url") else 1
    most = 1 if "retry-after" in fault else trouble.TRIES
    assert place.b2.calls[operation] <= most * parts + parts  # once more, with a new token
    # A part that is sent beside another may learn by itself that the newest token is refused as well.
    assert place.b2.calls["b2_authorize_account"] <= trouble.TRIES * parts + 1
    place.b2.faults.clear()
    assert place.there() == BEFORE  # nothing half done is left


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "clip.mov", seconds=1, size="160x90")


@pytest.mark.parametrize(
    "operation", ["b2_list_file_names", "b2_download_file_by_id", "b2_get_upload_url", "b2_upload_file"]
)
def test_an_outage_is_waited_for_wherever_it_strikes_and_no_attempt_counts(
    b2: localb2.LocalB2, tmp_path: Path, clip_file: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.1))
    house = House(tmp_path, b2)
    for number in range(2):
        house.upload(clip_file, f"{number}.mov")
    with workshop.opened(config.load(house.environment)) as shop:
        daemon.sweep_once(shop)
        b2.faults.append(localb2.Fault(operation, times=-1, **said(403, "cap_exceeded")))  # type: ignore[arg-type]
        every = timedelta(seconds=0.5)
        with daemon.Daemon(shop, seats=2, poll_every=every, drain=timedelta(seconds=10)) as worker:
            wait_for(lambda: bool(stats.pauses(shop.readings, now=daemon.now())), "the outage to be told")
            b2.faults.clear()
            assert worker.wait(until_idle=True)
        assert stats.counts(shop.readings) == {"completed": 2}
        steps = [step for video_id in (1, 2) for step in stats.steps(shop.readings, video_id)]
    assert {step.attempts for step in steps if step.kind != "announce"} == {1}
    assert house.unaccounted() == set()


def test_a_film_that_b2_never_gives_holds_no_other_up(
    b2: localb2.LocalB2, tmp_path: Path, clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", timedelta(seconds=0.5))
    house = House(tmp_path, b2)
    bad = house.upload(clip_file, "bad.mov")
    asked = said(503, "service_unavailable", **{"Retry-After": "6"})  # more than is waited inside a call
    fault = localb2.Fault("b2_download_file_by_id", times=-1, only=bad, **asked)  # type: ignore[arg-type]
    b2.faults.append(fault)
    for number in range(3):
        house.upload(clip_file, f"{number}.mov")
    with workshop.opened(config.load(house.environment)) as shop:
        every = timedelta(seconds=0.5)
        with daemon.Daemon(shop, seats=2, poll_every=every, drain=timedelta(seconds=10)) as worker:
            wait_for(lambda: stats.counts(shop.readings).get("completed") == 3, "the others")
            assert house.rows()["bad.mov"]["status"] in ("pending", "running")
            b2.faults.clear()
            assert worker.wait(until_idle=True)
        assert stats.counts(shop.readings) == {"completed": 4}
