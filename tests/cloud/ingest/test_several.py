"""Several writers of one database, as several processes are: each with connections of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, select

from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.ingest import receipts
from cloud.ingest.record import Arrival, record
from cloud.ledger import log
from cloud.registry.keys import add_gateway
from standards.tlog import tree
from tests.cloud.field import START_MS, Gateway, scan
from tests.cloud.field import reading as measured

WORKERS, PACKS = 4, 60


def _envelope(gateway: Gateway, seq: int) -> bytes:
    return gateway.envelope(seq, [measured(at_s=seq, channel=f"room-{seq % 7}/air"), scan(f"code {seq}", at_s=seq)])


def test_what_several_take_in_at_once_is_there_once(engine: Engine, open_again: Callable[[], Engine]):
    gateways = [Gateway(f"gw-{at}") for at in range(3)]
    with writing(engine) as conn:
        for one in gateways:
            add_gateway(conn, one.public_half, START_MS)
        before = log.head(conn).size
    sent = [Arrival(one.topic, _envelope(one, seq), START_MS) for one in gateways for seq in range(1, PACKS + 1)]
    rng = random.Random(7)

    def work(seed: int) -> int:
        mine = open_again()
        own = random.Random(seed)
        accepted, waiting = 0, own.sample(sent, len(sent))  # everybody is sent everything, in another order
        while waiting:
            size = own.randint(1, 9)
            accepted += record(mine, waiting[:size]).accepted
            waiting = waiting[size:]
        return accepted

    with ThreadPoolExecutor(WORKERS) as pool:
        accepted = list(pool.map(work, [rng.random() for _ in range(WORKERS)]))
    assert sum(accepted) == len(sent)
    assert min(accepted) < len(sent)
    with reading(engine) as conn:
        packs = conn.execute(select(tables.pack.c.id, tables.pack.c.leaf_index).order_by(tables.pack.c.id)).all()
        leaves = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index)).all()
        head = log.head(conn)
        scans = list(conn.scalars(select(tables.scan.c.code)))
        told = [receipts.build(conn, one.name, one.stream, issued_at_ms=1) for one in gateways]
    assert [row.id for row in packs] == list(range(1, len(sent) + 1))
    assert [row.leaf_index for row in packs] == list(range(before, before + len(sent))), "ids and leaves rise together"
    assert head.size == len(leaves) == before + len(sent)
    assert head.root == tree.root([tree.leaf_hash(log.leaf_data(row.kind, row.hash)) for row in leaves])
    assert len(scans) == len(sent)
    assert [(one.through, one.ranges) for one in told] == [(PACKS, [])] * 3


def test_receipt_of_one_worker_speaks_of_what_another_has_committed(
    engine: Engine, gateway: Gateway, open_again: Callable[[], Engine]
):
    other = open_again()
    envelopes = gateway.chain(6)
    for at in (5, 2, 0):
        record(engine, [Arrival(gateway.topic, envelopes[at], START_MS)])
    for at in (1, 3):
        record(other, [Arrival(gateway.topic, envelopes[at], START_MS)])
    for each in (engine, other):
        with reading(each) as conn:
            told = receipts.build(conn, gateway.name, gateway.stream, issued_at_ms=1)
        assert (told.through, told.ranges) == (4, [(6, 6)])
