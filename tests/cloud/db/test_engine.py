"""The database promises, SQLite and PostgreSQL alike: one writer, consistent reads, a schema that only goes forward.

What only one of them promises stands in test_sqlite.py and test_postgres.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from cloud.db import engine as db
from cloud.db.tables import metadata, party, person


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """A database without tables."""
    opened = db.open_engine(empty_url)
    yield opened
    opened.dispose()


def _names(engine: Engine) -> list[str]:
    with db.reading(engine) as conn:
        return list(conn.scalars(select(party.c.name).order_by(party.c.gln)))


def test_error_does_not_tell_the_values_of_its_statement(engine: Engine):
    db.migrate(engine)
    row = {"login": "lan", "name": "Lan", "role": "nobody", "password_hash": "a secret", "added_ms": 1}
    with pytest.raises(IntegrityError) as caught, db.writing(engine) as conn:
        conn.execute(insert(person).values(row))
    assert "known_role" in str(caught.value)
    assert "a secret" not in str(caught.value)


def test_migrated_schema_equals_the_tables(engine: Engine):
    db.migrate(engine)
    with db.reading(engine) as conn:
        differences = compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata)
    assert differences == []


def test_every_constraint_of_the_tables_is_in_the_migrated_schema(engine: Engine):
    db.migrate(engine)
    migrated = _schema(engine)
    with db.writing(engine) as conn:
        metadata.drop_all(conn)
        metadata.create_all(conn)
    assert migrated == _schema(engine)
    assert migrated


DEFINITIONS = [
    """SELECT conrelid::regclass::text, conname || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace""",
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """SELECT table_name, column_name || concat_ws(' ', '', data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'""",
]


def _schema(engine: Engine) -> dict[str, list[str]]:
    """Per table or index the parts of its definition, in an order that does not depend on who wrote it."""
    with db.reading(engine) as conn:
        if db.is_one_file(engine):
            rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
            found = {name: sorted(line.strip(" \t,") for line in sql.splitlines()) for name, sql in rows}
        else:
            found = {}
            for table, what in (row for query in DEFINITIONS for row in conn.execute(text(query))):
                found.setdefault(table.strip('"'), []).append(what)
    return {name: sorted(parts) for name, parts in found.items() if name != "alembic_version"}


def test_migrating_twice_changes_nothing(engine: Engine):
    db.migrate(engine)
    before = _schema(engine)
    db.migrate(engine)
    assert _schema(engine) == before


def test_newer_database_refuses_to_start(engine: Engine):
    db.migrate(engine)
    with db.writing(engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(db.DatabaseNewer, match="revision 9999"):
        db.migrate(engine)


def test_database_that_becomes_newer_meanwhile_is_left_alone(engine: Engine):
    db.migrate(engine)
    with db.writing(engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(db.DatabaseNewer, match=r"revision 9999.*newer program"), db.writing(engine) as conn:
        conn.execute(insert(party).values(gln="1", name="a", address=""))
    assert _names(engine) == []


def test_failed_write_leaves_nothing(engine: Engine):
    db.migrate(engine)
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(engine)
    assert _names(engine) == []


def _write_and_fail(engine: Engine) -> None:
    with db.writing(engine) as conn:
        conn.execute(insert(party).values(gln="1", name="a", address=""))
        raise ZeroDivisionError


def test_reader_sees_one_moment(engine: Engine):
    db.migrate(engine)
    query = select(party.c.name)
    with db.reading(engine) as conn:
        assert list(conn.scalars(query)) == []
        with db.writing(engine) as writer:
            writer.execute(insert(party).values(gln="1", name="a", address=""))
        assert list(conn.scalars(query)) == []
    assert _names(engine) == ["a"]


def test_write_through_a_reader_is_refused(engine: Engine):
    db.migrate(engine)
    with pytest.raises(db.DatabaseUnavailable, match=r"read-?only"), db.reading(engine) as conn:
        conn.execute(insert(party).values(gln="1", name="a", address=""))
    with db.writing(engine) as conn:  # the pooled connection is writable again
        conn.execute(insert(party).values(gln="1", name="a", address=""))


def test_second_writer_waits_and_then_says_who_to_look_for(empty_url: str):
    engine, other = (db.open_engine(empty_url, wait_ms=20) for _ in range(2))
    db.migrate(engine)
    with db.writing(engine):
        with pytest.raises(db.DatabaseUnavailable, match=r"lock.*who else holds"), db.writing(other):
            pass
        with pytest.raises(db.DatabaseUnavailable, match=r"who else holds|in this process"), db.writing(engine):
            pass
    for one in (engine, other):  # and may, as soon as the other one is through
        with db.writing(one) as conn:
            conn.execute(insert(party).values(gln=str(id(one)), name="a", address=""))
        one.dispose()


def test_writers_of_one_process_take_turns_in_the_order_they_came(engine: Engine):
    db.migrate(engine)
    turns: list[int] = []

    def write(number: int) -> None:
        with db.writing(engine):
            turns.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    with db.writing(engine):
        for thread in threads:
            thread.start()
            time.sleep(0.05)  # until it waits
    for thread in threads:
        thread.join()
    assert turns == list(range(8)) or not db.is_one_file(engine)


def test_a_writer_sees_what_the_one_it_waited_for_has_written(engine: Engine):
    db.migrate(engine)
    entered = threading.Event()

    def add(name: str) -> None:
        with db.writing(engine) as conn:
            entered.set()
            known = conn.scalar(select(func.count()).select_from(party)) or 0
            conn.execute(insert(party).values(gln=str(known), name=name, address=""))

    with ThreadPoolExecutor(8) as pool:
        with db.writing(engine) as conn:
            waiting = [pool.submit(add, f"n{at}") for at in range(8)]
            assert not entered.wait(0.05)
            conn.execute(insert(party).values(gln="0", name="first", address=""))
        for one in waiting:
            one.result()
    assert len(_names(engine)) == 9


STRANGE = [
    "nul \0 in it",
    "\0",
    "\ufdd0",
    "\ufdd0\ufdd1",
    "\ufdd0\ufdd2\0",
    "Kho lạnh ❄ \U0001f41f",
    "]C1\x1d01",
    "%s %(x)s :y \\",
    "",
]


def test_every_text_comes_back_as_it_was(engine: Engine):
    db.migrate(engine)
    with db.writing(engine) as conn:
        rows = [{"gln": f"{at}", "name": one, "address": one} for at, one in enumerate(STRANGE)]
        conn.execute(insert(party), rows)
    with db.reading(engine) as conn:
        assert list(conn.scalars(select(party.c.name).order_by(party.c.gln))) == STRANGE
        for at, one in enumerate(STRANGE):
            found = conn.scalars(select(party.c.gln).where(party.c.name == one, party.c.address.in_([one])))
            assert list(found) == [str(at)]


def test_text_is_sorted_by_code(engine: Engine):
    db.migrate(engine)
    names = ["é", "z", "B", "a", "ab", "a b", "a-c", "Đ", "\U0001f41f", "1"]
    with db.writing(engine) as conn:
        conn.execute(insert(party), [{"gln": f"{at}", "name": one, "address": ""} for at, one in enumerate(names)])
    with db.reading(engine) as conn:
        assert list(conn.scalars(select(party.c.name).order_by(party.c.name))) == sorted(names)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_number_that_does_not_fit_is_refused_and_no_fault_of_the_database(engine: Engine, number: int):
    db.migrate(engine)
    row = {"login": "lan", "name": "Lan", "role": "official", "password_hash": "x", "added_ms": number}
    with pytest.raises((DBAPIError, OverflowError)), db.writing(engine) as conn:
        conn.execute(insert(person).values(row))
    with db.writing(engine) as conn:
        conn.execute(insert(person).values(row | {"added_ms": 2**63 - 1}))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "postgresql//u:secret@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite+aiosqlite:////x.db?secret",
        "mysql://u:secret@h/d",
        "mysql://h/d?password=secret",
        "postgresql+asyncpg://u:secret@h/d",
        "postgresql://u:secret@h",
        "postgresql://h?password=secret",
    ],
)
def test_unusable_url_is_refused_without_its_password(url: str):
    with pytest.raises(db.DatabaseUnsupported) as caught:
        db.open_engine(url)
    assert "secret" not in str(caught.value)
