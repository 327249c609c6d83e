"""A database that refuses some rows, whichever database it is."""

from __future__ import annotations

from sqlalchemy import Connection, text


def refuse_rows(conn: Connection, table: str, why: str, *, when: str = "") -> None:
    """Have the database refuse new rows of a table; `when`: only those of which this holds."""
    if conn.dialect.name == "sqlite":
        condition = f"WHEN {when}" if when else ""
        conn.execute(
            text(f"CREATE TRIGGER bad BEFORE INSERT ON {table} {condition} BEGIN SELECT RAISE(ABORT, '{why}'); END")
        )
        return
    body = f"BEGIN RAISE EXCEPTION '{why}'; END"
    conn.execute(
        text(f"CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS '{body.replace(chr(39), chr(39) * 2)}'")
    )
    condition = f"WHEN ({when})" if when else ""
    conn.execute(text(f"CREATE TRIGGER bad BEFORE INSERT ON {table} FOR EACH ROW {condition} EXECUTE FUNCTION bad()"))
