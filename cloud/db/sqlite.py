"""SQLite: one file of one machine, one writer.

Invariants: a writer holds the only write lock from its first statement (BEGIN IMMEDIATE); a commit is on the disk
(WAL, synchronous=FULL); a reader is refused when it writes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from cloud.db.fault import DatabaseDamaged, DatabaseUnavailable, DatabaseUnreachable, DatabaseUnsupported, shown
from cloud.durable import sync_folder
from cloud.errors import CloudError

BEGIN_WRITING = "BEGIN IMMEDIATE"
BEGIN_READING = "BEGIN DEFERRED"
KEPT = 10  # connections that stay open after a crowd of pages: one costs up to CACHE_KIB, opening it a millisecond
#: Pages in the write-ahead log before a commit copies them into the file, 16 MB. Each is copied once, however often it
#: was written meanwhile; with SQLite's 1,000 ingest writes a quarter more.
LOG_PAGES = 4_000
LOG_MAX_BYTES = 64 << 20  # of the write-ahead log: beyond this it is brought back to its beginning
LOG_WAIT_MS = 200  # … if readers let go of it within this
COPIED_SHARE = 0.75  # of the log: where less could be copied, somebody has read for seconds and won't let go soon
CACHE_KIB = 2_048  # of each connection that reads, at most
#: Of the one that writes: what ingest touches for each group, of some hundred series, fits.
WRITER_CACHE_KIB = 16_384


def open_engine(url: URL, *, pool_size: int, wait_ms: int) -> Engine:
    """An engine on a file, made with its folder if it is missing; `writer_of` is its other half.

    Raises DatabaseUnsupported or DatabaseUnreachable.
    """
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or not url.database or url.database == ":memory:":
        raise DatabaseUnsupported(f"database {shown(url)!r}: names no file; write sqlite:////absolute/path.db")
    _make_file(Path(url.database))
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False},
        pool_size=KEPT,
        max_overflow=2 * pool_size - KEPT,
        pool_use_lifo=True,  # the same few are used again and again: each keeps pages of its own
        hide_parameters=True,  # an error is logged; the values of its statement are nobody's business
    )
    writer = create_engine(
        url,
        connect_args={"check_same_thread": False},
        pool_size=1,
        max_overflow=0,
        pool_timeout=wait_ms / 1000,
        hide_parameters=True,
    )
    folder = Path(url.database).parent
    for half, cache_kib in ((engine, CACHE_KIB), (writer, WRITER_CACHE_KIB)):
        event.listen(half, "connect", _prepare(folder, wait_ms, cache_kib))
    event.listen(engine, "engine_disposed", lambda _: writer.dispose())
    _writers[engine] = writer
    return engine


def writer_of(engine: Engine) -> Engine:
    """The engine with the one connection through which this process writes.

    Writers would wait for each other in any case. In a queue for one connection none is passed over, as happens to
    those who only try again from time to time; and its pages stay true in memory, while a write through another
    connection makes all of them be read anew.
    """
    return _writers[engine]


_writers: WeakKeyDictionary[Engine, Engine] = WeakKeyDictionary()


def _prepare(folder: Path, wait_ms: int, cache_kib: int) -> Callable[[_DriverConnection, object], None]:
    def prepare(connection: _DriverConnection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions behind our back
        connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        # Debian's SQLite writes zeros over each page that is freed, into the log and then into the file: all that the
        # tail ever held, twice more. What is deleted within a page that stays is overwritten all the same.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        # The log must outlive a power cut as a name in its folder, too. SQLite sees to that only where the connection
        # that made it is the one that writes; asking for anything makes it, if it is not there.
        connection.execute("SELECT count(*) FROM sqlite_master")
        sync_folder(folder)

    return prepare


@contextmanager
def only_reading(conn: Connection) -> Iterator[None]:
    """Refuse what writes; the connection goes back to the pool writable."""
    conn.exec_driver_sql("PRAGMA query_only = ON")
    try:
        yield
    finally:
        conn.exec_driver_sql("PRAGMA query_only = OFF")


def fault(error: DBAPIError, url: URL) -> CloudError | None:
    """What an error of the driver says of the database, None when it speaks of values and statements."""
    if isinstance(error, OperationalError):
        return DatabaseUnavailable(
            f"database {shown(url)}: {error.orig}; nothing was changed, "
            "check the disk's free space and who else holds the file"
        )
    if type(error) is DatabaseError:  # its subclasses speak of values and statements, not of the file
        return _damaged(url, error.orig)
    return None


def _damaged(url: URL, why: BaseException | None) -> DatabaseDamaged:
    return DatabaseDamaged(f"database {shown(url)}: {why}; put the file aside and restore the backup")


def shorten_log(engine: Engine) -> int:
    """Begin the write-ahead log anew once it is long; how many bytes that made it shorter, 0 when it could not be.

    SQLite does so itself whenever nobody reads while it commits. Where readers overlap all day it never comes to that,
    the log grows without end, and all reading slows with it. What is in the log goes into the file while others read
    and write; then writers wait for the readers that still need it, for a moment. A long reader is left in peace, and
    nobody waits for it: the next call tries again. Raises DatabaseUnavailable, DatabaseDamaged.
    """
    log = Path(f"{engine.url.database}-wal")
    size = _size(log)
    if size <= LOG_MAX_BYTES:
        return 0
    try:
        with closing(engine.raw_connection()) as pooled:
            _begin_log_anew(cast("_DriverConnection", pooled.driver_connection))
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable(f"database {shown(engine.url)}: its log can't be shortened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(engine.url, error) from error
    return max(size - _size(log), 0)  # where it was not begun anew, it may have grown meanwhile


def _begin_log_anew(connection: _DriverConnection) -> None:
    _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if 0 <= copied < pages * COPIED_SHARE:  # below 0: not told, because a writer is at the same work
        return
    waits_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {LOG_WAIT_MS}")
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {waits_ms}")


def _size(file: Path) -> int:
    """In bytes; 0 when it is not there, as a log is that nobody has open."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _make_file(path: Path) -> None:
    """Make the file unless it is there; SQLite gives its companions (-wal, -shm) the same rights."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise DatabaseUnreachable(f"database {path}: {error.strerror}; check the rights of file and folder") from error


class _Cursor(Protocol):
    """What is used of the sqlite3 cursor."""

    def fetchone(self) -> tuple[int, ...]: ...


class _DriverConnection(Protocol):
    """What is used of the sqlite3 connection under SQLAlchemy."""

    isolation_level: str | None

    def execute(self, sql: str, /) -> _Cursor: ...
