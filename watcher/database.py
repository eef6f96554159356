"""Opening, upgrading, checking and backing up the database that holds the status table.

Knows nothing of what the tables mean.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy
from sqlalchemy import event, exc, make_url
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from watcher import log, places
from watcher.errors import Misconfigured, Outage

try:  # carries a newer SQLite than many systems do; the only optional dependency
    import pysqlite3.dbapi2 as _newer_sqlite
except ImportError:  # pragma: no cover - depends on the platform
    _newer_sqlite = None

# How long a writer waits for another one. Transactions here take milliseconds; this covers a slow disk.
BUSY_SECONDS = 30
LOCKED = "database is locked"  # in SQLite's words

# The option of an engine that writes, and the entry of a connection that reads, which hold it.
_PLACE = "place"

_log = log.get()


def has_safe_wal(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset bug (fixed in 3.51.3, 3.50.7 and 3.44.6), which loses commits."""
    if version[:2] == (3, 50):
        return version >= (3, 50, 7)
    if version[:2] == (3, 44):
        return version >= (3, 44, 6)
    return version >= (3, 51, 3)


def driver() -> ModuleType:
    """Return the SQLite module to use: the standard library's, or pysqlite3 where that one has the WAL-reset bug."""
    if has_safe_wal(sqlite3.sqlite_version_info) or _newer_sqlite is None:
        return sqlite3
    return _newer_sqlite  # type: ignore[no-any-return]


def path(url: str) -> Path:
    """Return the file of an SQLite URL."""
    return Path(make_url(url).database or "")


def open_for_writing(url: str) -> Engine:
    """Open the database, creating the file if need be. Only `ledger` writes through it."""
    file = path(url)
    if not file.parent.is_dir():
        raise Misconfigured([f"DATABASE_URL: the folder {str(file.parent)!r} does not exist: create it."])
    places.demand_own_log(file)
    module = driver()
    mode = "WAL" if has_safe_wal(module.sqlite_version_info) else "DELETE"
    if mode == "DELETE":
        _log.warning(
            "sqlite_without_wal",
            version=module.sqlite_version,
            why="this SQLite can lose commits in WAL mode",
            hint="pip install pysqlite3, or use a Python with SQLite 3.51.3 or newer",
        )
    place = places.Place(file)
    engine = sqlalchemy.create_engine(
        url,
        module=module,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        execution_options={_PLACE: place},
    )

    @event.listens_for(engine, "do_connect")
    def _open(*_: object) -> None:
        place.demand()  # or SQLite would make an empty one

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        place.note_made()
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        if connection.execute("PRAGMA user_version").fetchone()[0] == places.FROM_BACKUP:
            connection.execute(f"PRAGMA user_version={places.RESTORED}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file itself is looked at

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        place.demand()
        # A deferred transaction that reads and then writes fails, or acts on what is no longer so.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    _translate_outages(engine)
    return engine


def demand_in_place(engine: Engine) -> None:
    """Raise when the file that `engine` writes to was moved away: as `places.Place.demand_at_work`."""
    place: places.Place = engine.get_execution_options()[_PLACE]
    place.demand_at_work()


def open_for_reading(url: str) -> Engine:
    """Open an existing database so that nothing can be written through it.

    When another file takes its place, that one is read from then on.
    """
    file = path(url)
    if not file.is_file():
        raise Misconfigured(
            [
                f"DATABASE_URL: there is no database at {str(file)!r}:"
                " run `watcher run` or `watcher db upgrade` first."
            ]
        )
    uri = f"{file.resolve().as_uri()}?mode=ro"
    module = driver()

    def connect() -> Any:
        return module.connect(
            uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None
        )

    engine = sqlalchemy.create_engine(url, module=module, creator=connect, poolclass=sqlalchemy.QueuePool)

    @event.listens_for(engine, "connect")
    def _note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_PLACE] = places.identity(file)

    @event.listens_for(engine, "checkout")
    def _follow(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        here = places.identity(file)
        if here is None:
            raise Outage(
                "database_unavailable", f"{str(file)!r} has vanished: put it back, or restore a backup."
            )
        if here != record.info[_PLACE]:
            places.demand_own_log(file)
            raise exc.InvalidatePoolError(f"{file} was replaced")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # one snapshot for all reads of a transaction

    _translate_outages(engine)
    return engine


def upgrade(engine: Engine) -> list[str]:
    """Bring the schema up to date and return the revisions that were applied; refuse one that is unknown."""
    before, known = revision(engine), _revisions()
    if before is not None and before not in known:
        raise Misconfigured([_newer(before)])
    if before == known[-1]:
        return []
    if before is None and _has_foreign_tables(engine):
        raise Misconfigured(
            [
                "DATABASE_URL: the database holds tables that are not Watcher's: give Watcher a database of its own."
            ]
        )
    _migrate(engine)
    return known if before is None else known[known.index(before) + 1 :]


def is_current(engine: Engine) -> bool:
    """Whether the schema is the one that this version was written for."""
    return revision(engine) == _revisions()[-1]


def demand_current(engine: Engine) -> None:
    """Raise Misconfigured, with what to do about it, unless the schema `is_current`."""
    found, known = revision(engine), _revisions()
    if found == known[-1]:
        return
    if found is not None and found not in known:
        raise Misconfigured([_newer(found)])
    schema = "no tables yet" if found is None else f"the schema {found!r} of an older Watcher"
    raise Misconfigured([f"DATABASE_URL: the database has {schema}: run `watcher db upgrade`"])


def revision(engine: Engine) -> str | None:
    """Return the schema's revision; None for an empty database."""
    with _translated(engine), engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return found


def check(engine: Engine) -> list[str]:
    """Return what SQLite's own integrity and foreign-key checks find; empty when all is well."""
    with _translated(engine), engine.connect() as connection:
        found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
        orphans = [f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}"
                   for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]  # fmt: skip
    return [line for line in found if line != "ok"] + orphans


def backup(engine: Engine, target: Path) -> None:
    """Copy the whole database to the new file `target`, consistent even while others write."""
    if target.exists():
        raise Misconfigured([f"{str(target)!r} exists already: name a file that does not."])
    if not target.parent.is_dir():
        raise Misconfigured([f"the folder {str(target.parent)!r} does not exist: create it."])
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(driver().connect(str(part))) as copy, engine.connect() as connection:
            source = connection.connection.driver_connection
            assert source is not None
            source.backup(copy)
            # Whoever opens it will have been elsewhere meanwhile, and has to look at what was published since.
            copy.execute(f"PRAGMA user_version={places.FROM_BACKUP}")
        part.rename(target)
    except (OSError, driver().Error) as error:
        part.unlink(missing_ok=True)
        raise Misconfigured([f"could not write {str(target)!r}: {error}"]) from error


def is_restored(engine: Engine) -> bool:
    """Whether this database is a backup that was put into place, and nobody has looked at the bucket since."""
    with engine.connect() as connection:
        return connection.exec_driver_sql("PRAGMA user_version").scalar() in (
            places.FROM_BACKUP,
            places.RESTORED,
        )


def note_repaired(engine: Engine) -> None:
    """Note that a restored database knows what was published since the backup."""
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA user_version=0")
    with contextlib.closing(
        engine.raw_connection()
    ) as raw:  # else it would be a transaction, which can do no such
        assert raw.driver_connection is not None
        raw.driver_connection.execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        )  # or the file says otherwise for longer


def _newer(revision: str) -> str:
    return (
        f"DATABASE_URL: the database has schema {revision!r}, which this version of Watcher does not know,"
        " as it was written by a newer one: upgrade Watcher, or restore a backup."
    )


def _revisions() -> list[str]:
    """Return all revisions, the oldest first: what the migrations' file names begin with."""
    return sorted(file.name.partition("_")[0] for file in (_migrations() / "versions").glob("[0-9]*_*.py"))


def _migrations() -> Path:
    package = Path(__file__).parent
    # In a wheel the migrations lie inside the package; in a checkout beside it.
    inside, beside = package / "migrations", package.parent / "migrations"
    return inside if inside.is_dir() else beside


def _migrate(engine: Engine) -> None:
    # Only now, once for each new version: it takes a tenth of a second to import, and 10 MB to keep.
    import alembic.command  # noqa: PLC0415
    import alembic.config  # noqa: PLC0415

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    with _translated(engine), engine.connect() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _has_foreign_tables(engine: Engine) -> bool:
    return bool(sqlalchemy.inspect(engine).get_table_names())


def _translate_outages(engine: Engine) -> None:
    """Make a locked, full, missing or broken database an Outage for whoever uses the engine."""

    @event.listens_for(engine, "handle_error")
    def _handle(context: ExceptionContext) -> None:
        error = context.original_exception
        dbapi = engine.dialect.loaded_dbapi
        # OperationalError: locked, full, unwritable; DatabaseError itself: not a database, malformed.
        if isinstance(error, dbapi.OperationalError) or type(error) is dbapi.DatabaseError:
            raise Outage("database_unavailable", f"the database answered: {error}") from error


@contextlib.contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """At start an unusable database is the operator's matter, but for one that another process has locked."""
    try:
        yield
    except Outage as outage:
        if LOCKED in outage.detail:
            raise
        raise Misconfigured(
            [
                f"DATABASE_URL: {str(engine.url.database or 'the database')!r} cannot be used: {outage.detail}."
                " Check the path and its permissions, or restore a backup."
            ]
        ) from outage
