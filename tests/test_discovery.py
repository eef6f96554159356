"""Discovery: every current version in the bucket becomes one video, whatever the listing meets on its way."""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from b2sdk import v3

from watcher import bucket as door
from watcher import crashpoint, database, discovery, ledger, localb2, names, stats
from watcher.beat import Beat
from watcher.errors import Outage

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LIST = "b2_list_file_names"
CAP_EXCEEDED = b'{"status": 403, "code": "transaction_cap_exceeded", "message": "a cap is spent"}'


class Watch:
    """A status table and a bucket that is listed three names at a time."""

    def __init__(self, b2: localb2.LocalB2, folder: Path) -> None:
        url = f"sqlite:///{folder}/watcher.db"
        self.b2 = b2
        self._file = folder / "film"
        self.db = database.open_for_writing(url)
        database.upgrade(self.db)
        self.readings = database.open_for_reading(url)
        self.account = door.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm)
        self.bucket = self.account.bucket("watcher-demo")
        self.watched = discovery.Watched(self.account, self.bucket, "", "transcoded/")
        self.absences = discovery.Absences()
        api = v3.B2Api(v3.InMemoryAccountInfo())
        api.authorize_account(b2.key_id, b2.key, b2.realm)
        self.user = api.get_bucket_by_name("watcher-demo")

    def close(self) -> None:
        self.readings.dispose()
        self.db.dispose()

    def put(self, *names: str, **info: str) -> list[str]:
        self._file.write_bytes(b"film")
        return [
            self.bucket.upload(self._file, name, content_type="video/mp4", info=info, beat=Beat()).file_id
            for name in names
        ]

    def page(self) -> discovery.PageSeen:
        return discovery.page(self.db, self.readings, self.watched, clock=lambda: NOW)

    def sweep(self) -> int:
        return discovery.sweep(
            self.db,
            self.readings,
            self.watched,
            clock=lambda: NOW,
            go_on=lambda: True,
            absences=self.absences,
        )

    @property
    def found(self) -> list[str]:
        return sorted(row["name"] for row in stats.list_videos(self.readings))

    @property
    def cursor(self) -> str | None:
        scan = stats.scan(self.readings, bucket_id=self.bucket.id, prefix=self.watched.prefix)
        return scan.cursor if scan is not None else None

    def statuses(self) -> dict[str, tuple[str, str | None]]:
        """Return status and reason by file id."""
        return {row["file_id"]: (row["status"], row["reason"]) for row in stats.list_videos(self.readings)}

    def dump(self) -> list[tuple[object, ...]]:
        with self.readings.begin() as connection:
            tables = ("videos", "steps", "events", "quarantine", "scans")
            return [
                tuple(row) for table in tables for row in connection.exec_driver_sql(f"SELECT * FROM {table}")
            ]


@pytest.fixture
def watch(b2: localb2.LocalB2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(discovery, "PAGE_ENTRIES", 3)
    watch = Watch(b2, tmp_path)
    yield watch
    watch.close()


ELEVEN = [f"film {number:02}.mov" for number in range(11)]


def test_the_cursor_is_saved_after_each_page_and_everything_is_found_once(watch: Watch) -> None:
    watch.put(*ELEVEN)
    cursors = []
    while not watch.page().is_last:
        cursors.append(watch.cursor)
    assert cursors == ["film 03.mov", "film 06.mov", "film 09.mov"]
    assert (watch.cursor, watch.found) == (None, ELEVEN)
    scan = stats.scan(watch.readings, bucket_id=watch.bucket.id, prefix="")
    assert (scan.sweep, scan.objects, scan.swept_at) == (1, 11, NOW)


def test_the_next_process_goes_on_from_the_cursor_of_one_that_was_interrupted(
    watch: Watch, tmp_path: Path
) -> None:
    watch.put(*ELEVEN)
    watch.page()
    watch.close()
    later = Watch(watch.b2, tmp_path)
    later.page()
    assert later.found == ELEVEN[:6]
    assert later.sweep() == 5
    assert later.found == ELEVEN
    later.close()


def test_a_sweep_that_goes_on_from_the_middle_looks_at_the_beginning_too(watch: Watch) -> None:
    watch.put(*ELEVEN)
    watch.page()
    watch.put("a new one.mov")  # among the names that were listed already
    watch.sweep()
    assert watch.found == ["a new one.mov", *ELEVEN]
    assert watch.cursor is None


def test_a_sweep_stops_between_two_pages_when_it_is_told_to(watch: Watch) -> None:
    watch.put(*ELEVEN)
    answers = iter([True, True, False])
    new = discovery.sweep(
        watch.db, watch.readings, watch.watched, clock=lambda: NOW, go_on=lambda: next(answers)
    )
    assert (new, watch.found) == (6, ELEVEN[:6])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (localb2.Fault(LIST, times=3), "b2_unavailable"),
        (localb2.Fault(LIST, cut_after=100, times=3), "b2_unavailable"),
        (localb2.Fault(LIST, 200, b'{"files": "none"}'), "b2_unavailable"),
        (localb2.Fault(LIST, 200, b'{"files": [], "nextFileName": "film 03.mov"}'), "b2_unavailable"),
        (localb2.Fault(LIST, 403, CAP_EXCEEDED), "b2_cap_exceeded"),
        (
            localb2.Fault(LIST, 401, b'{"status": 401, "code": "unauthorized", "message": ""}'),
            "b2_unauthorized",
        ),
        (localb2.Fault(LIST, 503, headers={"Retry-After": "900"}), "b2_unavailable"),
    ],
    ids=["503", "cut", "malformed", "stuck", "cap", "unauthorized", "retry-after"],
)
def test_an_outage_in_the_middle_records_nothing_of_its_page_and_the_next_poll_goes_on(
    watch: Watch, fault: localb2.Fault, code: str
) -> None:
    watch.put(*ELEVEN)
    watch.page()
    before = watch.dump()
    watch.b2.faults.append(fault)
    with pytest.raises(Outage) as caught:
        watch.sweep()
    assert (caught.value.code, watch.dump()) == (code, before)
    watch.b2.faults.clear()
    assert watch.sweep() == 8
    assert watch.found == ELEVEN


def test_an_expired_token_is_no_outage(watch: Watch) -> None:
    watch.put(*ELEVEN)
    watch.page()
    watch.b2.expire_tokens()
    watch.sweep()
    assert watch.found == ELEVEN


def test_calls_of_a_poll_that_failed_are_counted_by_the_next(watch: Watch) -> None:
    watch.put("film.mov")
    watch.account.take_transactions()
    watch.b2.faults.append(localb2.Fault(LIST, 403, CAP_EXCEEDED))
    with pytest.raises(Outage):
        watch.page()
    watch.page()
    assert stats.transactions(watch.readings, day="2026-01-02") == {"C": 2}


def test_hidden_files_and_folders_are_no_videos_and_a_hidden_one_is_found_when_it_is_shown(
    watch: Watch,
) -> None:
    watch.put("hidden.mov", "folder/film.mov", "folder/.bzEmpty")
    watch.user.hide_file("hidden.mov")
    watch.sweep()
    assert watch.found == ["folder/.bzEmpty", "folder/film.mov"]
    watch.user.unhide_file("hidden.mov")
    watch.sweep()
    assert watch.found == ["folder/.bzEmpty", "folder/film.mov", "hidden.mov"]


def test_whatever_an_uploader_writes_into_file_info_is_only_text(watch: Watch) -> None:
    watch.put("a.mov", src_last_modified_millis="yesterday; DROP TABLE videos")
    watch.put("b.mov", src_last_modified_millis="9" * 400)
    watch.put("c.mov", x="\u202e '; --")
    watch.sweep()
    assert watch.found == ["a.mov", "b.mov", "c.mov"]
    assert stats.quarantined(watch.readings) == []


def test_an_entry_that_cannot_be_read_is_kept_once_and_hides_no_other(watch: Watch) -> None:
    good = watch.bucket.list_page  # an entry as B2 gives it, and three that it never should
    watch.put("good.mov")
    entry = good(prefix="", cursor=None, count=1).entries[0]
    listed = (
        '{"action": "upload", "fileId": "%s", "fileName": "%s", "contentLength": %s, "contentType": "v/m",'
        ' "contentSha1": null, "fileInfo": {}, "uploadTimestamp": %s}'
    )
    rows = [
        listed % ("bad-1", "time.mov", 1, '"noon"'),
        listed % (entry.file_id, "good.mov", 8, 1),
        listed % ("bad-2", "size.mov", -1, 1),
        listed % ("bad-3", "half \\\\ud800.mov".replace("\\\\", "\\"), 1, 1),
        "7",
    ]
    body = f'{{"files": [{", ".join(rows)}], "nextFileName": null}}'.encode()
    for _ in range(2):
        watch.b2.faults.append(localb2.Fault(LIST, 200, body))
        watch.sweep()
    assert watch.found == ["good.mov"]
    assert sorted(row.file_id or "" for row in stats.quarantined(watch.readings)) == [
        "",
        "bad-1",
        "bad-2",
        "bad-3",
    ]


def test_a_version_that_is_listed_twice_on_a_page_is_one_video(watch: Watch) -> None:
    row = (
        '{"action": "upload", "fileId": "f1", "fileName": "film.mov", "contentLength": 1,'
        ' "contentType": "v/m", "contentSha1": null, "fileInfo": {}, "uploadTimestamp": 1}'
    )
    body = f'{{"files": [{row}, {row}], "nextFileName": null}}'.encode()
    watch.b2.faults.append(localb2.Fault(LIST, 200, body))
    assert watch.sweep() == 1
    assert watch.found == ["film.mov"]


def test_our_own_outputs_are_never_candidates_wherever_they_lie(watch: Watch) -> None:
    watch.put("film.mov", "transcoded/by hand.mov", "not/transcoded/film.mov", "transcoded.mov")
    watch.put("copied elsewhere.mp4", **names.info("source", "0" * 32))
    watch.sweep()
    assert watch.found == ["film.mov", "not/transcoded/film.mov", "transcoded.mov"]


def test_with_outputs_in_another_bucket_the_prefix_means_nothing_here(watch: Watch) -> None:
    watch.watched = discovery.Watched(watch.account, watch.bucket, "", None)
    watch.put("transcoded/film.mov")
    watch.put("transcoded/film.mov/video.mp4", **names.info("source", "0" * 32))
    watch.sweep()
    assert watch.found == ["transcoded/film.mov"]


def test_only_the_watched_prefix_is_listed(watch: Watch) -> None:
    watch.watched = discovery.Watched(watch.account, watch.bucket, "in/", "transcoded/")
    watch.put("in", "in/a.mov", "in/b/c.mov", "inside.mov", "IN/d.mov", *ELEVEN)
    watch.sweep()
    assert watch.found == ["in/a.mov", "in/b/c.mov"]
    watch.watched = discovery.Watched(watch.account, watch.bucket, "", "transcoded/")
    watch.sweep()  # another prefix has a cursor of its own, and knows the same videos
    assert len(watch.found) == 16


def test_a_new_version_is_a_new_video_and_the_old_one_is_made_again_when_it_is_current_again(
    watch: Watch,
) -> None:
    (old,) = watch.put("film.mov")
    watch.sweep()
    (new,) = watch.put("film.mov")
    assert watch.sweep() == 1
    assert watch.statuses() == {old: ("cancelled", "superseded"), new: ("pending", None)}
    watch.user.delete_file_version(new, "film.mov")
    assert watch.sweep() == 1
    assert watch.statuses() == {old: ("pending", None), new: ("cancelled", "superseded")}
    claim = ledger.claim(watch.db, worker="w", now=NOW, lease=timedelta(seconds=60))
    assert (claim.file_id, claim.kind, claim.attempt) == (old, "inspect", 1)


def test_a_poll_of_an_unchanged_bucket_changes_nothing_but_the_count_of_sweeps(watch: Watch) -> None:
    watch.put(*ELEVEN)
    watch.sweep()
    before = watch.dump()[:-1]
    assert watch.sweep() == 0
    assert watch.dump()[:-1] == before


VERSIONS, EMPTY = "b2_list_file_versions", b'{"files": [], "nextFileName": null}'


def test_a_deleted_source_ends_after_two_sweeps_without_it_and_not_before(watch: Watch) -> None:
    gone, stays = watch.put("gone.mov", "stays.mov")
    watch.sweep()
    held = ledger.claim(watch.db, worker="w", now=NOW, lease=timedelta(seconds=60))
    watch.user.delete_file_version(gone, "gone.mov")
    watch.sweep()
    assert watch.statuses()[gone] == ("running", None)
    watch.sweep()
    assert watch.statuses() == {gone: ("cancelled", "source_deleted"), stays: ("pending", None)}
    assert not ledger.renew(watch.db, held, fraction=0.5, now=NOW, lease=timedelta(seconds=60))
    assert [row.token for row in stats.debris(watch.readings, now=NOW + timedelta(hours=1), limit=9)] == [
        held.token
    ]


def test_a_hidden_source_ends_and_is_made_when_it_is_shown_again(watch: Watch) -> None:
    (film,) = watch.put("film.mov")
    watch.sweep()
    watch.user.hide_file("film.mov")
    watch.sweep()
    watch.sweep()
    assert watch.statuses() == {film: ("cancelled", "source_hidden")}
    watch.user.unhide_file("film.mov")
    assert watch.sweep() == 1
    assert watch.statuses() == {film: ("pending", None)}


def test_a_listing_that_leaves_a_source_out_never_proves_that_it_is_gone(watch: Watch) -> None:
    (film,) = watch.put("film.mov")
    watch.sweep()
    watch.b2.calls.clear()
    for _ in range(6):
        watch.b2.faults.append(localb2.Fault(LIST, 200, EMPTY))
        watch.sweep()
    assert watch.statuses() == {film: ("pending", None)}
    assert watch.b2.calls[VERSIONS] == 3  # asked after in every second sweep, and in no other


def test_only_sweeps_in_a_row_and_only_whole_ones_count_against_a_source(watch: Watch) -> None:
    names = watch.put(*ELEVEN)
    watch.sweep()
    watch.user.delete_file_version(names[0], ELEVEN[0])
    watch.sweep()
    watch.page()
    watch.b2.faults.append(localb2.Fault(LIST, 403, CAP_EXCEEDED))
    with pytest.raises(Outage):
        watch.sweep()
    assert watch.statuses()[names[0]] == ("pending", None)
    watch.sweep()
    assert watch.statuses()[names[0]] == ("cancelled", "source_deleted")


def test_what_is_over_stays_when_its_source_is_deleted(watch: Watch) -> None:
    (film,) = watch.put("film.mov")
    watch.sweep()
    claim = ledger.claim(watch.db, worker="w", now=NOW, lease=timedelta(seconds=60))
    ledger.skip(watch.db, claim, reason="image", detail="", now=NOW)
    watch.user.delete_file_version(film, "film.mov")
    for _ in range(3):
        watch.sweep()
    assert watch.statuses() == {film: ("skipped", "image")}


@pytest.mark.parametrize("seed", range(4))
def test_pages_in_any_order_and_repeated_give_the_same_videos(watch: Watch, seed: int) -> None:
    dice = random.Random(seed)
    listed = [ledger.Found(f"f{n}", f"{n}.mov", 1, "video/mp4", None, NOW) for n in range(20)]
    pages = [dice.sample(listed, 5) for _ in range(6)] + [listed[n : n + 5] for n in range(0, 20, 5)]
    dice.shuffle(pages)
    for page in pages:
        ledger.record_page(
            watch.db,
            bucket_id="b",
            bucket="b",
            prefix="",
            found=page,
            unread=[],
            cursor=None,
            seen=5,
            transactions={},
            as_of=0,
            now=NOW,
        )
    assert watch.found == sorted(entry.name for entry in listed)
    assert {status for status, _ in watch.statuses().values()} == {"pending"}
    with watch.readings.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM steps").scalar() == 20


def in_between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once, when a page was listed and is not yet recorded."""
    moments = iter([happens])

    def here(name: str) -> None:
        if name == "list":
            next(moments, lambda: None)()

    monkeypatch.setattr(crashpoint, "here", here)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "new"])
def test_a_page_that_is_recorded_late_brings_no_version_back_over_a_newer_one(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    (old,) = watch.put("film.mov")
    if is_known:
        watch.sweep()
    newer = []

    def another_daemon_finds_a_newer_one() -> None:
        newer.extend(watch.put("film.mov"))
        watch.sweep()

    in_between(monkeypatch, another_daemon_finds_a_newer_one)
    assert watch.page().new == 0
    now = {newer[0]: ("pending", None)} | ({old: ("cancelled", "superseded")} if is_known else {})
    assert watch.statuses() == now
    assert watch.sweep() == 0
    assert watch.statuses() == now


def test_a_page_that_is_recorded_late_shows_nothing_that_was_hidden_since(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    (film,) = watch.put("film.mov")
    watch.sweep()

    def another_daemon_notices_that_it_is_hidden() -> None:
        watch.user.hide_file("film.mov")
        watch.sweep()
        watch.sweep()

    in_between(monkeypatch, another_daemon_notices_that_it_is_hidden)
    assert watch.page().new == 0
    assert watch.statuses() == {film: ("cancelled", "source_hidden")}
    watch.user.unhide_file("film.mov")
    assert watch.sweep() == 1
    assert watch.statuses() == {film: ("pending", None)}
