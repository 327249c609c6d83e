"""PostgreSQL 15 or newer: one server, several processes, still one writer at a time.

Invariants: a writer holds one advisory lock from its first statement to its commit, so that what it read is still
true when it writes, ids rise in the order of commits and leaves are numbered without holes (ADR 0019); a commit is on
the server's disk; a reader sees one moment (REPEATABLE READ) and is refused when it writes; a process that stops in
the middle of a transaction loses it, and its lock, after IDLE_MAX_MS.

What SQLite stores comes back the same from here. PostgreSQL's text holds every character but NUL, and a scanner may
read one: NUL is written as two other characters, and turned back when it is read.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    ExceptionContext,
    Float,
    Integer,
    LargeBinary,
    Text,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError

from cloud.db.fault import (
    DatabaseDamaged,
    DatabaseUnavailable,
    DatabaseUnsafe,
    DatabaseUnsupported,
    OutcomeUnknown,
    shown,
)
from cloud.errors import CloudError

DRIVER = "postgresql+psycopg"
WRITERS_LOCK = 0x636F_6C64_7072_6F66  # "coldprof"; an advisory lock belongs to one database of the server
IDLE_MAX_MS = 60_000  # of a transaction between two statements; far beyond what any of ours thinks in between
STATEMENT_MAX_MS = 300_000  # of one statement of a writer: who needs more than this holds up ingest
VERSION_MIN = 15
INT4 = 2**31

BEGIN_WRITING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; "
    f"SET LOCAL statement_timeout = {STATEMENT_MAX_MS}; "
    f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})"
)
BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_LINK = {  # of libpq; a dead server or network is noticed within half a minute
    "application_name": "coldproof",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
#: Classes and codes of SQLSTATE (PostgreSQL's Appendix A) that say "not now": the connection, the rights to connect,
#: no such database or schema, rolled back for another, out of room, ended by somebody, the system under it; a time-out
#: on a lock, or while idle; a server that only reads, as one that takes over does for a while; a table or column that
#: is not there or not ours (yet, as in the middle of a restore).
_NOT_NOW = ("08", "28", "3D", "3F", "40", "53", "57", "58", "55P03", "25P03", "25006", "42P01", "42703", "42501")
_TYPE_NAMES: list[tuple[type, str]] = [
    (BigInteger, "int8"),  # before Integer, of which it is one
    (Integer, "int4"),
    (Text, "text"),
    (LargeBinary, "bytea"),
    (Boolean, "bool"),
    (Float, "float8"),
]
_DAMAGED = ("XX001", "XX002")  # data and index corrupted
_ESCAPE, _NUL, _ITSELF = "\ufdd0", "\ufdd0\ufdd1", "\ufdd0\ufdd2"  # no characters, and never will be (Unicode 23.7)


def open_engine(url: URL, *, pool_size: int, wait_ms: int) -> Engine:
    """An engine on a server; nothing is connected yet. Raises DatabaseUnsupported."""
    if url.drivername not in ("postgresql", "postgres", DRIVER):
        raise DatabaseUnsupported(f"database {shown(url)}: write postgresql://USER@HOST/DATABASE")
    if not url.database:
        raise DatabaseUnsupported(f"database {shown(url)}: names no database; write postgresql://USER@HOST/DATABASE")
    if importlib.util.find_spec("psycopg") is None:
        raise DatabaseUnsupported(
            f"database {shown(url)}: the library for PostgreSQL is missing; pip install 'coldproof[postgres]'"
        )
    engine = create_engine(
        url.set(drivername=DRIVER),
        connect_args={name: value for name, value in _LINK.items() if name not in url.query},
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,  # after the server was restarted nobody is given a dead connection
        use_native_hstore=False,
        hide_parameters=True,  # an error is logged; the values of its statement are nobody's business
    )

    def prepare(connection: Any, _record: object) -> None:
        connection.autocommit = True  # the driver must not begin transactions behind our back
        _keep_values(connection)
        connection.execute(f"SET lock_timeout = {wait_ms}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_MAX_MS}")
        connection.execute(  # what was said to be committed must be on the disk
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )

    event.listen(engine, "connect", prepare)
    event.listen(engine, "handle_error", _leave_out_values)
    return engine


def copy_rows(conn: Connection, columns: Sequence[Column[Any]], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of one table by COPY, which costs both sides a third of what single INSERTs do.

    Errors are SQLAlchemy's, as of any other statement.
    """
    import psycopg  # only where it is installed

    names = ", ".join(f'"{column.name}"' for column in columns)
    sql = f"COPY {columns[0].table.name} ({names}) FROM STDIN (FORMAT BINARY)"
    driver: Any = conn.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types([_type_name(column) for column in columns])
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        _without_values(error)
        lost = bool(driver.closed or driver.broken)
        if lost:
            conn.invalidate(error)
        wrapped = DBAPIError.instance(
            sql, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=lost, dialect=conn.dialect
        )
        raise wrapped from error


def _type_name(column: Column[Any]) -> str:
    for kind, name in _TYPE_NAMES:
        if isinstance(column.type, kind):
            return name
    raise TypeError(f"{column}: {column.type} has no name here")


def fault(error: DBAPIError, url: URL, *, committing: bool) -> CloudError | None:
    """What an error of the driver says of the database, None when it speaks of values and statements."""
    code = getattr(error.orig, "sqlstate", None)
    said = " ".join(str(error.orig).split())
    if code in _DAMAGED:
        return DatabaseDamaged(f"database {shown(url)}: {said}; stop everything on it and restore the backup")
    lost = (code is None and _says_nothing_of_values(error)) or error.connection_invalidated
    if lost and committing:
        return OutcomeUnknown(
            f"database {shown(url)}: {said}; lost while it committed, so the change was made whole or not at all: "
            "look whether it is there before you make it again"
        )
    if lost or (code is not None and code.startswith(_NOT_NOW)):
        return DatabaseUnavailable(
            f"database {shown(url)}: {said}; nothing was changed, "
            "check that the server runs, its disk's free space and who else holds its locks"
        )
    return None


def require_usable(conn: Connection) -> None:
    """Whether text sorts and is stored here as everywhere else. Raises DatabaseUnsupported."""
    where = f"database {shown(conn.engine.url)}"
    version = int(conn.exec_driver_sql("SHOW server_version_num").scalar_one())
    if version < VERSION_MIN * 10_000:
        raise DatabaseUnsupported(f"{where}: PostgreSQL {version // 10_000}; {VERSION_MIN} or newer is needed")
    encoding = conn.exec_driver_sql("SHOW server_encoding").scalar_one()
    by_code = conn.exec_driver_sql("SELECT 'B' < 'a' AND 'a b' < 'ab' AND 'a-c' < 'ab' AND 'z' < 'é'").scalar_one()
    if (
        encoding != "UTF8" or not by_code
    ):  # a dictionary's order changes with the system's libraries, and breaks indexes
        raise DatabaseUnsupported(
            f"{where}: encoding {encoding}, text sorted {'by code' if by_code else 'by a language'}; make it with "
            "CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )


def require_durable(conn: Connection) -> None:
    """Whether the server keeps what it has committed through a power cut. Raises DatabaseUnsafe."""
    for name in ("fsync", "full_page_writes"):
        if conn.exec_driver_sql(f"SHOW {name}").scalar_one() != "on":
            raise DatabaseUnsafe(
                f"database {shown(conn.engine.url)}: its server runs with {name} = off and may lose what was "
                f"receipted; set {name} = on in postgresql.conf and restart it"
            )


def without_statement_limit(conn: Connection) -> None:
    """For a migration, which may take as long as it takes."""
    conn.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _leave_out_values(context: ExceptionContext) -> None:
    """The server adds the row that failed to its message, and in it password hashes: the message alone is kept."""
    error, about = context.original_exception, context.sqlalchemy_exception
    if _without_values(error) and about is not None:
        about.args = (f"({type(error).__module__}.{type(error).__qualname__}) {error}",)


def _without_values(error: BaseException) -> bool:
    said = getattr(getattr(error, "diag", None), "message_primary", None)
    if said:
        error.args = (said,)
    return bool(said)


def _says_nothing_of_values(error: DBAPIError) -> bool:
    import psycopg  # only where it is installed

    return isinstance(error.orig, psycopg.OperationalError)


def _keep_values(connection: Any) -> None:
    """Have every value come back as it was, or refused: text with NUL, and numbers that the driver would cut."""
    adapters = _adapters()
    for kind, dumper in adapters.dumpers:
        connection.adapters.register_dumper(kind, dumper)
    for name in ("text", "varchar"):
        connection.adapters.register_loader(name, adapters.loader)


class _Adapters(NamedTuple):
    dumpers: list[tuple[type, Any]]
    loader: Any


@functools.cache
def _adapters() -> _Adapters:
    from psycopg.types.numeric import Int4, Int4BinaryDumper  # only where it is installed
    from psycopg.types.string import StrBinaryDumper, StrDumperUnknown, TextLoader

    class Whole(Int4BinaryDumper):
        def dump(self, obj: int) -> Any:
            if not -INT4 <= obj < INT4:  # COPY: psycopg 3.3 writes the lower 32 bits, and says nothing
                raise OverflowError(f"{obj} does not fit into 32 bits")
            return super().dump(obj)

    class Copied(StrBinaryDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(escaped(obj) if "\0" in obj or _ESCAPE in obj else obj)

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(escaped(obj) if "\0" in obj or _ESCAPE in obj else obj)

    class Loader(TextLoader):
        def load(self, data: Any) -> Any:
            text = super().load(data)
            return unescaped(text) if isinstance(text, str) and _ESCAPE in text else text

    # Of several for one type the last one is the usual one.
    return _Adapters([(Int4, Whole), (str, Copied), (str, Dumper)], Loader)


def escaped(text: str) -> str:
    """A text without NUL that stands for this one, and for no other."""
    return text.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)


def unescaped(text: str) -> str:
    """The text that `escaped` was given."""
    return text.replace(_NUL, "\0").replace(_ITSELF, _ESCAPE)
