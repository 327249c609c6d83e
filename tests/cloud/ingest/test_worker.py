"""The ingest loop over a real broker and a real database: committed, then acknowledged, then receipted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import iotcore
import pytest
from sqlalchemy import Engine, func, select, text

from cloud.clock import system_now_ms
from cloud.config import IngestConfig
from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.ingest import gateway_state, quarantine
from cloud.ingest.subscriber import RECEIVE_MAXIMUM, Link, Subscriber
from cloud.ingest.worker import IngestWorker
from cloud.keys import CloudKey
from tests.cloud.field import Gateway
from tests.cloud.refusing import refuse_rows
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.status import Status, encode
from wire.topics import up_status

Until = Callable[[Callable[[], bool]], None]


class Ingest:
    """One ingest worker in a thread of its own."""

    def __init__(self, engine: Engine, host: str, port: int, key: CloudKey) -> None:
        self.subscriber = Subscriber(Link(host, port, "coldproof-ingest-1"))
        config = IngestConfig(group_packs=100, group_window_ms=10)
        self.worker = IngestWorker(
            engine, self.subscriber, key=key, now=system_now_ms, config=config, rng=random.Random(1)
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.worker.run, args=(self._stop,), name="ingest")
        self.subscriber.open()
        self._thread.start()

    def end(self) -> None:
        """Drain and leave."""
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.subscriber.close()


@pytest.fixture
def ingest(engine: Engine, broker: Any, cloud_key: CloudKey, until: Until) -> Iterator[Ingest]:
    """A subscribed ingest worker."""
    running = Ingest(engine, broker.host, broker.port, cloud_key)
    until(lambda: running.subscriber.connected)
    yield running
    running.end()


def _stored(engine: Engine) -> list[int]:
    with reading(engine) as conn:
        return list(conn.scalars(select(tables.pack.c.seq).order_by(tables.pack.c.seq)))


def test_every_pack_is_stored_and_receipted(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    field = connect(broker.host, broker.port)
    envelopes = gateway.chain(300)
    random.Random(5).shuffle(shuffled := list(envelopes))
    for envelope in [*shuffled, *shuffled[:50]]:
        field.publish(gateway.topic, envelope)
    until(lambda: field.settled(gateway.stream) == set(range(1, 301)))
    assert _stored(engine) == list(range(1, 301))
    until(lambda: ingest.worker.counters.duplicates == 50)


def test_stream_gets_at_most_one_receipt_per_interval(
    gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    field = connect(broker.host, broker.port)
    began_s = time.monotonic()
    for envelope in gateway.chain(120):
        field.publish(gateway.topic, envelope)
        threading.Event().wait(0.005)
    until(lambda: field.settled(gateway.stream) == set(range(1, 121)))
    lasted_s = field.receipts[-1][0] - began_s
    assert 2 <= len(field.receipts) <= lasted_s / 0.2 + 1


def test_thousand_poison_messages_do_not_stall_the_line(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    assert RECEIVE_MAXIMUM < 1000  # unacknowledged, they would fill the window
    field = connect(broker.host, broker.port)
    messages = [(gateway.topic, f"poison {at}".encode()) for at in range(1000)]
    messages += [(gateway.topic, envelope) for envelope in gateway.chain(40)]
    messages += [(Gateway("gw-stranger").topic, Gateway("gw-stranger").envelope(1))]
    messages += [(gateway.topic, b"\x00" * (ENVELOPE_MAX_BYTES + 1))]
    random.Random(9).shuffle(messages)
    for topic, payload in messages:
        field.publish(topic, payload)
    until(lambda: field.settled(gateway.stream) == set(range(1, 41)))
    until(lambda: ingest.worker.counters.quarantined == 1002)
    with reading(engine) as conn:
        reasons = {one.reason for one in quarantine.headings(conn, 2000)}
    assert reasons == {"malformed", "too_large", "unknown_gateway"}
    assert _stored(engine) == list(range(1, 41))


def test_failing_database_is_waited_for_and_nothing_is_lost(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    field = connect(broker.host, broker.port)
    with writing(engine) as conn:
        conn.execute(text("ALTER TABLE pack RENAME TO away"))
    for envelope in gateway.chain(10):
        field.publish(gateway.topic, envelope)
    until(lambda: ingest.worker.counters.retries >= 2)
    assert not ingest.worker.database_ok
    assert field.receipts == []
    with writing(engine) as conn:
        conn.execute(text("ALTER TABLE away RENAME TO pack"))
    until(lambda: field.settled(gateway.stream) == set(range(1, 11)))
    assert ingest.worker.database_ok


def test_pack_the_database_refuses_is_quarantined_alone(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    with writing(engine) as conn:
        refuse_rows(conn, "pack", "not five", when="NEW.seq = 5")
    field = connect(broker.host, broker.port)
    for envelope in gateway.chain(10):
        field.publish(gateway.topic, envelope)
    until(lambda: field.settled(gateway.stream) == {1, 2, 3, 4, 6, 7, 8, 9, 10})
    with reading(engine) as conn:
        (heading,) = quarantine.headings(conn)
        entry = quarantine.entry(conn, heading.id)
    assert entry is not None
    assert (entry.reason, entry.raw) == ("unstorable", gateway.chain(5)[4])


def test_work_goes_on_after_the_broker_was_killed(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    broker.kill()
    until(lambda: not ingest.subscriber.connected)
    broker.start()
    until(lambda: ingest.subscriber.connected)
    field = connect(broker.host, broker.port)
    field.publish(gateway.topic, gateway.envelope(1))
    until(lambda: field.settled(gateway.stream) == {1})


def test_packs_wait_at_the_broker_while_ingest_is_away(
    engine: Engine, gateway: Gateway, broker: Any, cloud_key: CloudKey, connect: Any, until: Until
):
    first = Ingest(engine, broker.host, broker.port, cloud_key)
    until(lambda: first.subscriber.connected)
    first.end()
    field = connect(broker.host, broker.port)
    for envelope in gateway.chain(20):
        field.publish(gateway.topic, envelope)
    threading.Event().wait(0.3)
    second = Ingest(engine, broker.host, broker.port, cloud_key)
    until(lambda: field.settled(gateway.stream) == set(range(1, 21)))
    second.end()


def test_status_is_kept_and_last_will_counts(
    engine: Engine, gateway: Gateway, broker: Any, ingest: Ingest, connect: Any, until: Until
):
    field = connect(broker.host, broker.port)
    online, offline = Status(gateway.name, online=True), Status(gateway.name, online=False)
    for said in (online, offline):
        field.publish(up_status(gateway.name), encode(said), retain=True)

    def heard() -> bool:
        with reading(engine) as conn:
            return [one.status for one in gateway_state.states(conn)] == [offline]

    until(heard)
    field.publish(up_status(gateway.name), b"nonsense")
    until(lambda: ingest.worker.counters.unusable == 1)


def test_missing_broker_is_said(engine: Engine, cloud_key: CloudKey, free_port: Callable[[], int], until: Until):
    port = free_port()
    running = Ingest(engine, "127.0.0.1", port, cloud_key)
    until(lambda: running.subscriber.state == f"no broker at 127.0.0.1:{port}")
    running.end()


def test_broker_from_the_package_index_serves_as_well(
    engine: Engine, gateway: Gateway, cloud_key: CloudKey, connect: Any, until: Until, free_port: Any, tmp_path: Any
):
    port = free_port()
    config = tmp_path / "broker.toml"
    config.write_text(IOTCORE.format(port=port))
    with iotcore.Broker(config_path=str(config)):
        running = Ingest(engine, "127.0.0.1", port, cloud_key)
        until(lambda: running.subscriber.connected)
        field = connect("127.0.0.1", port)
        for envelope in gateway.chain(50):
            field.publish(gateway.topic, envelope)
        until(lambda: field.settled(gateway.stream) == set(range(1, 51)))
        running.end()
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.pack)) == 50


IOTCORE = """
id = 0

[router]
id = 0
max_connections = 20
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 4

[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 1048576
max_inflight_count = 200
dynamic_filters = true
"""
