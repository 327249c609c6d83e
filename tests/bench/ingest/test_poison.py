"""Twenty kinds of messages that are no packs, among packs, through a real broker: each refused for its own reason."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from bench.fsck import complaints
from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.poison import KINDS, admit, poisons, write_file
from bench.ingest.publisher import Fleet, Way
from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import conflict, pack, quarantine, settled
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load_or_create
from cloud.registry.keys import PublicHalf, add_gateway
from coldproof.demo.broker import LocalBroker

COUNT, PACKS = 100, 60
WITHIN_S = 20


def test_poison_is_quarantined_for_its_reason_and_packs_come_through(tmp_path: Path, broker: LocalBroker) -> None:
    engine = open_engine(sqlite_url(tmp_path / "cloud.db"))
    migrate(engine)
    assert len(KINDS) == 20
    key, made = load_or_create(tmp_path / "cloud"), poisons(COUNT, seed=1)
    assert len({one.payload for one in made}) == COUNT
    write_file(tmp_path / "poison", made)
    make(Shape(gateways=3, packs=PACKS, readings=10, series=2), tmp_path / "packs")
    load = LoadFile(tmp_path / "packs")
    with writing(engine) as conn:
        admit(conn, system_now_ms())
        for one in load.heading.senders:
            add_gateway(conn, PublicHalf(one.name, one.public_key), system_now_ms())
    subscriber = Subscriber(Link(broker.host, broker.port, "coldproof-ingest-1"))
    config, stop = IngestConfig(receipt_every_ms=20), threading.Event()
    worker = IngestWorker(engine, subscriber, key=key, now=system_now_ms, config=config, rng=random.Random(1))
    ingest = threading.Thread(target=worker.run, args=(stop,))
    ingest.start()
    subscriber.open()
    _until(lambda: subscriber.connected)
    told = asyncio.run(_publish_both(load, LoadFile(tmp_path / "poison"), broker.port))
    _until(lambda: worker.counters.quarantined == COUNT)
    stop.set()
    ingest.join()
    subscriber.close()
    assert told == [PACKS, COUNT]
    with reading(engine) as conn:
        kept = {(row.hash, row.reason) for row in conn.execute(select(quarantine.c.hash, quarantine.c.reason))}
        stored = conn.scalar(select(func.count()).select_from(pack))
        gateways = set(conn.scalars(select(settled.c.gateway)))
        assert conn.scalar(select(func.count()).select_from(conflict)) == 0
        assert complaints(conn) == []
    engine.dispose()
    assert kept == {(hashlib.sha256(one.payload).digest(), one.reason) for one in made}
    assert stored == PACKS
    assert gateways == {one.name for one in load.heading.senders}


async def _publish_both(packs: LoadFile, poison: LoadFile, port: int) -> list[int]:
    """How many of each were settled: packs by receipts, poison by the broker."""
    fleets = [Fleet(file, Way(port, window=5)) for file in (packs, poison)]
    return [one.settled for one in await asyncio.gather(*(fleet.run(within_s=WITHIN_S) for fleet in fleets))]


def _until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not claim():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
