"""The buffer's SQLite file: opened for one program, checked, migrated forward, or set aside when corrupt."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from edge.buffer.base import BufferFailure, BufferFull, BufferUnusable
from edge.durable import sync_folder

APPLICATION_ID = 0x434F4C44  # "COLD", so that file(1) and we know our own
CHECK_MAX_BYTES = 64 * 1024 * 1024  # read whole at start: some seconds on an SD card; beyond it hashes tell
WAL_PAGES = 1000  # about 4 MB between checkpoints: what the write-ahead log may add to the file
PAGE_BYTES = 4096
INCREMENTAL = 2  # of PRAGMA auto_vacuum: free pages can be given back to the disk
OUR_TABLES = {"open_group", "pack", "stream"}

log = logging.getLogger(__name__)


DISK_FAILURES = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


class DiskFailed(BufferFull):
    """The disk or its file system failed, or is read-only: the file has to be opened again."""


class CorruptFile(Exception):
    """The file is not a sound database; nothing in it can be relied on."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open or create the buffer file at the newest schema, locked against every other program.

    Raises CorruptFile, and BufferUnusable for a newer schema, a foreign database or a file in use.
    """
    if path.is_dir():
        raise BufferUnusable(f"{path}: a folder; configure another data_dir")
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=0.5, check_same_thread=False)
    except sqlite3.Error as error:
        raise DiskFailed(f"{path}: cannot be opened ({error}); check the folder and its rights") from error
    try:
        _configure(connection)
        _migrate(connection, path)
        _check(connection, path)
        connection.execute("DELETE FROM meta WHERE key IS NULL")  # makes SQLite say now if the header forbids writing
    except (sqlite3.Error, UnicodeDecodeError) as error:
        connection.close()
        raise judge(error, path, opening=True) from error
    except BaseException:
        connection.close()
        raise
    return connection


def set_aside(path: Path) -> Path:
    """Rename a corrupt file and its logs to the first free `….corrupt-N`; returns the new name. Raises OSError."""
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(target)
    for suffix in ("-wal", "-shm"):
        log_file = path.with_name(path.name + suffix)
        if log_file.exists():
            log_file.rename(target.with_name(target.name + suffix))
    sync_folder(path.parent)
    return target


def set_aside_names(path: Path) -> tuple[str, ...]:
    """Names of the files that were set aside earlier."""
    found = path.parent.glob(f"{path.name}.corrupt-*")
    return tuple(sorted(each.name for each in found if not each.name.endswith(("-wal", "-shm"))))


def judge(
    error: sqlite3.Error | UnicodeDecodeError, path: Path, *, opening: bool = False
) -> BufferFailure | CorruptFile:
    """Our error for one of SQLite's at a step of ours: such a step breaks no rule of a sound file.

    A flipped bit may read as an unknown format, a wrong statement or "read only"; a damaged
    schema is quoted by SQLite in words that Python can't decode.
    """
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and isinstance(error, sqlite3.ProgrammingError):  # says nothing about the file
        return DiskFailed(f"{path}: is not open ({error}); it is opened again")
    if code is None or code & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}:
        return CorruptFile(f"the file contradicts itself: {error}")  # no code: text that is not UTF-8
    assert isinstance(error, sqlite3.Error)
    if opening and code & 0xFF == sqlite3.SQLITE_READONLY and _is_writable(path):
        return CorruptFile(f"the header says that nobody may write: {error}")
    return translate(error, path)


def is_full(error: sqlite3.Error) -> bool:
    """Whether the disk takes nothing more."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def translate(error: sqlite3.Error, path: Path) -> BufferFailure | CorruptFile:
    """Our error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return CorruptFile(str(error))
    if code == sqlite3.SQLITE_FULL:
        return BufferFull(f"{path}: the disk is full; free some space")
    if code in DISK_FAILURES:
        return DiskFailed(f"{path}: the disk takes no writes ({error}); recording resumes when it does")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return BufferUnusable(f"{path}: another program uses this buffer; stop it first")
    return BufferUnusable(f"{path}: the disk or the file failed ({error}); check the disk, then start again")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT; anything raised rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, ascending."""
    folder = resources.files("edge.buffer.migrations")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name.split("_")[0]), entry.read_text("utf-8")) for entry in found)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; free pages inside it are used again first."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages) * PAGE_BYTES - free_page_bytes(connection)


def free_page_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold nothing and are used first."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(free) * PAGE_BYTES


def disk_bytes(path: Path) -> int:
    """Bytes that file and write-ahead log take on the disk."""
    total = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        if each.exists():
            total += each.stat().st_size
    return total


def free_disk_bytes(folder: Path) -> int:
    """Bytes the file system would still give us."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    if connection.execute("PRAGMA auto_vacuum").fetchone() != (INCREMENTAL,):  # setting it writes the header
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only while the file is still empty
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * PAGE_BYTES}")
    connection.execute("PRAGMA cache_size = -2000")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # makes SQLite judge the header


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    steps = migrations()
    newest = steps[-1][0]
    if application == APPLICATION_ID and _schema_in_meta(connection, version) != version:
        raise CorruptFile(f"the header says schema {version}, the file itself says another")
    if version > newest:
        raise BufferUnusable(
            f"{path}: schema {version} is newer than this program's {newest}; install the program that wrote it"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if application != APPLICATION_ID and (version or application or tables):
        if tables >= OUR_TABLES:
            raise CorruptFile("the header is not ours, though the tables are")
        raise BufferUnusable(f"{path}: a database of another program; configure another data_dir")
    try:
        for number, sql in steps:
            if number > version:
                _step(connection, number, sql)
    except sqlite3.Error as error:  # the file stays as it was: its data are whole, it is the program that cannot
        raise translate(error, path) from error
    if version and version < newest:
        log.info("buffer migrated: file=%s from=%d to=%d", path, version, newest)


def _step(connection: sqlite3.Connection, number: int, sql: str) -> None:
    with transaction(connection):
        for statement in _statements(sql):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(number).encode(),))


def _schema_in_meta(connection: sqlite3.Connection, version: int) -> int:
    """The schema once more, because nothing checks the header's bits; `version` where it was not yet written."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").fetchone()[0]:
        return version
    row = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return version if row is None or not row[0].isdigit() else int(row[0])


def _statements(sql: str) -> Iterator[str]:
    """One statement at a time: `executescript` would commit the open transaction."""
    statement = ""
    for line in sql.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size > CHECK_MAX_BYTES:
        return
    findings = [text for (text,) in connection.execute("PRAGMA quick_check(5)")]
    if findings != ["ok"]:
        raise CorruptFile("; ".join(findings))
