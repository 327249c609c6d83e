"""`coldproof cloud rebuild` and `compact`, as an administrator gives them."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import delete, func, select, update
from typer.testing import CliRunner

from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.telemetry import query
from coldproof.cloud_command import app
from tests.cloud.field import START_MS, Gateway


def test_what_was_edited_is_made_anew_and_folded(tmp_path: Path):
    (tmp_path / "data").mkdir()
    gateway, engine = Gateway("gw-kho-01"), open_engine(sqlite_url(tmp_path / "data" / "cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(5)])
    assert _run(tmp_path, "compact") == "5 blocks folded\n"
    with writing(engine) as conn:
        conn.execute(delete(tables.chunk))
        conn.execute(delete(tables.settled))
    assert _run(tmp_path, "rebuild") == "rebuilt from 5 packs and 0 events; 5 blocks folded\n"
    with reading(engine) as conn:
        assert len(query.readings(conn, gateway.name, "room-1/air", 0, 2**62)) == 5
        assert conn.scalar(select(func.count()).select_from(tables.tail)) == 0
        assert conn.scalar(select(tables.settled.c.last_seq)) == 5
    with writing(engine) as conn:
        conn.execute(update(tables.pack).where(tables.pack.c.seq == 3).values(envelope=b"edited"))
    assert "nothing was changed" in _run(tmp_path, "rebuild", status=1)
    with reading(engine) as conn:
        assert len(query.readings(conn, gateway.name, "room-1/air", 0, 2**62)) == 5
    engine.dispose()


def _run(folder: Path, *words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--data-dir", str(folder / "data")])
    assert result.exit_code == status, result.output
    return result.stdout if status == 0 else result.output
