"""kill -9 of the ingest process, again and again: what a receipt promised is there, and nothing is there twice."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from cloud.db import tables
from cloud.db.engine import reading
from cloud.ledger import log
from standards.tlog import tree
from tests.cloud.field import Gateway, scan
from tests.cloud.field import reading as measured
from tests.cloud.ingest.ingest_process import work

SEED = 20_261_122
KILLS = 24
PACKS_PER_LIFE = 40


def test_no_kill_loses_what_was_receipted_or_doubles_anything(
    engine: Engine, gateway: Gateway, broker: Any, connect: Any, until: Callable[..., None], tmp_path: Path
):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.cloud.ingest.ingest_process"])
    field = connect(broker.host, broker.port)
    sealed: dict[int, bytes] = {}
    lives: set[int] = set()
    for life in range(KILLS):
        for seq in range(life * PACKS_PER_LIFE + 1, (life + 1) * PACKS_PER_LIFE + 1):
            sealed[seq] = gateway.envelope(seq, [measured(at_s=seq), measured(at_s=seq + 0.5), scan(str(seq))])
        process, subscribed = _start(context, tmp_path, broker.port)
        assert subscribed.wait(15)
        _send_unsettled(field, gateway, sealed)
        time.sleep(rng.uniform(0, 0.12))
        process.kill()
        process.join()
        stored = _check(engine, field.settled(gateway.stream))
        lives.add(len(stored))
    assert len(lives) > KILLS // 3, "the kills hit no work: the test would prove nothing"
    process, subscribed = _start(context, tmp_path, broker.port)
    assert subscribed.wait(15)
    _send_unsettled(field, gateway, sealed)
    until(lambda: field.settled(gateway.stream) == set(sealed))
    process.kill()
    process.join()
    assert _check(engine, set(sealed)) == sealed


def _start(context: Any, folder: Path, port: int) -> tuple[Any, Any]:
    subscribed = context.Event()
    process = context.Process(target=work, args=(folder, port, subscribed))
    process.start()
    return process, subscribed


def _send_unsettled(field: Any, gateway: Gateway, sealed: dict[int, bytes]) -> None:
    """What a gateway does: everything without a receipt goes again."""
    for seq in sorted(set(sealed) - field.settled(gateway.stream)):
        field.publish(gateway.topic, sealed[seq])


def _check(engine: Engine, receipted: set[int]) -> dict[int, bytes]:
    """The packs on the disk, after holding the database against everything it promises."""
    with reading(engine) as conn:
        packs = {row.seq: row for row in conn.execute(select(tables.pack))}
        leaves = conn.execute(select(tables.leaf).order_by(tables.leaf.c.leaf_index)).all()
        counts = conn.execute(select(func.count(), func.sum(tables.tail.c.count)).select_from(tables.tail)).one()
        scans = list(conn.scalars(select(tables.scan.c.seq)))
        head = log.head(conn)
    assert receipted <= set(packs)
    assert counts[0] == len(packs)
    assert (counts[1] or 0) == 2 * len(packs)
    assert sorted(scans) == sorted(packs)
    assert [row.leaf_index for row in leaves] == list(range(len(leaves)))
    assert head.root == tree.root([tree.leaf_hash(log.leaf_data(row.kind, row.hash)) for row in leaves])
    assert {row.hash for row in leaves if row.kind == "pack"} == {row.hash for row in packs.values()}
    assert all(leaves[row.leaf_index].hash == row.hash for row in packs.values())
    return {seq: row.envelope for seq, row in packs.items()}
