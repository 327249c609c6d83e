"""The database: how it is opened, read, written and brought to the newest schema.

Invariants: a writer holds the only write lock from its first statement (BEGIN IMMEDIATE), so that what it
read is still true when it writes; a commit is on the disk when `writing` returns (WAL, synchronous=FULL); a
reader sees one moment of the database, however long it reads; a database newer than the program is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from cloud.errors import Fatal, Retryable

BUSY_TIMEOUT_MS = 10_000  # longer than any group of packs takes to commit on a slow disk
POOL_SIZE = 30  # twice this is more than the 40 threads of the web server and our own: nobody waits for one
_BEGIN = "coldproof_begin"


class DatabaseUnavailable(Retryable):
    """The database is locked, full, or its disk fails: nothing of the transaction was kept."""


class DatabaseNewer(Fatal):
    """The database was written by a newer program."""


class DatabaseDamaged(Fatal):
    """The file is not a database, or its pages contradict each other."""


class DatabaseUnsupported(Fatal):
    """The URL names no database this version can use."""


class DatabaseUnreachable(Fatal):
    """The file of the database cannot be made or opened."""


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path}"


def open_engine(url: str) -> Engine:
    """An engine on `url`. Raises DatabaseUnsupported, or DatabaseUnreachable when the file can't be opened.

    A missing file is made with its folder, for its owner's eyes only: it holds password hashes. The caller calls
    `engine.dispose()` in the end.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnsupported(f"database {url!r}: not a URL; write sqlite:////path/to.db") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise DatabaseUnsupported(
            f"database {parsed.render_as_string()!r}: this version stores in an SQLite file only; "
            "write sqlite:////absolute/path.db"
        )
    _make_file(Path(parsed.database))
    engine = create_engine(
        parsed,
        connect_args={"check_same_thread": False},
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        hide_parameters=True,  # an error is logged; the values of its statement are nobody's business
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed and on the disk at the end, or rolled back by any exception.

    Raises DatabaseUnavailable when the database is locked, full or failing, DatabaseDamaged when it is broken.
    """
    with _transaction(engine, "BEGIN IMMEDIATE") as conn:
        yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent look at the database. Raises DatabaseUnavailable; a write inside it is refused."""
    with _transaction(engine, "BEGIN DEFERRED") as conn:
        conn.exec_driver_sql("PRAGMA query_only = ON")
        try:
            yield conn
        finally:
            conn.exec_driver_sql("PRAGMA query_only = OFF")


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, in one transaction.

    Raises DatabaseNewer, DatabaseUnavailable.
    """
    config = _alembic_config()
    scripts = ScriptDirectory.from_config(config)
    with writing(engine) as conn:
        for revision in MigrationContext.configure(conn).get_current_heads():
            if revision not in {script.revision for script in scripts.walk_revisions()}:
                raise DatabaseNewer(
                    f"database {engine.url.render_as_string()}: its schema is revision {revision}, "
                    "which this program does not know; start the newer program, or restore an older backup"
                )
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def _make_file(path: Path) -> None:
    """Make the file unless it is there; SQLite gives its companions (-wal, -shm) the same rights."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnreachable(f"database {path}: {error.strerror}; check the rights of file and folder") from error


def _alembic_config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _transaction(engine: Engine, begin: str) -> Iterator[Connection]:
    try:
        with engine.connect().execution_options(**{_BEGIN: begin}) as conn, conn.begin():
            yield conn
    except OperationalError as error:
        raise DatabaseUnavailable(
            f"database {engine.url.render_as_string()}: {error.orig}; nothing was changed, "
            "check the disk's free space and who else holds the file"
        ) from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # its subclasses speak of values and statements, not of the file
            raise
        raise DatabaseDamaged(
            f"database {engine.url.render_as_string()}: {error.orig}; put the file aside and restore the backup"
        ) from error


class _DriverConnection(Protocol):
    """What is used of the sqlite3 connection under SQLAlchemy."""

    isolation_level: str | None

    def execute(self, sql: str, /) -> object: ...


def _prepare(connection: _DriverConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions behind our back
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql(conn.get_execution_options().get(_BEGIN, "BEGIN DEFERRED"))
