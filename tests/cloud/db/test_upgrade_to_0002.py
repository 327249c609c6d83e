"""A database of the first schema, with packs in it, becomes what it would be had it been born with this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, insert, select

from cloud.db import engine as db
from cloud.db import tables
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from tests.cloud.field import BOOT, START_MS, Gateway, reading, scan
from wire.observation import ClockState
from wire.pack import CarriedFrom, Correction, Loss, Pack, StreamHead

DAY_MS = 86_400_000
RECEIVED_MS = START_MS + DAY_MS
CHANGED = ("tail", "scan", "correction", "boot")


def packs(gateway: Gateway) -> list[Pack]:
    """Readings, scans, one that moved, a clock that was wrong and corrected, a second stream that corrects again."""
    unset = ClockState.UNSYNCED
    rows = [reading(at_s=60 * at, mantissa=at, wrong_ms=-DAY_MS, clock=unset) for at in range(5)]
    first = [
        gateway.pack(1, [*rows, scan("A", at_s=90, wrong_ms=-DAY_MS, clock=unset)]),
        gateway.pack(2, [reading(at_s=400, channel="room-2/air")], corrections=[_correction(7, 500_000)]),
        gateway.pack(3, [scan("B", at_s=500), scan("C", at_s=501)]),
    ]
    moved = gateway.pack(5, [scan("D", at_s=600)], losses=[Loss(gateway.stream, 4, 4, bytes(32), "thinned", "full")])
    first.append(msgspec.structs.replace(moved, carried_from=[CarriedFrom(gateway.stream, 4, bytes(32), 0, 1)]))
    head = StreamHead(gateway.stream, 3, bytes(32))
    gateway.stream = bytes(16)
    second = gateway.pack(1, [reading(at_s=700)], corrections=[_correction(DAY_MS, 130_000)], predecessor=head)
    return [*first, second]


def _correction(offset_ms: int, to_ms: int) -> Correction:
    return Correction(BOOT, 0, to_ms, offset_ms, 20, "ntp")


@pytest.fixture
def old(tmp_path: Path):
    """A database as release 0001 left it."""
    engine = db.open_engine(db.sqlite_url(tmp_path / "old.db"))
    db.migrate(engine, "0001")
    yield engine
    engine.dispose()


def test_rows_of_the_first_schema_become_those_of_today(old: Engine, engine: Engine) -> None:
    gateway = Gateway("gw-kho-01")
    public_half = gateway.public_half
    sent = packs(gateway)
    with db.writing(engine) as conn:
        add_gateway(conn, public_half, START_MS)
    arrivals = [Arrival(gateway.topic, gateway.seal(pack), RECEIVED_MS) for pack in sent]
    assert record(engine, arrivals).accepted == len(sent)
    with db.writing(old) as conn, db.reading(engine) as today:
        _store_as_0001(conn, today, sent)
    db.migrate(old)
    with db.reading(old) as conn, db.reading(engine) as today:
        for name in CHANGED:
            table = tables.metadata.tables[name]
            query = select(table).order_by(*table.primary_key.columns)
            found = conn.execute(query).all()
            assert found == today.execute(query).all(), name
            assert found, name
        assert conn.scalar(sa.text("SELECT count(*) FROM sqlite_master WHERE name LIKE 'old_%'")) == 0


def _store_as_0001(conn: Connection, today: Connection, sent: list[Pack]) -> None:
    """What release 0001 wrote for these packs; `series` and `pack` are as today."""
    for name in ("series", "pack"):
        table = tables.metadata.tables[name]
        old_columns = {column["name"] for column in sa.inspect(conn).get_columns(name)}
        rows = [{key: row[key] for key in row if key in old_columns} for row in today.execute(select(table)).mappings()]
        conn.execute(insert(sa.table(name, *(sa.column(each) for each in rows[0]))), rows)
    for name, left_out in (
        ("tail", {"boot_id", "from_monotonic_ms", "to_monotonic_ms", "future", "believed_from_ms", "believed_to_ms"}),
        ("scan", {"boot_id", "monotonic_ms", "clock", "believed_ms", "place_stream", "place_seq", "place_position"}),
    ):
        rows = []
        for row in today.execute(select(tables.metadata.tables[name])).mappings():
            kept: dict[str, Any] = {key: row[key] for key in row if key not in left_out}
            if name == "tail":  # 0001 knew believed times only
                kept |= {"from_ms": row["believed_from_ms"], "to_ms": row["believed_to_ms"]}
            else:
                kept["observed_ms"] = row["believed_ms"]
            rows.append(kept)
        conn.execute(insert(sa.table(name, *(sa.column(each) for each in rows[0]))), rows)
