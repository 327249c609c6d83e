"""A database on a server goes and comes with the server's own tools; its ledger then goes on under a new origin."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sqlalchemy import Engine, select
from typer.testing import CliRunner

from bench.postgres import USER, Server, programs
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, writing
from cloud.ingest.record import Arrival, record
from cloud.keys import load_or_create
from cloud.ledger import checkpoint, epoch, log
from cloud.registry.keys import add_gateway
from coldproof.main import app
from tests.cloud.field import START_MS, Gateway

ORIGIN = "cloud.test/ledger"


def _tool(server: Server, name: str, *words: str) -> None:
    tool = (programs() / "postgres").resolve().parent / name
    subprocess.run([tool, "-h", server.folder, "-U", USER, *words], check=True, capture_output=True)


def _fill(engine: Engine, gateway: Gateway, data: Path, packs: int) -> None:
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(packs)])
    with writing(engine) as conn:
        assert checkpoint.sign(conn, data, origin=ORIGIN, now_ms=START_MS) is not None


def test_dumped_database_comes_back_and_signs_under_a_new_origin(
    postgres: Server, migrated_database: str, tmp_path: Path
) -> None:
    gateway, first, second = Gateway("gw-kho-01"), postgres.create(migrated_database), postgres.create()
    load_or_create(tmp_path)
    engine, dump = open_engine(postgres.url(first)), tmp_path / "one.dump"
    _fill(engine, gateway, tmp_path, 9)
    _tool(postgres, "pg_dump", "--format=custom", f"--file={dump}", first)
    with reading(engine) as conn:
        before = log.head(conn)
    engine.dispose()
    _tool(postgres, "pg_restore", f"--dbname={second}", str(dump))
    config = tmp_path / "cloud.toml"
    config.write_text(f'[cloud]\ndata_dir = "."\ndatabase_url = "{postgres.url(second)}"\n')
    for _ in range(2):
        done = CliRunner().invoke(app, ["cloud", "ledger", "restored", "--config", str(config)])
        assert done.exit_code == 0
    name = done.stdout.removeprefix("origin: ").rstrip("\n")
    assert name.startswith(f"{ORIGIN}/2-")
    engine = open_engine(postgres.url(second))
    migrate(engine)
    with reading(engine) as conn:
        assert log.head(conn) == before
        assert [one.origin for one in epoch.epochs(conn)] == [ORIGIN, name]
    assert record(engine, [Arrival(gateway.topic, gateway.chain(10)[9], START_MS)]).accepted == 1
    with reading(engine) as conn:
        assert list(conn.scalars(select(tables.pack.c.id).order_by(tables.pack.c.id))) == list(range(1, 11))
    engine.dispose()
    for name in (first, second):
        postgres.drop(name)
