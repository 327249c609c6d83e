"""Many names at once are found by the index, never by reading the whole table."""

from __future__ import annotations

from sqlalchemy import Engine, select

from cloud.db.engine import is_one_file, reading
from cloud.db.names import AT_ONCE, Name, named, some
from cloud.db.tables import pack
from cloud.ingest.record import Arrival, record
from tests.cloud.field import START_MS, Gateway

COLUMNS = (pack.c.gateway, pack.c.stream, pack.c.seq)


def _plan(engine: Engine, names: list[Name]) -> list[str]:
    query = select(pack.c.hash).where(named(names, *COLUMNS))
    text = query.compile(engine, compile_kwargs={"literal_binds": True})
    with reading(engine) as conn:
        if is_one_file(engine):
            return [row[3] for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")  # what it would do were the table large
        return [row[0] for row in conn.exec_driver_sql(f"EXPLAIN {text}")]


def test_names_are_looked_up_in_the_index(engine: Engine):
    of_one_stream: list[Name] = [("gw-1", b"s" * 16, seq) for seq in range(1, AT_ONCE)]
    of_many: list[Name] = [("gw-1", b"%016d" % at, 1) for at in range(200)]
    for names in (of_one_stream, of_many):
        plan = _plan(engine, names)
        assert any("USING INDEX" in step or "Index Scan" in step for step in plan)
        assert not any(step.startswith(("SCAN", "Seq Scan")) for step in plan), plan


def test_as_many_streams_as_fit_into_one_query_are_taken(engine: Engine):
    names: list[Name] = [("gw-1", at.to_bytes(16, "big"), 1) for at in range(AT_ONCE)]
    with reading(engine) as conn:
        assert conn.execute(select(pack.c.seq).where(named(names, *COLUMNS))).all() == []


def test_exactly_the_named_rows_are_found(engine: Engine, gateway: Gateway):
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in gateway.chain(9)])
    names: list[Name] = [(gateway.name, gateway.stream, 3), (gateway.name, gateway.stream, 7)]
    strange: list[Name] = [("gw-other", gateway.stream, 4), (gateway.name, b"o" * 16, 5)]
    with reading(engine) as conn:
        found = list(conn.scalars(select(pack.c.seq).where(named([*names, *strange], *COLUMNS)).order_by(pack.c.seq)))
    assert found == [3, 7]


def test_names_come_in_order_once_and_in_short_lists():
    names: list[Name] = [("gw-1", b"s", seq) for seq in range(AT_ONCE + 1, 0, -1)] * 2
    lists = list(some(names))
    assert [len(one) for one in lists] == [AT_ONCE, 1]
    assert [name for one in lists for name in one] == sorted(set(names))
