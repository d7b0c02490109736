"""The SQL database: one engine per URL, read and write transactions, migrations."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.settings import Settings
from core.tables import Table

# How long a writer waits for another one before "database is locked" becomes an error.
BUSY_SECONDS = 30
_MIGRATION_LOCK_KEY = 0x61737361  # "assa", any constant will do


def driver_url(url: str) -> str:
    """Return the URL with the PostgreSQL driver that is installed, whatever spelling was given."""
    parsed = make_url(url)
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


@lru_cache(maxsize=16)
def engine(url: str) -> Engine:
    """Return this process's engine for a database URL."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(driver_url(url), pool_pre_ping=True)
    made = create_engine(url, connect_args={"check_same_thread": False})

    @event.listens_for(made, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # Hand transactions over to us: sqlite3's own would start writers as readers, and two readers
        # that both want to write cannot wait for each other.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys=ON")
        # What is deleted is overwritten, not only forgotten.
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(made, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return made


@contextmanager
def reading(url: str) -> Iterator[Session]:
    """Open a read transaction."""
    with Session(engine(url)) as session:
        yield session


@contextmanager
def writing(url: str) -> Iterator[Session]:
    """Open a write transaction, committed unless the block raises.

    SQLite writers take turns from the start: a reader that turns writer may find the data changed and fails.
    """
    immediate = engine(url).execution_options(sqlite_begin="BEGIN IMMEDIATE")
    with Session(immediate, expire_on_commit=False) as session, session.begin():
        yield session


def insert_into(session: Session, table: type[Table]) -> Any:
    """Return this database's INSERT, the one that knows ON CONFLICT."""
    return (sqlite if session.get_bind().dialect.name == "sqlite" else postgresql).insert(table)


def database_time(session: Session) -> float:
    """Return seconds since 1970 by the clock that all workers share."""
    if session.get_bind().dialect.name == "sqlite":
        return time.time()
    return float(session.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)


def migrate(settings: Settings) -> None:
    """Bring the schema to the newest revision; safe when several processes start at once."""
    _migrate_once(settings.database_url, str(settings.workspace))


@lru_cache(maxsize=16)
def _migrate_once(url: str, workspace: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # The file lock serves SQLite, which cannot change its journal mode under load; the advisory lock
    # serves machines that share a PostgreSQL server but no file system.
    with FileLock(Path(workspace) / "migrate.lock", timeout=120):
        if make_url(url).get_backend_name() == "sqlite":
            use_wal(url)
        with engine(url).execution_options(sqlite_begin="BEGIN IMMEDIATE").begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK_KEY})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def use_wal(url: str) -> None:
    """Switch a SQLite file to write-ahead logging, for good: readers and one writer go on side by side."""
    raw = engine(url).raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()
