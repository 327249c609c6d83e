"""The whole cloud as a process: what it tells Prometheus and its log, and how it drains under load."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import func, select

from cloud.app import DRAIN_S
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway
from tests.cloud.test_app import Cloud
from tests.cloud.watch.test_exposition import parsed
from wire import receipt as wire_receipt
from wire.topics import down_receipt

GATEWAYS, PACKS = 60, 15  # what the broker keeps for a cloud that is away: 1,000 messages
#: Families without a sample in a cloud where nothing of the kind ever happened, and names that are no metrics.
NOT_YET = {"coldproof_findings_total", "coldproof_gap_oldest_open_timestamp_seconds"}


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Callable[..., Cloud]]:
    """Starts clouds on free ports, and leaves none behind."""
    started: list[Cloud] = []

    def begin(broker_port: int, *more: str) -> Cloud:
        started.append(Cloud(tmp_path / "cloud", broker_port, free_port(), *more))
        return started[-1]

    yield begin
    for one in started:
        one.end(signal.SIGKILL)


class Field:
    """Gateways that publish once and never again, and all their receipts."""

    def __init__(self, folder: Path, port: int, gateways: int = GATEWAYS) -> None:
        self.gateways = [Gateway(f"gw-{at:03}") for at in range(gateways)]
        engine = open_engine(sqlite_url(folder / "cloud.db"))
        migrate(engine)
        with writing(engine) as conn:
            for one in self.gateways:
                add_gateway(conn, one.public_half, START_MS)
        engine.dispose()
        self.through: dict[str, int] = {}
        self.settled = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = self._heard
        self.client.max_inflight_messages_set(500)
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([(down_receipt(one.name), 1) for one in self.gateways])
        self.client.loop_start()

    def _heard(self, _client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        receipt = wire_receipt.unseal(bytes(message.payload))[1]
        self.through[receipt.gateway] = max(receipt.through, self.through.get(receipt.gateway, 0))
        self.settled.set()

    def publish(self, first: int, last: int) -> None:
        """Packs of all gateways, as fast as they go."""
        chains = [(one.topic, one.chain(last)[first - 1 :]) for one in self.gateways]
        packs = [(topic, chain[at]) for at in range(last - first + 1) for topic, chain in chains]
        infos = [self.client.publish(topic, envelope, qos=1) for topic, envelope in packs]
        infos[-1].wait_for_publish(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def field(broker: Any, tmp_path: Path) -> Iterator[Field]:
    """Sixty gateways: more receipts than fit into a client's window."""
    made = Field(tmp_path / "cloud", broker.port)
    yield made
    made.close()


def _stored(folder: Path) -> dict[str, int]:
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    with reading(engine) as conn:
        query = select(tables.pack.c.gateway, func.count()).group_by(tables.pack.c.gateway)
        found = {row[0]: int(row[1]) for row in conn.execute(query)}
    engine.dispose()
    return found


def _until(claim: Callable[[], bool], limit_s: float = 40) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline, "never"
        time.sleep(0.02)


def test_drain_under_load_loses_nothing_and_sends_what_is_owed(
    start: Any, broker: Any, field: Field, tmp_path: Path
) -> None:
    cloud = start(broker.port)
    cloud.wait_for(200)
    loading = threading.Thread(target=field.publish, args=(1, PACKS))
    loading.start()
    assert field.settled.wait(20)
    began_s = time.monotonic()
    status, said = cloud.end()
    took_s = time.monotonic() - began_s
    loading.join()
    assert (status, "Traceback" in said) == (0, False), said
    assert took_s < DRAIN_S
    stored = _stored(tmp_path / "cloud")
    assert 0 < sum(stored.values()) < GATEWAYS * PACKS, "else it was not under load"
    _until(lambda: set(stored.items()) <= set(field.through.items()))
    cloud = start(broker.port)
    _until(lambda: sum(_stored(tmp_path / "cloud").values()) == GATEWAYS * PACKS)
    body = cloud.wait_for(200)
    assert body["counters"]["duplicates"] <= 200, "what was stored and not acknowledged: one group in hand at most"
    status, said = cloud.end()
    assert status == 0, said


def test_second_signal_ends_at_once(start: Any, broker: Any, tmp_path: Path) -> None:
    field = Field(tmp_path / "cloud", broker.port, gateways=1)
    cloud = start(broker.port)
    cloud.wait_for(200)
    blocker = sqlite3.connect(tmp_path / "cloud" / "cloud.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        field.publish(1, 1)
        _until(lambda: b"oldest_seconds 0\n" not in _metrics(cloud.url), 10)
        cloud.process.send_signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):  # it waits for the lock, with a group in hand
            _wait(cloud, 1.0)
        cloud.process.send_signal(signal.SIGTERM)
        assert _wait(cloud, 2.0) == -signal.SIGTERM
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
        field.close()


def _wait(cloud: Cloud, within_s: float) -> int:
    deadline = time.monotonic() + within_s
    while (status := cloud.process.poll()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
    return int(status)


def _metrics(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        return bytes(answer.read())


def test_metrics_of_a_cloud_that_works(start: Any, broker: Any, field: Field) -> None:
    cloud = start(broker.port)
    cloud.wait_for(200)
    field.publish(1, 2)
    field.client.publish(field.gateways[0].topic, b"poison", qos=1)
    _until(lambda: sum(field.through.values()) == 2 * GATEWAYS)
    _until(lambda: parsed(_metrics(cloud.url).decode()).get("coldproof_quarantine_entries") == 1)
    text = _metrics(cloud.url).decode()
    values = parsed(text)
    assert values['coldproof_ingest_packs_total{verdict="accepted"}'] == 2 * GATEWAYS
    assert values['coldproof_ingest_packs_total{verdict="quarantined"}'] == 1
    assert values["coldproof_ingest_group_packs_sum"] == 2 * GATEWAYS + 1
    assert values["coldproof_ingest_commit_seconds_count"] == values["coldproof_ingest_group_packs_count"] > 0
    assert values['coldproof_quarantine_messages_total{reason="malformed"}'] == 1
    assert values["coldproof_ledger_leaves"] == 3 * GATEWAYS
    assert values["coldproof_broker_connected"] == values["coldproof_up"] == 1
    assert values["coldproof_disk_free_bytes"] > 0
    assert values['coldproof_follower_lag_leaves{follower="gaps"}'] >= 0
    assert values['coldproof_part_ok{part="clock"}'] == 1
    document = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"coldproof_[a-z_]+", document)) - NOT_YET:
        assert f"# TYPE {name.removesuffix('_bucket')} " in text, f"docs/operations.md: {name}"
    assert len(values) < 200, "no family grows with the number of gateways"


def test_log_for_machines_is_json_on_every_line(start: Any, broker: Any, tmp_path: Path) -> None:
    cloud = start(broker.port, "--log", "json")
    cloud.wait_for(200)
    status, said = cloud.end()
    assert status == 0, said
    lines = [json.loads(line) for line in said.splitlines() if not line.startswith("pages: ")]
    assert {"at", "level", "logger", "event", "message"} <= set.intersection(*(set(line) for line in lines))
    assert "broker link: %s" in {line["event"] for line in lines}
