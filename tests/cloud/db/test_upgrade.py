"""A database saved by a past version opens with this one, and what is derived from its packs is there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select

from cloud.db import tables
from cloud.db.engine import _alembic_config, migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest import chain, finding
from cloud.telemetry import declared
from cloud.telemetry.query import readings
from tests.cloud.field import START_MS, Gateway
from wire import pack as wire_pack
from wire.envelope import open_envelope

SAVED = sorted((Path(__file__).parent / "saved").glob("*.sql"))
GATEWAY = Gateway("gw-kho-01")


def _saved(file: Path, tmp_path: Path) -> Path:
    """The saved text as a database."""
    database = tmp_path / "cloud.db"
    with sqlite3.connect(database) as conn:
        conn.executescript(file.read_text(encoding="utf-8"))
    conn.close()
    return database


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.stem)
def test_saved_database_becomes_the_newest(file: Path, tmp_path: Path):
    engine = open_engine(sqlite_url(_saved(file, tmp_path)))
    migrate(engine)
    with reading(engine) as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), tables.metadata) == []
        assert conn.scalar(select(func.count()).select_from(tables.pack)) == 4
    engine.dispose()


REVISIONS = [script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()][::-1]


def _dump(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as conn:
        return list(conn.iterdump())


@pytest.mark.parametrize("revision", REVISIONS)
def test_upgrade_may_rest_at_any_revision(revision: str, tmp_path: Path):
    """Every revision, released or not, is a database somebody may have."""
    engine = open_engine(sqlite_url(_saved(SAVED[0], tmp_path)))
    migrate(engine, revision)
    migrate(engine)
    with reading(engine) as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), tables.metadata) == []
        assert conn.scalar(select(func.count()).select_from(tables.pack)) == 4
    engine.dispose()


def test_upgrade_that_is_cut_off_leaves_the_old_database(tmp_path: Path):
    """Killed in the last revision, after all the work and before the commit."""
    database = _saved(SAVED[0], tmp_path)
    before = _dump(database)
    program = (
        "import os, sys\n"
        "from cloud.db import engine as db\n"
        "upgrade = db.command.upgrade\n"
        "db.command.upgrade = lambda *given: (upgrade(*given), os._exit(9))\n"
        "db.migrate(db.open_engine(db.sqlite_url(sys.argv[1])))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(database)], check=False, timeout=30)
    assert ended.returncode == 9
    assert _dump(database) == before
    engine = open_engine(sqlite_url(database))
    migrate(engine)
    engine.dispose()
    assert _dump(database) != before


def test_packs_of_0001_tell_their_losses_copies_and_broken_links(tmp_path: Path):
    engine = open_engine(sqlite_url(_saved(SAVED[0], tmp_path)))
    migrate(engine)
    with reading(engine) as conn:
        found = [(one.finding.kind, one.finding.seq) for one in finding.newest(conn, 10)]
        lost, thinned = sorted(declared.losses(conn, 10), key=lambda one: one.kind)
        rows = readings(conn, "gw-kho-01", "room-1/air", START_MS, START_MS + 10**9)
        through = chain.linked_through(conn, "gw-kho-01", GATEWAY.stream)
    assert found == [(finding.CHAIN_BROKEN, 3)]
    assert (lost.first_seq, lost.last_seq, lost.arrived) == (4, None, 0)
    assert (thinned.counts, thinned.withdrawn) == ([("room-1/air", 1)], True)
    assert [(row.observed_ms - START_MS) // 1000 for row in rows] == [60, 120, 180], "the copy at 300 s is left out"
    assert through == 2
    engine.dispose()


def test_upgrade_fills_what_ingest_would_have_written(tmp_path: Path):
    engine = open_engine(sqlite_url(_saved(SAVED[0], tmp_path)))
    migrate(engine)
    derived = (tables.declared_loss, tables.carried, tables.succession)
    with writing(engine) as conn:
        filled = [sorted(map(tuple, conn.execute(select(table)))) for table in derived]
        packs = [
            (row.id, wire_pack.read_payload(open_envelope(row.envelope))) for row in conn.execute(select(tables.pack))
        ]
        for table in derived:
            conn.execute(table.delete())
        declared.record(conn, packs)
        written = [sorted(map(tuple, conn.execute(select(table)))) for table in derived]
    assert filled == written
    assert all(filled)
    engine.dispose()
