"""The statements that run for every pack, as plain SQL for the driver.

SQLAlchemy would handle each value of each row again and build a query anew for every set of names, which costs ingest
more than the database does. Errors are translated as for any other statement. Runs on SQLite and PostgreSQL: names are
those of the tables, only the marks of values differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Column, Connection, Table

from cloud.db import postgres
from cloud.db.names import AT_ONCE

COPIED_MIN = 4  # fewer rows are not worth the beginning of a COPY

Values = Sequence[tuple[Any, ...]]


def insert_rows(conn: Connection, columns: Sequence[Column[Any]], rows: Values) -> None:
    """Insert rows of one table, each with a value for each of these columns; none does nothing."""
    if len(rows) >= COPIED_MIN and conn.dialect.name == "postgresql":
        postgres.copy_rows(conn, columns, rows)
    elif rows:
        conn.exec_driver_sql(_insert_sql(tuple(columns), _mark(conn)), list(rows))


def put_rows(conn: Connection, table: Table, rows: Values) -> None:
    """Insert rows with a value for every column of a table; one whose primary key is there already is replaced."""
    if rows:
        conn.exec_driver_sql(_put_sql(table, _mark(conn)), list(rows))


def delete_rows(conn: Connection, table: Table, keys: Values) -> int:
    """Delete rows by primary key, its columns in the order of the table; how many were there."""
    if keys:
        names = " AND ".join(f"{column.name} = {_mark(conn)}" for column in table.primary_key)
        gone = conn.exec_driver_sql(f"DELETE FROM {table.name} WHERE {names}", list(keys))  # noqa: S608 - our names
        return gone.rowcount
    return 0


def delete_ranges(conn: Connection, group: Column[Any], place: Column[Any], ranges: Values) -> int:
    """Delete rows by (a value of `group`, the lowest `place` there, the highest); how many were there."""
    if ranges:
        mark = _mark(conn)
        where = f"{group.name} = {mark} AND {place.name} BETWEEN {mark} AND {mark}"
        gone = conn.exec_driver_sql(f"DELETE FROM {group.table.name} WHERE {where}", list(ranges))  # noqa: S608
        return gone.rowcount
    return 0


def find(
    conn: Connection, columns: Sequence[Column[Any]], by: Sequence[Column[Any]], names: Iterable[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Rows of one table by many names, each a value for every column of `by`; found by the index (cloud/db/names.py
    says why so)."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for name in set(names):
        groups.setdefault(name[:-1], []).append(name[-1])
    found: list[tuple[Any, ...]] = []
    terms: list[str] = []
    values: list[Any] = []
    mark = _mark(conn)
    same = "".join(f"{column.name} = {mark} AND " for column in by[:-1]) + by[-1].name
    for first, lasts in groups.items():
        for at in range(0, len(lasts), AT_ONCE):
            some = lasts[at : at + AT_ONCE]
            if terms and len(values) + len(some) > AT_ONCE:
                found += _select(conn, columns, terms, values)
                terms, values = [], []
            terms.append(f"({same} IN ({', '.join([mark] * len(some))}))")
            values += [*first, *some]
    if terms:
        found += _select(conn, columns, terms, values)
    return found


def _select(
    conn: Connection, columns: Sequence[Column[Any]], terms: Sequence[str], values: Sequence[Any]
) -> Sequence[tuple[Any, ...]]:
    names = ", ".join(_quoted([column.name for column in columns]))
    sql = f"SELECT {names} FROM {columns[0].table.name} WHERE {' OR '.join(terms)}"  # noqa: S608 - names of columns
    return cast("Sequence[tuple[Any, ...]]", conn.exec_driver_sql(sql, tuple(values)).all())


def _mark(conn: Connection) -> str:
    return "?" if conn.dialect.paramstyle == "qmark" else "%s"


@lru_cache
def _insert_sql(columns: tuple[Column[Any], ...], mark: str) -> str:
    names = ", ".join(_quoted([column.name for column in columns]))
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO {columns[0].table.name} ({names}) VALUES ({marks})"  # noqa: S608 - names of columns


@lru_cache
def _put_sql(table: Table, mark: str) -> str:
    key = [column.name for column in table.primary_key]
    others = [column.name for column in table.columns if column.name not in key]
    news = ", ".join(f"{name} = excluded.{name}" for name in _quoted(others))
    return f"{_insert_sql(tuple(table.columns), mark)} ON CONFLICT ({', '.join(_quoted(key))}) DO UPDATE SET {news}"


def _quoted(names: Sequence[str]) -> list[str]:
    """`count` and the like are no names everywhere."""
    return [f'"{name}"' for name in names]
