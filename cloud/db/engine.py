"""The database: how it is opened, read, written and brought to the newest schema.

SQLite in one file or a PostgreSQL server; above this module nobody knows which. Invariants of both: there is one
writer at a time, from its first statement on, so that what it read is still true when it writes; a commit is on the
disk when `writing` returns; a reader sees one moment of the database, however long it reads, and cannot write; a
database newer than the program is left alone, also when it becomes that while the program runs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from cloud.db import postgres, sqlite
from cloud.db.fault import (
    DatabaseDamaged,
    DatabaseNewer,
    DatabaseUnavailable,
    DatabaseUnreachable,
    DatabaseUnsafe,
    DatabaseUnsupported,
    OutcomeUnknown,
    shown,
)

__all__ = [
    "DatabaseDamaged",
    "DatabaseNewer",
    "DatabaseUnavailable",
    "DatabaseUnreachable",
    "DatabaseUnsafe",
    "DatabaseUnsupported",
    "OutcomeUnknown",
    "is_one_file",
    "migrate",
    "open_engine",
    "reading",
    "require_durable",
    "sqlite_file",
    "sqlite_url",
    "writing",
]

BUSY_TIMEOUT_MS = 10_000  # longer than any group of packs takes to commit on a slow disk
POOL_SIZE = 30  # twice this is more than the 40 threads of the web server and our own: nobody waits for one
_BEGIN = "coldproof_begin"
_REVISIONS = "SELECT version_num FROM alembic_version"


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path}"


def sqlite_file(url: str | URL) -> Path | None:
    """The file that a URL names, None when the database is on a server. Raises DatabaseUnsupported."""
    parsed = _parsed(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def open_engine(url: str, *, wait_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """An engine on `url`. Raises DatabaseUnsupported, or DatabaseUnreachable when the file can't be opened.

    A missing file is made with its folder, for its owner's eyes only: it holds password hashes. wait_ms: how long a
    writer waits for the others. The caller calls `engine.dispose()` in the end.
    """
    parsed = _parsed(url)
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        engine = sqlite.open_engine(parsed, pool_size=POOL_SIZE, wait_ms=wait_ms)
    elif backend in ("postgresql", "postgres"):
        engine = postgres.open_engine(parsed, pool_size=POOL_SIZE, wait_ms=wait_ms)
    else:
        raise DatabaseUnsupported(
            f"database {shown(parsed)}: this version stores in SQLite or PostgreSQL; "
            "write sqlite:////path/to.db or postgresql://USER@HOST/DATABASE"
        )
    for half in (engine, _writer_of(engine)):
        event.listen(half, "begin", _begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed and on the disk at the end, or rolled back by any exception.

    Raises DatabaseUnavailable when the database is locked, full, away or failing; OutcomeUnknown, which is one, when a
    server is lost while it commits; DatabaseDamaged when it is broken; DatabaseNewer when a newer program has changed
    its schema since it was opened.
    """
    with _writing(engine) as conn:
        for revision in conn.exec_driver_sql(_REVISIONS).scalars():
            _require_known(engine, revision)
        yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent look at the database. Raises DatabaseUnavailable; a write inside it is refused."""
    one_file = is_one_file(engine)
    with _transaction(engine, sqlite.BEGIN_READING if one_file else postgres.BEGIN_READING) as conn:
        with sqlite.only_reading(conn) if one_file else nullcontext():
            yield conn


def is_one_file(engine: Engine) -> bool:
    """Whether the database is a file of this machine (SQLite), which one process owns."""
    return engine.dialect.name == "sqlite"


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the schema to the newest revision, or up to another one, in one transaction.

    Raises DatabaseNewer, DatabaseUnsupported, DatabaseUnavailable.
    """
    config = _alembic_config()
    with _writing(engine) as conn:
        if not is_one_file(engine):
            postgres.require_usable(conn)
            postgres.without_statement_limit(conn)
        for found in MigrationContext.configure(conn).get_current_heads():
            _require_known(engine, found)
        config.attributes["connection"] = conn
        command.upgrade(config, revision)


def require_durable(engine: Engine) -> None:
    """Whether what is committed survives a power cut, as far as the server says. Raises DatabaseUnsafe."""
    if not is_one_file(engine):
        with reading(engine) as conn:
            postgres.require_durable(conn)


def _parsed(url: str | URL) -> URL:
    try:
        return make_url(url)
    except ArgumentError:  # what it is may hold a password: it is in no message and no traceback
        raise DatabaseUnsupported(
            "database_url: not a URL; write sqlite:////path/to.db or postgresql://USER@HOST/DATABASE"
        ) from None


def _writer_of(engine: Engine) -> Engine:
    return sqlite.writer_of(engine) if is_one_file(engine) else engine


def _writing(engine: Engine) -> AbstractContextManager[Connection]:
    begin = sqlite.BEGIN_WRITING if is_one_file(engine) else postgres.BEGIN_WRITING
    return _transaction(_writer_of(engine), begin)


def _require_known(engine: Engine, revision: str) -> None:
    if revision not in _revisions():
        raise DatabaseNewer(
            f"database {shown(engine.url)}: its schema is revision {revision}, "
            "which this program does not know; start the newer program, or restore an older backup"
        )


@functools.cache
def _revisions() -> frozenset[str]:
    """Of the schema, as far as this program knows."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions())


def _alembic_config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _transaction(engine: Engine, begin: str) -> Iterator[Connection]:
    committing = False
    try:
        with engine.connect().execution_options(**{_BEGIN: begin}) as conn, conn.begin():
            yield conn
            committing = begin == postgres.BEGIN_WRITING  # an SQLite file has no link that could break
    except PoolTimeoutError as error:
        raise DatabaseUnavailable(
            f"database {shown(engine.url)}: no connection was free in time; nothing was changed, "
            "somebody in this process works on it for long"
        ) from error
    except DBAPIError as error:
        if is_one_file(engine):
            known = sqlite.fault(error, engine.url)
        else:
            known = postgres.fault(error, engine.url, committing=committing)
        if known is None:
            raise
        raise known from error


def _begin(conn: Connection) -> None:
    unsaid = sqlite.BEGIN_READING if is_one_file(conn.engine) else postgres.BEGIN_READING
    conn.exec_driver_sql(conn.get_execution_options().get(_BEGIN, unsaid))
