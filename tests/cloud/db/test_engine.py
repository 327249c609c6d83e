"""The database promises: durable settings, one writer, consistent reads, and a schema that only goes forward."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from cloud.db import engine as db
from cloud.db.tables import metadata, party, person


@pytest.fixture
def engine(tmp_path: Path):
    opened = db.open_engine(db.sqlite_url(tmp_path / "deep" / "cloud.db"))
    yield opened
    opened.dispose()


def _names(engine: Engine) -> list[str]:
    with db.reading(engine) as conn:
        return list(conn.scalars(select(party.c.name).order_by(party.c.gln)))


def test_connection_is_durable_and_keeps_foreign_keys(engine: Engine):
    with db.reading(engine) as conn:
        found = {name: conn.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_database_is_for_its_owner_only(engine: Engine, tmp_path: Path):
    db.migrate(engine)
    files = sorted((tmp_path / "deep").iterdir())
    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [
        ("cloud.db", 0o600),
        ("cloud.db-shm", 0o600),
        ("cloud.db-wal", 0o600),
    ]


def test_place_where_no_file_can_be_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(db.DatabaseUnreachable, match="check the rights"):
        db.open_engine(db.sqlite_url(tmp_path / "file" / "cloud.db"))


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


def test_every_constraint_of_the_tables_is_in_the_migrated_schema(engine: Engine, tmp_path: Path):
    db.migrate(engine)
    plain = db.open_engine(db.sqlite_url(tmp_path / "plain.db"))
    with db.writing(plain) as conn:
        metadata.create_all(conn)
    assert _schema(engine) == _schema(plain)
    plain.dispose()


def _schema(engine: Engine) -> dict[str, list[str]]:
    """Per table or index the parts of its definition, in an order that does not depend on who wrote it."""
    with db.reading(engine) as conn:
        rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    return {
        name: sorted(line.strip(" \t,") for line in sql.splitlines()) for name, sql in rows if name != "alembic_version"
    }


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
    with pytest.raises(db.DatabaseUnavailable, match="readonly"), db.reading(engine) as conn:
        conn.execute(insert(party).values(gln="1", name="a", address=""))
    with db.writing(engine) as conn:  # the pooled connection is writable again
        conn.execute(insert(party).values(gln="1", name="a", address=""))


def test_second_writer_waits_and_then_says_who_to_look_for(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(db, "BUSY_TIMEOUT_MS", 20)
    db.migrate(engine)
    with db.writing(engine):
        with pytest.raises(db.DatabaseUnavailable, match="locked"), db.writing(engine):
            pass


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://u:secret@h/d"])
def test_unusable_url_is_refused_without_its_password(url: str):
    with pytest.raises(db.DatabaseUnsupported) as caught:
        db.open_engine(url)
    assert "secret" not in str(caught.value)


def test_file_that_is_no_database_is_left_alone(tmp_path: Path):
    file = tmp_path / "cloud.db"
    file.write_bytes(b"not a database " * 1000)
    opened = db.open_engine(db.sqlite_url(file))
    with pytest.raises(db.DatabaseDamaged, match="restore the backup"):
        db.migrate(opened)
    opened.dispose()
    assert file.read_bytes() == b"not a database " * 1000
