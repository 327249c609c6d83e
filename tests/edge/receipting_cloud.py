"""A cloud that fits on one page: verifies packs, keeps them, and signs receipts for what it has."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standards import cose
from wire import receipt, topics
from wire.observation import Observation
from wire.pack import Pack, observations, unseal


class ReceiptingCloud:
    """Connects to a broker and answers one gateway. `silent`: takes packs and says nothing."""

    def __init__(self, host: str, port: int, gateway: str) -> None:
        self.gateway = gateway
        self.key = Ed25519PrivateKey.generate()
        self.gateway_key: Ed25519PublicKey | None = None
        self.packs: dict[tuple[bytes, int], Pack] = {}
        self.again = 0  # deliveries of packs that were here already
        self.silent = False
        self.status: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._address = (host, port)

    def write_public_half(self, path: Path) -> None:
        raw = self.key.public_key().public_bytes_raw()
        path.write_text(json.dumps({"cloud_key": base64.b64encode(raw).decode()}))

    def trust(self, public_half: Path) -> None:
        raw = base64.b64decode(json.loads(public_half.read_text())["public_key"])
        self.gateway_key = Ed25519PublicKey.from_public_bytes(raw)

    def start(self) -> None:
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="cloud", protocol=mqtt.MQTTv5, reconnect_on_failure=True
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_message = self._take
        self._client.connect(*self._address)
        self._client.loop_start()
        deadline = time.monotonic() + 5
        while not self._client.is_connected() and time.monotonic() < deadline:
            time.sleep(0.01)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def observations(self) -> list[Observation]:
        """Everything received, by stream and seq."""
        with self._lock:
            packs = [self.packs[name] for name in sorted(self.packs)]
        return [observation for pack in packs for _, observation in observations(pack)]

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(topics.up_pack(self.gateway), 1), (topics.up_status(self.gateway), 1)])

    def _take(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == topics.up_status(self.gateway):
            self.status = json.loads(message.payload)
            return
        letter, pack = unseal(message.payload)
        assert self.gateway_key is not None
        assert letter.is_signed_by(self.gateway_key)
        name = (pack.stream, pack.seq)
        with self._lock:
            self.again += name in self.packs
            self.packs[name] = pack
            seqs = {seq for stream, seq in self.packs if stream == pack.stream}
        if self.silent:
            return
        settled = _ranges(seqs)
        through = settled[0][1] if settled[0][0] == 1 else 0
        beyond = settled[through > 0 :][: receipt.RANGES_MAX]
        words = receipt.Receipt(self.gateway, pack.stream, through, beyond, [], int(time.time() * 1000))
        sealed = receipt.seal(words, key=self.key, kid=cose.key_id(self.key.public_key()))
        client.publish(topics.down_receipt(self.gateway), sealed, qos=1)


def _ranges(seqs: set[int]) -> list[tuple[int, int]]:
    firsts = sorted(seq for seq in seqs if seq - 1 not in seqs)
    lasts = sorted(seq for seq in seqs if seq + 1 not in seqs)
    return list(zip(firsts, lasts, strict=True))
