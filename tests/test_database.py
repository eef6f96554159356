"""Opening, upgrading and copying the database."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import alembic.command
import alembic.config
import pytest
import sqlalchemy
from alembic import autogenerate
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from watcher import database, ledger, models, stats
from watcher.errors import Misconfigured, Outage


def test_the_migrations_make_the_tables_that_the_models_describe(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert autogenerate.compare_metadata(context, models.Base.metadata) == []
        view = connection.exec_driver_sql("SELECT * FROM video_status")
        assert tuple(view.keys()) == stats.VIDEO_STATUS
    engine.dispose()


def test_the_files_of_the_migrations_are_named_after_their_revisions(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    folder = Path(__file__).parent.with_name("migrations")

    scripts = ScriptDirectory(str(folder)).walk_revisions()

    assert database.upgrade(engine) == [script.revision for script in scripts][::-1]
    engine.dispose()


def test_a_second_upgrade_does_nothing(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    assert database.upgrade(engine) == ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008"]
    assert database.upgrade(engine) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match="newer"):
        database.upgrade(engine)
    engine.dispose()


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(Misconfigured, match="not Watcher's"):
        database.upgrade(engine)
    assert sqlalchemy.inspect(engine).get_table_names() == ["theirs"]
    engine.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "watcher.db").write_text("hello, I am a text file, and longer than a header\n" * 50)
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    with pytest.raises(Misconfigured, match="cannot be used"):
        database.upgrade(engine)
    engine.dispose()


def test_a_database_that_is_locked_at_the_start_is_an_outage_and_no_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager starts again after an outage, and gives up at wrong settings."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    url = f"sqlite:///{tmp_path}/watcher.db"
    db = database.open_for_writing(url)
    database.upgrade(db)
    other = database.open_for_writing(url)
    with db.begin(), pytest.raises(Outage, match="locked"):
        database.upgrade(other)
    other.dispose()
    db.dispose()


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("0001", "run `watcher db upgrade`"), ("9999", "upgrade Watcher, or restore a backup")],
)
def test_who_reads_is_told_which_of_the_two_is_too_old(tmp_path: Path, revision: str, advice: str) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    database.demand_current(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    with pytest.raises(Misconfigured) as raised:
        database.demand_current(engine)
    assert advice in raised.value.problems[0]
    engine.dispose()


def test_readers_cannot_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    reader = database.open_for_reading(url)
    with pytest.raises(Outage, match="readonly"), reader.begin() as connection:
        connection.exec_driver_sql("DELETE FROM videos")
    engine.dispose()
    reader.dispose()


def lists(engine: sqlalchemy.Engine) -> int:
    with engine.begin() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM transactions").scalar_one()


def count_a_call(engine: sqlalchemy.Engine) -> None:
    ledger.count_transactions(engine, {"A": 1}, now=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("is_replaced", [False, True])
def test_nothing_is_written_to_a_database_that_was_moved_away(tmp_path: Path, is_replaced: bool) -> None:
    url, moved = f"sqlite:///{tmp_path}/watcher.db", tmp_path / "moved.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    database.backup(engine, tmp_path / "backup.db")
    database.demand_in_place(engine)

    (tmp_path / "watcher.db").rename(moved)
    if is_replaced:
        (tmp_path / "backup.db").rename(tmp_path / "watcher.db")

    with pytest.raises(Outage, match="nothing is written"):
        count_a_call(engine)
    with pytest.raises(Outage if is_replaced else Misconfigured, match="start again"):
        database.demand_in_place(engine)
    engine.pool.dispose()  # as when all connections are in use
    with pytest.raises(Outage, match="nothing is written"):
        count_a_call(engine)
    assert (tmp_path / "watcher.db").exists() == is_replaced
    moved.replace(tmp_path / "watcher.db")
    count_a_call(engine)
    engine.dispose()


def test_readers_follow_when_another_file_takes_the_place_of_the_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    database.backup(engine, tmp_path / "backup.db")
    count_a_call(engine)
    engine.dispose()
    reader = database.open_for_reading(url)
    assert lists(reader) == 1

    (tmp_path / "watcher.db").rename(tmp_path / "moved.db")
    with pytest.raises(Outage, match=r"vanished: put it back, or restore a backup"):
        lists(reader)
    (tmp_path / "backup.db").rename(tmp_path / "watcher.db")
    assert lists(reader) == 0
    reader.dispose()


def test_a_backup_beside_the_log_of_the_database_before_it_is_not_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    database.backup(engine, tmp_path / "backup.db")
    reader = database.open_for_reading(url)
    assert lists(reader) == 0
    count_a_call(engine)
    (tmp_path / "backup.db").rename(tmp_path / "watcher.db")
    engine.dispose()  # which leaves the log, as the file is another one
    log = tmp_path / "watcher.db-wal"
    assert log.stat().st_size

    with pytest.raises(Misconfigured, match="remove the files -wal and -shm"):
        database.open_for_writing(url)
    with pytest.raises(Misconfigured, match="remove the files -wal and -shm"):
        lists(reader)

    for each in tmp_path.glob("watcher.db-*"):
        each.unlink()
    engine = database.open_for_writing(url)
    count_a_call(engine)  # a log of its own is no reason
    database.open_for_writing(url).dispose()
    assert lists(reader) == 1
    assert database.is_restored(engine)
    database.note_repaired(engine)
    assert not database.is_restored(engine)
    engine.dispose()
    reader.dispose()


def test_a_backup_that_was_gone_on_with_has_a_log_of_its_own_however_old_it_is(tmp_path: Path) -> None:
    file, url = tmp_path / "watcher.db", f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    database.backup(engine, tmp_path / "backup.db")
    engine.dispose()
    (tmp_path / "backup.db").rename(file)

    engine = database.open_for_writing(url)
    count_a_call(engine)
    with closing(engine.raw_connection()) as raw, closing(raw.cursor()) as cursor:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # as SQLite does of itself, after a thousand pages
    log = tmp_path / "watcher.db-wal"
    assert log.stat().st_size
    assert log.stat().st_mtime <= file.stat().st_ctime
    database.open_for_writing(url).dispose()
    assert database.is_restored(engine)
    engine.dispose()


def test_a_writer_begins_immediately_and_waits_for_the_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    engine = database.open_for_writing(url)
    database.upgrade(engine)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        other = database.driver().connect(str(tmp_path / "watcher.db"), timeout=0)
        with pytest.raises(database.driver().OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("version", "is_safe"),
    [
        ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 50, 6), False), ((3, 50, 7), True),
        ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 4), True),
    ],
)  # fmt: skip
def test_wal_is_used_only_where_sqlite_keeps_what_was_committed(
    version: tuple[int, ...], is_safe: bool
) -> None:
    assert database.has_safe_wal(version) is is_safe


@pytest.mark.parametrize("is_safe", [False, True])
def test_a_sqlite_that_can_lose_commits_in_wal_mode_is_used_without_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_safe: bool
) -> None:
    monkeypatch.setattr(database, "has_safe_wal", lambda _version: is_safe)
    monkeypatch.setattr(database, "_newer_sqlite", None)
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    count_a_call(engine)
    with engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    assert (mode, "sqlite_without_wal" in caplog.text) == (("wal", False) if is_safe else ("delete", True))
    assert lists(engine) == 1
    engine.dispose()


@pytest.mark.parametrize("number", range(1, 8))
def test_a_database_of_an_older_version_is_brought_up_to_date_and_keeps_its_rows(
    tmp_path: Path, number: int
) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    config = alembic.config.Config()
    config.set_main_option("script_location", str(database._migrations()))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, f"{number:04}")
    columns = "bucket_id, bucket, file_id, name, size_bytes, content_type, uploaded_at, status, progress"
    at = "'2026-01-01T00:00:00.000000Z'"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO videos ({columns}, discovered_at, updated_at)"
            f" VALUES ('b', 'b', 'f', 'a.mov', 9, 'video/mp4', {at}, 'completed', 1.0, {at}, {at})"
        )
        connection.exec_driver_sql(f"INSERT INTO debris (video_id, token, since) VALUES (1, 't', {at})")

    assert database.upgrade(engine)[0] == f"{number + 1:04}"

    database.demand_current(engine)
    assert [(row["name"], row["status"]) for row in stats.list_videos(engine)] == [("a.mov", "completed")]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert [row.token for row in stats.debris(engine, now=now, limit=9)] == ["t"]
    engine.dispose()


def test_a_backup_is_a_whole_database(tmp_path: Path) -> None:
    engine = database.open_for_writing(f"sqlite:///{tmp_path}/watcher.db")
    database.upgrade(engine)
    database.backup(engine, tmp_path / "copy.db")
    copy = database.open_for_writing(f"sqlite:///{tmp_path}/copy.db")
    assert database.is_current(copy)
    assert database.check(copy) == []
    with pytest.raises(Misconfigured, match="exists already"):
        database.backup(engine, tmp_path / "copy.db")
    engine.dispose()
    copy.dispose()
