"""Statements that go to the driver as plain SQL do what the others do."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from cloud.db.bulk import delete_ranges, delete_rows, find, insert_rows, put_rows
from cloud.db.engine import reading, writing
from cloud.db.names import AT_ONCE
from cloud.db.tables import settled

STREAM, OTHER = b"s" * 16, b"o" * 16


def test_many_names_of_many_streams_are_all_found(engine: Engine) -> None:
    rows = [(f"gw-{at % 7}", STREAM if at % 2 else OTHER, at, at) for at in range(1, 3 * AT_ONCE)]
    with writing(engine) as conn:
        insert_rows(conn, list(settled.columns), rows)
    by = (settled.c.gateway, settled.c.stream, settled.c.first_seq)
    wanted = [row[:3] for row in rows[::2]] + [("gw-0", STREAM, 10**6), ("nobody", STREAM, 1)]
    with reading(engine) as conn:
        found = find(conn, [*by, settled.c.last_seq], by, wanted)
        assert find(conn, [*by], by, []) == []
    assert sorted(tuple(row) for row in found) == sorted(rows[::2])


def test_names_have_as_many_parts_as_there_are_columns(engine: Engine) -> None:
    rows = [("gw-1", STREAM, 1, 4), ("gw-1", OTHER, 8, 9), ("gw-2", STREAM, 3, 3)]
    with writing(engine) as conn:
        insert_rows(conn, list(settled.columns), rows)
    gateway, stream, first, last = settled.columns
    with reading(engine) as conn:
        found = find(conn, [first, last], [gateway, stream], [("gw-1", STREAM), ("gw-2", OTHER), ("gw-2", STREAM)])
        assert sorted(map(tuple, found)) == [(1, 4), (3, 3)]
        assert sorted(map(tuple, find(conn, [first], [last], [(9,), (4,), (5,)]))) == [(1,), (8,)]


def test_put_replaces_and_delete_takes_by_key(engine: Engine) -> None:
    with writing(engine) as conn:
        put_rows(conn, settled, [("gw", STREAM, 1, 4), ("gw", STREAM, 8, 9)])
        put_rows(conn, settled, [("gw", STREAM, 1, 7), ("gw", OTHER, 1, 1)])
        delete_rows(conn, settled, [("gw", STREAM, 8), ("gw", STREAM, 5)])
        for nothing in (lambda: put_rows(conn, settled, []), lambda: delete_rows(conn, settled, [])):
            nothing()
    with reading(engine) as conn:
        kept = [tuple(row) for row in conn.execute(select(settled).order_by(settled.c.stream, settled.c.first_seq))]
    assert kept == [("gw", OTHER, 1, 1), ("gw", STREAM, 1, 7)]


def test_what_the_database_refuses_is_told_as_by_any_other_statement(engine: Engine) -> None:
    rows = [("gw", STREAM, 1, 1), ("gw", STREAM, 1, 2)]
    with pytest.raises(IntegrityError), writing(engine) as conn:
        insert_rows(conn, list(settled.columns), rows)
    with reading(engine) as conn:
        assert conn.execute(select(settled)).all() == []


def test_ranges_are_deleted_within_their_group_and_what_was_there_is_counted(engine: Engine):
    columns = [settled.c.gateway, settled.c.stream, settled.c.first_seq, settled.c.last_seq]
    rows = [(gateway, STREAM, at, at) for gateway in ("gw", "other") for at in (1, 3, 5, 7)]
    with writing(engine) as conn:
        insert_rows(conn, columns, rows)
        assert delete_ranges(conn, settled.c.gateway, settled.c.first_seq, []) == 0
        ranges = [("gw", 3, 6), ("other", 7, 7), ("other", 8, 9)]
        assert delete_ranges(conn, settled.c.gateway, settled.c.first_seq, ranges) == 3
        left = conn.execute(select(settled.c.gateway, settled.c.first_seq)).all()
    assert sorted(left) == [("gw", 1), ("gw", 7), ("other", 1), ("other", 3), ("other", 5)]
