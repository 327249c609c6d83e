"""The load of the ingest bench: what is published is what is stored, and what was lost on the way goes again."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bench.ingest import mqtt
from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.publisher import Fleet, Way
from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import pack
from cloud.ingest.subscriber import Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import load_or_create
from cloud.registry.keys import PublicHalf, add_gateway
from coldproof.demo.broker import LocalBroker, free_port
from wire.pack import unseal


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    one = LocalBroker(tmp_path, free_port())
    one.start()
    yield one
    one.stop()


def test_packs_of_a_load_are_a_gateways(tmp_path: Path) -> None:
    made = make(Shape(gateways=2, packs=6, readings=20, series=4), tmp_path / "packs", tmp_path / "arrays")
    file = LoadFile(tmp_path / "packs")
    opened = [unseal(file.payload(letter)) for letter in file.letters()]
    assert [one.seq for _, one in opened] == [1, 1, 2, 2, 3, 3]
    assert {one.count for _, one in opened} == {20}
    assert sum(letter.size for letter in file.letters()) == made.payload_bytes
    arrays = LoadFile(tmp_path / "arrays")
    assert not arrays.heading.receipts
    assert all(arrays.payload(letter).count(b'"time"') == 20 for letter in arrays.letters())


def test_packets_are_cut_wherever_the_socket_cuts_them() -> None:
    data = mqtt.publish(7, mqtt.topic_name("a/b"), b"x" * 300) + mqtt.puback(9)
    reader = mqtt.Reader()
    packets = [one for at in range(len(data)) for one in reader.feed(data[at : at + 1])]
    assert [one.kind for one in packets] == [mqtt.PUBLISH, mqtt.PUBACK]
    assert mqtt.read_publish(packets[0]) == mqtt.Published("a/b", 7, b"x" * 300)


def test_everything_is_settled_by_receipts_also_what_came_before_the_cloud(tmp_path: Path, broker: LocalBroker) -> None:
    key = load_or_create(tmp_path / "cloud")
    engine = open_engine(sqlite_url(tmp_path / "cloud" / "cloud.db"))
    migrate(engine)
    make(Shape(gateways=3, packs=60, readings=10, series=2), tmp_path / "packs")
    file = LoadFile(tmp_path / "packs")
    with writing(engine) as conn:
        for one in file.heading.senders:
            add_gateway(conn, PublicHalf(one.name, one.public_key), system_now_ms())
    public: Ed25519PublicKey = key.private.public_key()
    subscriber = Subscriber(Link(broker.host, broker.port, "coldproof-ingest-1"))
    config = IngestConfig(receipt_every_ms=20)
    worker = IngestWorker(engine, subscriber, key=key, now=system_now_ms, config=config, rng=random.Random(1))
    stop = threading.Event()
    ingest = threading.Thread(target=worker.run, args=(stop,))
    ingest.start()
    threading.Timer(0.5, subscriber.open).start()  # the first tries go nowhere: the broker has no subscriber yet
    way = Way(broker.port, window=5, resend_s=1.0, cloud_key=public.public_bytes_raw())
    told = asyncio.run(Fleet(file, way).run(within_s=20))
    stop.set()
    ingest.join()
    subscriber.close()
    assert (told.letters, told.settled) == (60, 60)
    assert told.again > 0
    assert 0 < told.published_s <= told.seconds < 20
    with reading(engine) as conn:
        assert len(conn.execute(pack.select()).all()) == 60
    engine.dispose()
