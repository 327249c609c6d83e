"""The link to the broker: MQTT 5 with manual acknowledgement. The only module of the cloud that imports paho.

Invariants: a message is acknowledged only by `acknowledge`, and only on the connection it came by, because on the
next one its packet id may belong to another message; subscriptions are made again on every connection; no message
is let go of unacknowledged while its connection lives. Receive Maximum alone does not bound what comes (mosquitto
2.0.11 exceeds it threefold once acknowledgements flow), so a full queue stops reading from the socket: the broker
then holds the rest, and after a long silence ends the connection and sends again.

After a loss it connects again within RECONNECT_MAX_S plus the handshake, for ever: gateways resume within 2 s of the
broker's return, and a broker without our subscription gives their packs to nobody. A handful of workers is no crowd, so
there is no back-off; the jitter keeps them from marching in step. A broker that says no is asked again after REFUSED_S,
and so is one where another client has our name (cloud/ingest/rival.py).
One that takes the connection and says nothing is given up after KEEPALIVE_S without an answer to a ping.

One of several workers (`Link.one_of_several`) has a session of ALONE_S only, and ends it when it leaves: mosquitto
gives an absent member of a shared subscription its share all the same, as long as there is a session. What a session
held when it ended nobody is given; gateways send it again after 30 s.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from cloud.errors import Fatal
from cloud.ingest.inbox import Inbox
from cloud.ingest.rival import Rival
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.topics import ALL_STATUS, SHARED_PACKS

RECEIVE_MAXIMUM = 500  # more than two groups of packs: one being committed, one on its way
WAITING_MAX_BYTES = 16 * 1024 * 1024  # of them held here, so that a window of the largest packs is no 128 MB
GROUP_MAX_BYTES = 2 * 1024 * 1024  # of one group: decoded and as rows it is some twenty times that
PACKET_MAX_BYTES = 2 * ENVELOPE_MAX_BYTES  # oversized packs reach the quarantine; the broker drops what is beyond
SESSION_EXPIRY_S = 86_400  # the broker keeps our subscription for a day without us; then gateways send again
ALONE_S = 60  # long enough for a worker that was killed to be started again
LEAVING_S = 2.0  # for the broker's word that we get no more
KEEPALIVE_S = 4  # asked after this much silence, given up after as much again: within 10 s
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.2, 0.7
REFUSED_S = 5.0  # after a refusal, or when another client has taken our name
UNSPECIFIED, TAKEN_OVER = 128, 142  # reasons of a DISCONNECT (MQTT 5.0 §3.14.2.1); the first, also when there is none
CONNECT_TIMEOUT_S = 5.0
CLOSING_SEEN_S = 0.1  # how soon a network thread that waits for room notices the end
RECEIPTS_QUEUED_MAX = 1_000  # a lost receipt is made up by the next one

_log = logging.getLogger(__name__)


class Delivery(msgspec.Struct, frozen=True):
    """A message from the broker. connection: the number of the connection it came by."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int
    connection: int


class Link(msgspec.Struct, frozen=True):
    """Where the broker is and who we are there.

    one_of_several: others take over while we are away. statuses: whether we hear what gateways say of themselves.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    one_of_several: bool = False
    statuses: bool = True


class LinkMisconfigured(Fatal):
    """The broker can never be reached like this."""


class Subscriber:
    """Receives packs and status messages; `open` returns at once and connects until `close`.

    Making one reads the TLS files, and raises LinkMisconfigured when they cannot be used.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._rng = random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._inbox: Inbox[Delivery] = Inbox(most=RECEIVE_MAXIMUM, most_bytes=WAITING_MAX_BYTES)
        self._connection = 0
        self._refused = False
        self._rival = Rival()
        self._state = "not connected yet"
        self._subscribed = threading.Event()
        self._closing = threading.Event()
        self._leaving = False
        self._left = threading.Event()
        self._taken = threading.Condition()
        self._handed = 0  # published, and not yet taken by the broker
        self._client = self._make_client()

    @property
    def state(self) -> str:
        """`subscribed`, or why not."""
        return self._state

    @property
    def connected(self) -> bool:
        """Whether packs can come and receipts can go."""
        return self._subscribed.is_set()

    @property
    def waiting(self) -> int:
        """How many messages have come and are not yet in hand."""
        return len(self._inbox)

    def open(self) -> None:
        """Start connecting, in a thread of the library."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = ALONE_S if self._link.one_of_several else SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = PACKET_MAX_BYTES
        self._client.connect_async(
            self._link.host, self._link.port, keepalive=KEEPALIVE_S, clean_start=False, properties=properties
        )
        self._client.loop_start()

    @property
    def one_of_several(self) -> bool:
        """Whether others take over when we leave."""
        return self._link.one_of_several

    def leave(self) -> None:
        """Ask the broker for no more packs, and wait for its word; those it has given to us still come."""
        self._leaving = True
        if self.connected and self._client.unsubscribe(SHARED_PACKS)[0] == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._left.wait(LEAVING_S)

    def close(self) -> None:
        """Disconnect; what was not acknowledged comes again, from the broker or, when we have left, the gateway."""
        self._closing.set()
        goodbye = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        if self._leaving:
            goodbye.SessionExpiryInterval = 0
        self._client.disconnect(properties=goodbye)
        self._client.loop_stop()
        self._subscribed.clear()

    def collect(self, *, most: int, window_s: float, patience_s: float) -> list[Delivery]:
        """Up to `most` messages: waits `patience_s` for the first one and `window_s` for its company."""
        return self._inbox.take(most=most, most_bytes=GROUP_MAX_BYTES, window_s=window_s, patience_s=patience_s)

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that this message is done with."""
        if delivery.connection == self._connection and delivery.qos > 0:
            self._client.ack(delivery.mid, delivery.qos)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the library; False when it is not connected or its queue is full."""
        if not self.connected:
            return False
        handed = self._client.publish(topic, payload, qos=1).rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        with self._taken:  # not while publishing: the library holds a lock of its own there, and in the callback
            self._handed += handed
        return handed

    def flush(self, within_s: float) -> bool:
        """Wait until the broker has taken all that was published; False when it did not in time.

        The last thing before `close`: what still comes is let go of unacknowledged, for a full queue would keep the
        library's thread from seeing the broker's words.
        """
        self._closing.set()
        with self._taken:
            return self._taken.wait_for(lambda: self._handed <= 0 or not self.connected, within_s) and self.connected

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._link.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        self._draw_delay(client)
        client.max_queued_messages_set(RECEIPTS_QUEUED_MAX)
        if self._link.username is not None:
            client.username_pw_set(self._link.username, self._link.password)
        _use_tls(client, self._link)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = lambda *_: self._left.set()
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self,
        client: paho.Client,
        _userdata: object,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._refused = reason.is_failure
        if reason.is_failure:
            self._draw_delay(client)
            self._become(f"refused by the broker: {reason}")
            return
        self._rival.connected(time.monotonic())
        self._connection += 1
        topics = [*([] if self._leaving else [SHARED_PACKS]), *([ALL_STATUS] if self._link.statuses else [])]
        if topics:
            client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])

    def _draw_delay(self, client: paho.Client) -> None:
        """The library waits its least delay first and doubles it up to the greatest: both are the same draw here."""
        draw_s = self._rng.uniform(RECONNECT_MIN_S, RECONNECT_MAX_S)
        delay_s: Any = REFUSED_S if self._refused else draw_s  # typed int, and works with any number
        client.reconnect_delay_set(delay_s, delay_s)

    def _on_connect_fail(self, client: paho.Client, _userdata: object) -> None:
        self._rival.unreachable()
        self._draw_delay(client)
        trust = "" if self._link.ca is None else ", or none whose certificate we trust"
        self._become(f"no broker at {self._link.host}:{self._link.port}{trust}")

    def _on_disconnect(
        self,
        client: paho.Client,
        _userdata: object,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        without_a_word = reason.value == UNSPECIFIED
        pushed_out = (without_a_word and self._rival.ended(time.monotonic())) or reason.value == TAKEN_OVER
        self._refused = self._refused or pushed_out
        self._draw_delay(client)
        self._connection += 1  # what came before can no longer be acknowledged
        self._subscribed.clear()
        rival = f"pushed out, it seems by another client named {self._link.client_id}: each needs a name of its own"
        self._become(rival if pushed_out else f"disconnected: {reason}")

    def _on_subscribe(
        self,
        _client: paho.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._become(f"the broker refuses our subscription: {', '.join(refused)}; check its access rules")
            return
        self._subscribed.set()
        self._become("subscribed")

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker must not let this through (MQTT 5 §1.5.4)
            topic = "not UTF-8"
        delivery = Delivery(topic, bytes(message.payload), message.retain, message.mid, message.qos, self._connection)
        while not self._closing.is_set():
            if self._inbox.put(delivery, timeout_s=CLOSING_SEEN_S):
                return

    def _on_publish(
        self, _client: paho.Client, _userdata: object, _mid: int, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._taken:
            self._handed -= 1
            self._taken.notify_all()

    def _become(self, state: str) -> None:
        if state != self._state:
            self._state = state
            _log.info("broker link: %s", state)


def _use_tls(client: paho.Client, link: Link) -> None:
    """Load certificates, if any. Raises LinkMisconfigured."""
    if link.ca is None:
        return
    certificate, key = (None if path is None else str(path) for path in (link.certificate, link.key))
    try:
        client.tls_set(str(link.ca), certificate, key)
    except (OSError, ValueError) as error:  # a missing file, a key that does not fit its certificate, no PEM
        files = ", ".join(str(path) for path in (link.ca, link.certificate, link.key) if path is not None)
        raise LinkMisconfigured(f"broker {link.host}: TLS files cannot be used ({error}); look at {files}") from error
