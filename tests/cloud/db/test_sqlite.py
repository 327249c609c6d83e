"""What a database in a file promises besides."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, QueuePool, text

from cloud.db import engine as db
from cloud.db import sqlite
from cloud.db.sqlite import KEPT


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A new file in a new folder."""
    opened = db.open_engine(db.sqlite_url(tmp_path / "deep" / "cloud.db"))
    yield opened
    opened.dispose()


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


def test_file_that_is_no_database_is_left_alone(tmp_path: Path):
    file = tmp_path / "cloud.db"
    file.write_bytes(b"not a database " * 1000)
    opened = db.open_engine(db.sqlite_url(file))
    with pytest.raises(db.DatabaseDamaged, match="restore the backup"):
        db.migrate(opened)
    opened.dispose()
    assert file.read_bytes() == b"not a database " * 1000


def _fill(engine: Engine, rows: int = 100) -> None:
    with db.writing(engine) as conn:
        conn.execute(text("CREATE TABLE IF NOT EXISTS filled (body BLOB)"))
        for _ in range(rows):
            conn.execute(text("INSERT INTO filled VALUES (zeroblob(40000))"))


def test_log_that_readers_hold_open_is_shortened_once_they_let_go(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "LOG_MAX_BYTES", 1 << 20)
    log = tmp_path / "deep" / "cloud.db-wal"
    db.migrate(engine)
    _fill(engine, 1)
    assert sqlite.shorten_log(engine) == 0, "it is short"
    with db.reading(engine) as conn:
        seen = conn.scalar(text("SELECT count(*) FROM filled"))
        for _ in range(3):
            _fill(engine)
        size = log.stat().st_size
        assert size > 10 << 20, "what the reader sees keeps the log from its beginning"
        began_s = time.monotonic()
        assert sqlite.shorten_log(engine) == 0
        assert time.monotonic() - began_s < 5.0, "nobody waits for a long reader"
        assert conn.scalar(text("SELECT count(*) FROM filled")) == seen
    assert sqlite.shorten_log(engine) == size
    with db.reading(engine) as conn:
        assert conn.scalar(text("SELECT count(*) FROM filled")) == 301
        assert conn.scalar(text("PRAGMA busy_timeout")) == db.BUSY_TIMEOUT_MS


def test_nobody_waits_for_a_long_reader(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "LOG_MAX_BYTES", 1 << 20)
    monkeypatch.setattr(sqlite, "LOG_WAIT_MS", 60_000)
    db.migrate(engine)
    _fill(engine, 1)
    with db.reading(engine) as conn:
        conn.scalar(text("SELECT count(*) FROM filled"))
        _fill(engine)
        began_s = time.monotonic()
        assert sqlite.shorten_log(engine) == 0
        assert time.monotonic() - began_s < 20.0, "a writer would have waited as long"


def test_log_that_grows_meanwhile_is_not_shorter(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Whoever is told that something was done does it again at once."""
    monkeypatch.setattr(sqlite, "LOG_MAX_BYTES", 1 << 20)
    db.migrate(engine)
    _fill(engine, 1)
    with db.reading(engine) as conn:
        conn.scalar(text("SELECT count(*) FROM filled"))
        _fill(engine)
        stop = threading.Event()
        filling = threading.Thread(target=_fill_until, args=(engine, stop))
        filling.start()
        try:
            found = [sqlite.shorten_log(engine) for _ in range(20) if not stop.wait(0.02)]
        finally:
            stop.set()
            filling.join()
    assert found == [0] * 20


def _fill_until(engine: Engine, stop: threading.Event) -> None:
    while not stop.is_set():
        _fill(engine, 5)


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (None, db.DatabaseUnavailable, "its log can't be shortened: unable to open"),
        (b"not a database " * 1000, db.DatabaseDamaged, "restore the backup"),
    ],
)
def test_log_that_cannot_be_shortened_is_said(
    engine: Engine, tmp_path: Path, content: bytes | None, error: type[Exception], said: str
):
    file = tmp_path / "deep" / "cloud.db"
    file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with (tmp_path / "deep" / "cloud.db-wal").open("wb") as log:
        log.truncate(sqlite.LOG_MAX_BYTES + 1)
    with pytest.raises(error, match=said):
        sqlite.shorten_log(engine)


def test_a_crowd_is_served_and_costs_memory_only_while_it_is_there(engine: Engine):
    with ExitStack() as crowd:
        for _ in range(2 * db.POOL_SIZE):
            crowd.enter_context(db.reading(engine))
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedin() == KEPT
    used = set()
    for _ in range(10):
        with db.reading(engine) as conn:
            used.add(id(conn.connection.driver_connection))
    assert len(used) == 1
