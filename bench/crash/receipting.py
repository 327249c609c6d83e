"""A cloud on one page: keeps every envelope of every gateway it ever saw, and signs receipts for what it has."""

from __future__ import annotations

import json
import random
import threading
import time
from base64 import b64encode
from collections import defaultdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from bench.crash.balance import Archive
from edge.buffer.ranges import unite
from standards import cose
from wire import receipt, topics
from wire.receipt import RANGES_MAX, Receipt

CONNECTED_WITHIN_S = 30.0
KEEPS_SILENT = 0.1  # share of packs that get no receipt of their own: the next one's says it


class ReceiptingCloud:
    """Subscribes to every gateway of a broker. All of them sign with one key; each has an archive of its own."""

    def __init__(self, host: str, port: int, gateway_key: Ed25519PublicKey, rng: random.Random) -> None:
        self.archives: defaultdict[str, Archive] = defaultdict(lambda: Archive(gateway_key))
        self.lock = threading.Lock()  #: around every look at the archives
        self._rng = rng
        self._key = Ed25519PrivateKey.generate()
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="cloud", protocol=MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(topics.up_pack("+"), 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.connect_async(host, port)
        self._client.loop_start()
        if not self._subscribed.wait(CONNECTED_WITHIN_S):
            raise RuntimeError(f"broker {host}:{port}: no subscription within {CONNECTED_WITHIN_S:.0f} s")

    def write_public_half(self, path: Path) -> None:
        """What a gateway pins."""
        raw = self._key.public_key().public_bytes_raw()
        path.write_text(json.dumps({"cloud_key": b64encode(raw).decode()}))

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        gateway = topics.gateway_of(message.topic)
        with self.lock:
            archive = self.archives[gateway]
            name = archive.take(bytes(message.payload))
            silent = self._rng.random() < KEEPS_SILENT
            if name is None or silent:
                return
            settled = unite([], ((seq, seq) for stream, seq in archive.envelopes if stream == name[0]))
        through = settled[0][1] if settled[0][0] == 1 else 0
        beyond = settled[1 if through else 0 :][:RANGES_MAX]
        letter = Receipt(gateway, name[0], through, beyond, [], int(time.time() * 1000))
        sealed = receipt.seal(letter, key=self._key, kid=cose.key_id(self._key.public_key()))
        client.publish(topics.down_receipt(gateway), sealed, qos=1)
