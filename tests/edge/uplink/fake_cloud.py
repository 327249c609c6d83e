"""A small cloud for the uplink's tests: takes packs from a real broker, verifies them, and signs receipts."""

from __future__ import annotations

import random
import threading
from collections import Counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from edge.buffer.ranges import unite
from standards import cose
from wire import command, receipt, topics
from wire.command import Command, SendAgain
from wire.envelope import envelope_hash
from wire.observation import Observation
from wire.pack import Pack, observations, unseal
from wire.receipt import Checkpoint, Receipt
from wire.status import Status, decode

CLOUD_KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x02")


class FakeCloud:
    """`mute`: store, but say nothing. `order`: the seqs as they arrived. Statuses are kept as they came.

    `ahead`: through which seq a copy of the gateway has brought its stream.
    """

    def __init__(self, host: str, port: int, gateway_key: Ed25519PublicKey, name: str = "gw-1") -> None:
        self.gateway_key = gateway_key
        self.name = name
        self.mute = False
        self.lose_receipts = 0
        self.refuse: set[int] = set()
        self.ahead: dict[bytes, int] = {}
        self.key = CLOUD_KEY
        self.packs: dict[tuple[bytes, int], tuple[bytes, Pack]] = {}
        self.order: list[int] = []
        self.copies: Counter[tuple[bytes, int]] = Counter()
        self.statuses: list[Status] = []
        self.problems: list[str] = []
        self.ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id="cloud", protocol=MQTTv5)
        self.client.reconnect_delay_set(0.05, 0.1)
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = self._message
        self.client.connect_async(host, port, clean_start=True)
        self.client.loop_start()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        assert not self.problems

    def contents(self) -> Counter[Observation]:
        """Every observation in the record."""
        return Counter(o for _, pack in list(self.packs.values()) for _, o in observations(pack))

    def receipt_for(self, stream: bytes) -> Receipt:
        """The cumulative receipt, as a fresh read would give it."""
        have = unite([], [(seq, seq) for found, seq in list(self.packs) if found == stream])
        have = unite(have, [(1, self.ahead[stream])] if stream in self.ahead else [])
        through = have[0][1] if have and have[0][0] == 1 else 0
        refused = [
            (seq, envelope_hash(envelope), "refused in this test")
            for (found, seq), (envelope, _) in list(self.packs.items())
            if found == stream and seq in self.refuse
        ]
        rest = [each for each in have if each[0] > through + 1]
        return Receipt(self.name, stream, through, rest, refused, 1, Checkpoint(len(self.packs), bytes(32)))

    def send_receipt(self, letter: Receipt, key: Ed25519PrivateKey | None = None) -> None:
        signer = key or self.key
        self.send(
            topics.down_receipt(self.name), receipt.seal(letter, key=signer, kid=cose.key_id(signer.public_key()))
        )

    def send_again(self, stream: bytes, first: int, last: int, *, counter: int, expires_at_ms: int = 2**45) -> None:
        order = SendAgain(stream, [(first, last)])
        letter = Command(random.randbytes(16), self.name, counter, 1, expires_at_ms, order)
        kid = cose.key_id(self.key.public_key())
        self.send(topics.down_command(self.name), command.seal(letter, key=self.key, kid=kid))

    def send(self, topic: str, payload: bytes) -> None:
        self.client.publish(topic, payload, qos=1)

    def _connected(self, client: Client, *_: object) -> None:
        client.subscribe([(topics.up_pack("+"), 1), (topics.ALL_STATUS, 1)])

    def _message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        try:
            if message.topic.endswith("/up/status"):
                self.statuses.append(decode(message.payload))
            else:
                self._take(message.payload)
        except Exception as error:  # noqa: BLE001 - a thread of paho's would swallow it
            self.problems.append(repr(error))

    def _take(self, envelope: bytes) -> None:
        message, pack = unseal(envelope)
        assert message.is_signed_by(self.gateway_key), "forged pack"
        name = (pack.stream, pack.seq)
        self.copies[name] += 1
        self.order.append(pack.seq)
        known = self.packs.setdefault(name, (envelope, pack))
        assert known[0] == envelope, "two packs of one name"
        if self.mute:
            return
        if self.lose_receipts > 0:
            self.lose_receipts -= 1
            return
        self.send_receipt(self.receipt_for(pack.stream))
