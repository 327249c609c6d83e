"""The whole cloud as a process of its own: it starts, works, says how it is, and ends when asked."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import func, select

from cloud.app import serve
from cloud.config import BrokerConfig, Tls, WebConfig, defaults
from cloud.db import tables
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.errors import Fatal
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway
from wire import receipt as wire_receipt
from wire.topics import down_receipt

READY_S = 20


class Cloud:
    """A `coldproof cloud serve` process."""

    def __init__(self, folder: Path, broker_port: int, web_port: int, *more: str) -> None:
        self.url = f"http://127.0.0.1:{web_port}"
        command = [sys.executable, "-m", "coldproof.main", "cloud", "serve", "--data-dir", str(folder)]
        addresses = ["--broker", f"127.0.0.1:{broker_port}", "--web", f"127.0.0.1:{web_port}"]
        self.process = subprocess.Popen(
            [*command, *addresses, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /healthz, (0, {}) while nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def wait_for(self, status: int) -> dict[str, Any]:
        """Wait for a /healthz status; returns its body."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            found, body = self.health()
            if found == status:
                return body
            time.sleep(0.05)
        pytest.fail(f"never {status}: {self.end(signal.SIGKILL)[1]}")

    def end(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; exit status and all it said."""
        if self.process.poll() is None:
            self.process.send_signal(sign)
        said, _ = self.process.communicate(timeout=15)
        return self.process.returncode, said


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


def _admit(folder: Path, gateway: Gateway) -> None:
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    engine.dispose()


def _stored(folder: Path) -> int:
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    with reading(engine) as conn:
        count = conn.scalar(select(func.count()).select_from(tables.pack))
    engine.dispose()
    return int(count or 0)


def test_pack_is_stored_receipted_and_survives_the_end(start: Any, broker: Any, tmp_path: Path):
    gateway = Gateway("gw-kho-01")
    _admit(tmp_path / "cloud", gateway)
    cloud = start(broker.port)
    body = cloud.wait_for(200)
    assert body["parts"]["broker"]["state"] == "subscribed"
    assert _receipt_for(gateway, broker.port).through == 1
    assert cloud.health()[1]["counters"]["accepted"] == 1
    status, said = cloud.end()
    assert status == 0, said
    assert "Traceback" not in said
    assert _stored(tmp_path / "cloud") == 1


def test_part_that_fails_ends_the_process_with_its_error(start: Any, broker: Any, tmp_path: Path):
    gateway = Gateway("gw-kho-01")
    _admit(tmp_path / "cloud", gateway)
    cloud = start(broker.port)
    cloud.wait_for(200)
    with sqlite3.connect(tmp_path / "cloud" / "cloud.db") as database:
        database.execute("UPDATE ledger_state SET frontier = x'00'")
    database.close()
    _publish(gateway, broker.port)
    status, said = cloud.process.wait(timeout=READY_S), cloud.end()[1]
    assert status == 1
    assert "error: ledger_state" in said
    assert "Traceback" not in said


def _publish(gateway: Gateway, port: int) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(gateway.topic, gateway.envelope(1), qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def _receipt_for(gateway: Gateway, port: int) -> wire_receipt.Receipt:
    """Send pack 1 and wait for the receipt."""
    came: list[bytes] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_subscribe = lambda *_: client.publish(gateway.topic, gateway.envelope(1), qos=1)
    client.on_message = lambda _client, _userdata, message: came.append(bytes(message.payload))
    client.connect("127.0.0.1", port)
    client.subscribe(down_receipt(gateway.name), 1)
    deadline = time.monotonic() + 10
    while not came and time.monotonic() < deadline:
        client.loop(0.05)
    client.disconnect()
    client.loop(0.05)
    return wire_receipt.unseal(came[0])[1]


def test_pages_are_served_without_a_broker_and_health_says_why(start: Any, broker: Any):
    broker.stop()
    cloud = start(broker.port)
    body = cloud.wait_for(503)
    assert not body["parts"]["broker"]["ok"]
    with urllib.request.urlopen(cloud.url, timeout=5) as page:
        assert page.status == 200
    broker.start()
    cloud.wait_for(200)


def test_taken_port_is_said_before_anything_starts(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        config = msgspec.structs.replace(defaults(tmp_path), web=WebConfig(port=port))
        with pytest.raises(Fatal, match=f"web 127.0.0.1:{port}: cannot listen there.*--web"):
            serve(config)


def test_second_cloud_on_a_folder_is_refused_and_disturbs_nobody(start: Any, broker: Any):
    first = start(broker.port)
    first.wait_for(200)
    status, said = start(broker.port).end(signal.SIGCONT)
    assert status == 1
    assert "another `coldproof cloud serve` runs on this folder" in said
    assert first.health()[0] == 200


def test_missing_simulation_is_said_before_anything_is_made(tmp_path: Path):
    config = msgspec.structs.replace(defaults(tmp_path / "cloud"), simulated_time=tmp_path / "none.json")
    with pytest.raises(Fatal, match=r"no simulated time there.*start the simulation first"):
        serve(config)
    assert list(tmp_path.iterdir()) == []


def test_missing_certificate_is_said(tmp_path: Path, free_port: Callable[[], int]):
    broker = BrokerConfig(tls=Tls(tmp_path / "none.crt"))
    config = msgspec.structs.replace(defaults(tmp_path), web=WebConfig(port=free_port()), broker=broker)
    with pytest.raises(Fatal, match=r"TLS files cannot be used.*none.crt"):
        serve(config)
