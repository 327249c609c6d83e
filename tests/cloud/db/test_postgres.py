"""What a database on a PostgreSQL server promises besides: on a real server, stopped and set up wrong on purpose."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from bench.postgres import NoServer, Server
from cloud.db import engine as db
from cloud.db import postgres as backend
from cloud.db.bulk import insert_rows
from cloud.db.tables import party


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server of our own, which may be stopped; one that answers for what it has committed."""
    try:
        server = Server(durable=True)
    except NoServer as why:
        pytest.skip(f"not tested on PostgreSQL: {why}")
    yield server
    server.remove()


@pytest.fixture
def engine(own: Server) -> Iterator[Engine]:
    """A migrated database there."""
    name = own.create()
    opened = db.open_engine(own.url(name))
    db.migrate(opened)
    yield opened
    opened.dispose()
    own.drop(name)


def _add(engine: Engine, gln: str) -> None:
    with db.writing(engine) as conn:
        conn.execute(insert(party).values(gln=gln, name="a", address=""))


def _add_and_then(engine: Engine, then: str | Callable[[], None]) -> None:
    """Add a row, and do something before the transaction is over."""
    with db.writing(engine) as conn:
        conn.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 200")
        conn.execute(insert(party).values(gln="8", name="a", address=""))
        if isinstance(then, str):
            conn.exec_driver_sql(then)
        else:
            then()
            conn.execute(select(1))


def _count(engine: Engine) -> int:
    with db.reading(engine) as conn:
        return conn.scalar(select(func.count()).select_from(party)) or 0


def test_work_goes_on_after_a_restart_of_the_server(engine: Engine, own: Server):
    _add(engine, "1")
    assert _count(engine) == 1
    own.stop()
    with pytest.raises(db.DatabaseUnavailable, match="nothing was changed"):
        _add(engine, "2")
    with pytest.raises(db.DatabaseUnavailable):
        _count(engine)
    own.start()
    _add(engine, "2")
    assert _count(engine) == 2


def test_crash_of_the_server_in_the_middle_keeps_what_was_committed_and_nothing_else(engine: Engine, own: Server):
    _add(engine, "1")
    with pytest.raises(db.DatabaseUnavailable, match="nothing was changed"):
        _add_and_then(engine, lambda: own.stop(3))
    own.start()
    assert _count(engine) == 1


def test_server_lost_while_it_commits_leaves_the_outcome_open_and_says_so(engine: Engine, own: Server):
    def add() -> None:
        with db.writing(engine) as conn:
            conn.execute(insert(party).values(gln="8", name="a", address=""))
            own.stop(3)  # just before the word that commits

    with pytest.raises(db.OutcomeUnknown, match="made whole or not at all"):
        add()
    own.start()
    assert _count(engine) == 0


def test_crash_of_the_server_while_many_rows_are_written_is_no_fault_of_the_rows(engine: Engine, own: Server):
    def write() -> None:
        with db.writing(engine) as conn:
            own.stop(3)
            insert_rows(conn, list(party.columns), [(f"{at}", "a", "") for at in range(100)])

    with pytest.raises(db.DatabaseUnavailable, match="nothing was changed"):
        write()
    own.start()
    assert _count(engine) == 0


def test_connections_that_died_with_the_server_are_given_to_nobody(engine: Engine, own: Server):
    held = [engine.connect() for _ in range(5)]
    for conn in held:
        conn.execute(text("SELECT 1"))
        conn.close()
    own.stop()
    own.start()
    for gln in "12345":
        _add(engine, gln)
    assert _count(engine) == 5


def test_one_that_sleeps_in_the_middle_gives_the_lock_back_and_keeps_nothing(engine: Engine):
    with pytest.raises(db.DatabaseUnavailable, match="idle-in-transaction"):
        _add_and_then(engine, lambda: _add(engine, "2"))  # which waits until the server has ended the other one
    assert _count(engine) == 1


CODES = {
    "53100": db.DatabaseUnavailable,  # the disk is full
    "53200": db.DatabaseUnavailable,  # no memory
    "57014": db.DatabaseUnavailable,  # the statement took too long
    "57P01": db.DatabaseUnavailable,  # the server stops
    "55P03": db.DatabaseUnavailable,  # somebody else holds the lock
    "40001": db.DatabaseUnavailable,
    "40P01": db.DatabaseUnavailable,
    "58030": db.DatabaseUnavailable,  # the disk fails
    "25006": db.DatabaseUnavailable,  # a standby that has not taken over yet
    "42501": db.DatabaseUnavailable,  # rights were taken from us
    "XX001": db.DatabaseDamaged,
    "XX002": db.DatabaseDamaged,
    "22003": DBAPIError,  # a number out of range
    "23505": DBAPIError,  # a key that is there already
    "54000": DBAPIError,  # a value too large for an index: the same again would fail for ever
    "P0001": DBAPIError,
}


@pytest.mark.parametrize("code", CODES)
def test_what_the_server_says_is_named_for_what_to_do(engine: Engine, code: str):
    with pytest.raises(CODES[code], match="told so"):
        _add_and_then(engine, f"DO $$ BEGIN RAISE EXCEPTION 'told so' USING ERRCODE = '{code}'; END $$")
    assert _count(engine) == 0


def test_server_that_may_lose_what_it_committed_is_refused(postgres: Server, migrated_database: str, engine: Engine):
    db.require_durable(engine)
    careless = db.open_engine(postgres.url(migrated_database))
    with pytest.raises(db.DatabaseUnsafe, match=r"fsync = off.*set fsync = on"):
        db.require_durable(careless)
    careless.dispose()


def test_commit_waits_for_the_disk_whatever_the_server_has_for_a_default(engine: Engine, own: Server):
    own.tell(f'ALTER DATABASE "{engine.url.database}" SET synchronous_commit = off')
    engine.dispose()
    with db.writing(engine) as conn:
        assert conn.scalar(text("SHOW synchronous_commit")) == "on"


@pytest.mark.parametrize(
    "made",
    [
        "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
        "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'vi' LC_COLLATE 'C' LC_CTYPE 'C'",
    ],
    ids=["encoding", "order"],
)
def test_database_that_stores_text_in_another_way_is_refused(own: Server, made: str):
    name = own.create(made=made)
    opened = db.open_engine(own.url(name))
    with pytest.raises(db.DatabaseUnsupported, match="CREATE DATABASE"):
        db.migrate(opened)
    opened.dispose()
    own.drop(name)


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@127.0.0.1:1/d", "postgres://127.0.0.1:1/d?user=u&password=secret"]
)
def test_no_error_tells_the_password(url: str):
    opened = db.open_engine(url)
    with pytest.raises(db.DatabaseUnavailable, match=r"127\.0\.0\.1") as caught:
        db.migrate(opened)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    opened.dispose()


def test_password_stands_in_a_file_of_its_own_and_in_no_error(
    own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    own.tell("CREATE ROLE guarded LOGIN PASSWORD 'right horse'")
    name = own.create()
    own.tell(f'ALTER DATABASE "{name}" OWNER TO guarded')
    rules = own.folder / "data" / "pg_hba.conf"
    rules.write_text("local all guarded scram-sha-256\nlocal all all trust\n")
    own.tell("SELECT pg_reload_conf()")
    passwords = tmp_path / "passwords"
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    url = f"postgresql://guarded@/{name}?host={own.folder}"
    for word, works in (("wrong horse", False), ("right horse", True)):
        passwords.write_text(f"{own.folder}:5432:{name}:guarded:{word}\n")
        passwords.chmod(0o600)
        opened = db.open_engine(url)
        if works:
            db.migrate(opened)
            _add(opened, "1")
        else:
            with pytest.raises(db.DatabaseUnavailable, match="password authentication failed") as caught:
                db.migrate(opened)
            assert "horse" not in "".join(traceback.format_exception(caught.value))
        opened.dispose()
    own.drop(name)


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(db.DatabaseUnsupported, match=r"pip install 'coldproof\[postgres\]'"):
        db.open_engine("postgresql://h/d")


@given(text=st.text(alphabet=["\0", "\ufdd0", "\ufdd1", "\ufdd2", "a"], max_size=12))
def test_text_is_stored_without_nul_and_comes_back(text: str):
    stored = backend.escaped(text)
    assert "\0" not in stored
    assert backend.unescaped(stored) == text
