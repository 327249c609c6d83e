"""One MQTT 5 connection, from CONNECT to its end. The only module that imports paho.

paho's own thread does the network; everything it reports is handed to the event loop with call_soon_threadsafe, and
nothing here ever blocks the loop. A connection is used once: the uplink makes a fresh one after each loss, so that
no message of paho's memory outlives it. The buffer is the only queue.

Whether the other end still answers is judged here (`watch`, edge/uplink/pulse.py) and not by paho: its own judge takes
a slow line for a dead one, since its PINGREQ queues behind the packs. MQTT's keepalive is for the broker, which has to
notice that we are gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.uplink.base import BrokerAbsent, BrokerRefused, BrokerUnavailable, UplinkError, UplinkOptions
from edge.uplink.pulse import Pulse
from wire import topics
from wire.envelope import ENVELOPE_MAX_BYTES

CONNECT_TIMEOUT_S = 5.0  # TCP and TLS, each
HANDSHAKE_TIMEOUT_S = 10.0  # name lookup, TCP, TLS, CONNACK and SUBACK together
FAREWELL_TIMEOUT_S = 1.0
LETTERS_MAX = 256  # letters not yet read; what is beyond is dropped, receipts are cumulative
PACKET_MAX_BYTES = ENVELOPE_MAX_BYTES + 1024  # the broker is told to send nothing larger
STATUS_PLACES = 4  # messages besides packs that may be on their way
BROKER_KEEPALIVE = 5  # times ours: what the broker is told. It calls us gone after 1.5 times that
BROKER_KEEPALIVE_MIN_S = 20  # a pack of 192 KiB takes that long at 80 kbit/s, and the broker counts whole packets
USER_TIMEOUT_MS = 30_000  # for a connection that is left alone; `watch` is far quicker
NO_MATCHING_SUBSCRIBERS = 0x10  # PUBACK (MQTT 5.0 §3.4.2.1): taken, and given to nobody
NO_WAY = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
# Server DISCONNECT reasons that a quick reconnect would only repeat (MQTT 5.0 §3.14.2.1).
LASTING_REASONS = {135: "not authorized", 142: "session taken over", 152: "administrative action"}

log = logging.getLogger(__name__)


class Connection:
    """One connection of this gateway to its broker.

    letters: (topic, payload) of what arrived. on_puback(mid, refusal): the broker's answer to a publish, "" for yes.
    on_nobody(mid): the broker took it and has nobody to give it to; on_puback is not called then.
    """

    def __init__(
        self,
        options: UplinkOptions,
        gateway: str,
        *,
        will: bytes,
        tls: ssl.SSLContext | None,
        on_puback: Callable[[int, str], None],
        on_nobody: Callable[[int], None],
    ) -> None:
        self._options = options
        self._gateway = gateway
        self._on_puback = on_puback
        self._on_nobody = on_nobody
        self._loop = asyncio.get_running_loop()
        self._pulse = Pulse(options.keepalive_s, self._loop.time())
        self._opened: asyncio.Future[int] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[UplinkError] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()  # paho is done with it
        self._closing = False
        self._farewell: int | None = None
        self._farewell_taken = asyncio.Event()
        self.letters: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(LETTERS_MAX)
        self.letters_dropped = 0
        self.receive_maximum = 65_535  #: how many publishes the broker takes without a PUBACK
        self._client = self._make_client(will, tls)

    async def open(self) -> None:
        """Connect and subscribe. Raises BrokerUnavailable, BrokerRefused."""
        wanted = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wanted.MaximumPacketSize = PACKET_MAX_BYTES
        self._client.connect_async(
            self._options.host,
            self._options.port,
            keepalive=min(65_535, max(BROKER_KEEPALIVE_MIN_S, BROKER_KEEPALIVE * self._options.keepalive_s)),
            clean_start=True,
            properties=wanted,
        )
        self._client.loop_start()
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                self.receive_maximum = await self._unless_lost(self._opened)
                down = [topics.down_receipt(self._gateway), topics.down_command(self._gateway)]
                self._client.subscribe([(topic, 1) for topic in down])
                await self._unless_lost(self._subscribed)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._where}: no answer within {HANDSHAKE_TIMEOUT_S:.0f} s") from error
        self._pulse.heard(self._loop.time())

    async def watch(self) -> None:
        """See to it that a link that has fallen silent ends: ask, and give it up when nothing is answered."""
        while not self._lost.done():
            ask, dead, again_in_s = self._pulse.look(self._loop.time())
            if dead:
                silent_s = 2 * self._options.keepalive_s
                self._end(BrokerUnavailable(f"{self._where}: the link is silent, no answer for {silent_s} s"))
            elif ask:
                # paho keeps PINGREQ to itself. Unsubscribing from what nobody subscribed to is a question as small.
                _, mid = self._client.unsubscribe(topics.down_receipt(self._gateway) + "/none")
                self._pulse.owe(-1 if mid is None else mid, 0, self._loop.time())
            else:
                await asyncio.sleep(again_in_s)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over at QoS 1; its number for on_puback. Raises BrokerUnavailable."""
        if self._lost.done():
            raise BrokerUnavailable(f"{self._where}: the connection was lost")
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != 0:
            raise BrokerUnavailable(f"{self._where}: publish failed ({info.rc})")
        self._pulse.owe(info.mid, len(payload), self._loop.time())
        return info.mid

    async def lost(self) -> UplinkError:
        """Wait for the end of the connection; why it ended."""
        return await asyncio.shield(self._lost)

    async def close(self, topic: str, farewell: bytes) -> None:
        """Leave: publish a retained farewell if there still is a connection, and disconnect. Never raises."""
        try:
            if self._opened.done() and not self._opened.cancelled() and not self._lost.done():
                self._farewell = self.publish(topic, farewell, retain=True)
                async with asyncio.timeout(FAREWELL_TIMEOUT_S):
                    await self._farewell_taken.wait()
        except (BrokerUnavailable, TimeoutError):
            pass  # the last will says the same
        finally:
            self._closing = True
            self._client.disconnect()
            await asyncio.wait([self._ended], timeout=FAREWELL_TIMEOUT_S)
            self._force()

    @property
    def unanswered_bytes(self) -> int:
        """Bytes of messages that the broker has not answered yet."""
        return self._pulse.unanswered_bytes

    # -- the rest --

    def _force(self) -> None:
        """End paho's thread when the link is too dead for a DISCONNECT to leave."""
        opened = None if self._ended.done() else self._client.socket()
        if isinstance(opened, socket.socket):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    @property
    def _where(self) -> str:
        return f"broker {self._options.host}:{self._options.port}"

    def _make_client(self, will: bytes, tls: ssl.SSLContext | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, client_id=self._gateway, protocol=MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages = self._options.window + STATUS_PLACES
        client.max_queued_messages = self._options.window + STATUS_PLACES
        client.will_set(topics.up_status(self._gateway), will, qos=1, retain=True)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._connected
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._suback
        client.on_unsubscribe = self._unsuback
        client.on_publish = self._puback
        client.on_message = self._message
        client.on_socket_open = _tune
        return client

    async def _unless_lost(self, awaited: asyncio.Future[Any]) -> Any:
        await asyncio.wait([awaited, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if awaited.done():
            return awaited.result()
        raise self._lost.result()

    def _post(self, step: Callable[..., None], *arguments: object) -> None:
        """Run `step` on the loop; when the loop is closed nobody is interested any more."""
        try:
            self._loop.call_soon_threadsafe(step, *arguments)
        except RuntimeError:
            log.debug("event after the end of the loop was dropped")

    # -- called on paho's thread --

    def _connected(
        self, _client: Client, _data: object, _flags: ConnectFlags, reason: ReasonCode, found: Properties | None
    ) -> None:
        if self._closing:  # it was still connecting when we gave it up: leave, or it would push the next one out
            self._client.disconnect()
            return
        if reason.is_failure:
            self._post(self._end, BrokerRefused(f"{self._where}: refused the connection ({reason})"))
            self._client.disconnect()
            return
        self._post(_resolve, self._opened, getattr(found, "ReceiveMaximum", 65_535))

    def _connect_failed(self, _client: Client, _data: object) -> None:
        why = sys.exception()  # paho calls this from its `except OSError`
        self._client.disconnect()  # ends its thread: reconnecting is the uplink's
        absent = isinstance(why, socket.gaierror) or (isinstance(why, OSError) and why.errno in NO_WAY)
        kind = BrokerAbsent if absent else BrokerUnavailable
        self._post(self._end, kind(f"{self._where}: cannot be reached ({why})"))
        self._post(_resolve, self._ended, None)

    def _disconnected(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.value in LASTING_REASONS:
            self._post(self._end, BrokerRefused(f"{self._where}: ended the connection ({reason})"))
        else:
            self._post(self._end, BrokerUnavailable(f"{self._where}: connection lost ({reason})"))
        self._post(_resolve, self._ended, None)

    def _suback(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._post(self._end, BrokerRefused(f"{self._where}: refused our subscription ({', '.join(refused)})"))
        else:
            self._post(_resolve, self._subscribed, None)

    def _puback(
        self, _client: Client, _data: object, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._post(self._taken, mid, reason.value, str(reason) if reason.is_failure else "")

    def _unsuback(
        self, _client: Client, _data: object, mid: int, _reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._post(self._answered, mid)

    def _message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._post(self._arrive, message.topic, message.payload)

    # -- called on the loop --

    def _end(self, why: UplinkError) -> None:
        _resolve(self._lost, why)

    def _answered(self, mid: int) -> None:
        self._pulse.answered(mid, self._loop.time())

    def _taken(self, mid: int, reason: int, refusal: str) -> None:
        self._answered(mid)
        if mid == self._farewell:
            self._farewell_taken.set()
        elif reason == NO_MATCHING_SUBSCRIBERS:
            self._on_nobody(mid)
        else:
            self._on_puback(mid, refusal)

    def _arrive(self, topic: str, payload: bytes) -> None:
        self._pulse.heard(self._loop.time())
        try:
            self.letters.put_nowait((topic, payload))
        except asyncio.QueueFull:
            self.letters_dropped += 1


def _resolve(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _tune(_client: Client, _data: object, opened: Any) -> None:
    """Small packets go at once; and when nobody acknowledges, the kernel too gives up some day."""
    if isinstance(opened, socket.socket) and opened.family in {socket.AF_INET, socket.AF_INET6}:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
