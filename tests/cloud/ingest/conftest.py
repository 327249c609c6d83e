"""A gateway's end of the broker: publishes packs, collects the receipts that verify."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.keys import CloudKey, load_or_create
from wire import receipt as wire_receipt
from wire.receipt import Receipt


class FieldLink:
    """An MQTT 5 client that publishes at QoS 1 and keeps every receipt signed by the cloud."""

    def __init__(self, host: str, port: int, cloud_key: Ed25519PublicKey) -> None:
        self.receipts: list[tuple[float, Receipt]] = []
        self._cloud_key = cloud_key
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("coldproof/v1/+/down/receipt", 1)
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect_async(host, port)
        self._client.loop_start()
        assert self._ready.wait(10), "the field does not reach the broker"

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand to the broker, without waiting for its word: it proves nothing."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def settled(self, stream: bytes) -> set[int]:
        """Every seq below 100,000 that some receipt for this stream settles."""
        found: set[int] = set()
        with self._lock:
            for _, one in self.receipts:
                if one.stream == stream:
                    for first, last in [(1, one.through), *one.ranges]:
                        found.update(range(first, min(last, 100_000) + 1))
        return found

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        signed, receipt = wire_receipt.unseal(bytes(message.payload))
        assert signed.is_signed_by(self._cloud_key)
        with self._lock:
            self.receipts.append((time.monotonic(), receipt))


@pytest.fixture
def cloud_key(tmp_path: Path) -> CloudKey:
    """The cloud's key."""
    return load_or_create(tmp_path / "cloud")


@pytest.fixture
def connect(cloud_key: CloudKey) -> Iterator[Callable[[str, int], FieldLink]]:
    """Connects the field to a broker."""
    links: list[FieldLink] = []

    def to(host: str, port: int) -> FieldLink:
        links.append(FieldLink(host, port, cloud_key.private.public_key()))
        return links[-1]

    yield to
    for link in links:
        link.close()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a claim to become true; fails after 15 s."""

    def wait(claim: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not claim():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)

    return wait
