"""Publishes the letters of a file at full speed or at a rate, as many gateways at once, each on its own connection.

    python -m bench.ingest.publisher FILE PORT [--window 50] [--unsettled 40] [--rate 2000] [--resend 30] …

It works like the gateways it stands for: QoS 1, a window of messages that the broker has not acknowledged, another of
those that no signed receipt has settled, and such a one is sent again, each time after twice as long. It ends when
everything is settled, and says so in one line of JSON.
`Fleet` is the same for programs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import random
import ssl
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from bench.ingest import mqtt
from bench.ingest.load import Letter, LoadFile, Sender
from edge.uplink.lanes import BACKOFF_STEPS, JITTER
from wire.receipt import Receipt, unseal
from wire.topics import down_receipt

AGAIN_S = 0.5  # until a lost connection is tried again
LOOK_S = 0.05
CONNECT_S = 20.0


class Way(msgspec.Struct, frozen=True):
    """How to publish. window, unsettled: letters under way to the broker, and without a receipt, per gateway.

    rate: letters per second in all, 0 for no limit; tls: folder with ca.pem and NAME.pem.
    """

    port: int
    window: int = 50
    unsettled: int = 0  # no limit
    rate: float = 0.0
    resend_s: float = 30.0
    tls: Path | None = None
    cloud_key: bytes | None = None
    host: str = "127.0.0.1"


class Told(msgspec.Struct):
    """How it went. seconds: from the first letter to the last settled one."""

    letters: int = 0
    published: int = 0
    settled: int = 0
    again: int = 0
    receipts: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    published_s: float = 0.0


class Fleet:
    """The gateways of a load."""

    def __init__(self, file: LoadFile, way: Way) -> None:
        self._file, self._way = file, way
        self.told = Told()
        self._gateways = [_Gateway(sender, file, way, self) for sender in file.heading.senders]
        for letter in file.letters():
            self._gateways[letter.sender].add(letter)
            self.told.letters += 1
        self._begin_s = 0.0
        self._tokens = 0.0

    @property
    def left(self) -> int:
        """Letters that nothing has settled yet."""
        return self.told.letters - self.told.settled

    async def run(self, *, within_s: float | None = None) -> Told:
        """Publish until everything is settled, or the time is over."""
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(one.connect() for one in self._gateways))
        self._begin_s = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
                tasks = [group.create_task(one.work()) for one in self._gateways]
                pace = group.create_task(self._pace())
                await asyncio.gather(*tasks)
                pace.cancel()
        for one in self._gateways:
            one.close()
        return self.told

    def take(self) -> bool:
        """Whether one more letter may go now."""
        if not self._begin_s:  # not before every gateway is connected: the clock runs from there
            return False
        if not self._way.rate:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def note_settled(self, count: int) -> None:
        """Some more are settled."""
        if count:
            self.told.settled += count
            self.told.seconds = time.monotonic() - self._begin_s

    def note_published(self, *, again: bool) -> None:
        """One more was handed to the broker."""
        self.told.published += 1
        self.told.again += again
        self.told.published_s = time.monotonic() - self._begin_s

    async def _pace(self) -> None:
        """Gives out the rate, and wakes who waits for it."""
        before_s, due = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.005 if self._way.rate else 1.0)
            now_s = time.monotonic()
            self._tokens = min(self._tokens + (now_s - before_s) * self._way.rate, max(50.0, self._way.rate / 5))
            before_s = now_s
            for _ in self._gateways:  # nobody is always first
                due = (due + 1) % len(self._gateways)
                self._gateways[due].push()


class _Gateway:
    """One connection: what waits, what is under way to the broker, what waits for its receipt."""

    def __init__(self, sender: Sender, file: LoadFile, way: Way, fleet: Fleet) -> None:
        self._sender, self._file, self._way, self._fleet = sender, file, way, fleet
        self._topic = mqtt.topic_name(sender.topic)
        self._waiting: deque[Letter] = deque()
        self._letters: dict[int, Letter] = {}  # not settled, by seq
        self._sent: dict[int, int] = {}  # not settled: seq → how often
        self._due: list[tuple[float, int]] = []  # a heap: when to send again, seq
        self._on_the_way: dict[int, int] = {}  # packet id → seq
        self._free = deque(range(1, way.window + 1))
        self._key = None if way.cloud_key is None else Ed25519PublicKey.from_public_bytes(way.cloud_key)
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()
        self._ready: asyncio.Future[None] | None = None

    def add(self, letter: Letter) -> None:
        self._waiting.append(letter)
        self._letters[letter.seq] = letter

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._lost.clear()
        context = None
        if self._way.tls is not None:
            context = ssl.create_default_context(cafile=str(self._way.tls / "ca.pem"))
            context.load_cert_chain(str(self._way.tls / f"{self._sender.name}.pem"))
        transport, _ = await loop.create_connection(lambda: _Wire(self), self._way.host, self._way.port, ssl=context)
        transport.write(mqtt.connect(self._sender.name))
        self._transport = transport
        await self._ready

    async def work(self) -> None:
        asked_s = time.monotonic()
        while self._letters:
            if self._lost.is_set():
                await self._reconnect()
            now_s = time.monotonic()
            if now_s - asked_s > mqtt.KEEPALIVE_S / 3 and self._transport is not None:
                asked_s = now_s
                self._transport.write(mqtt.PINGREQ)
            self._send_again(now_s)
            self.push()
            await asyncio.sleep(LOOK_S)

    def push(self) -> None:
        """Send as long as window, rate and socket allow."""
        if self._transport is None or self._lost.is_set():
            return
        data = []
        patience = self._way.unsettled
        while self._waiting and self._free:
            letter = self._waiting[0]
            if letter.seq not in self._letters:  # settled meanwhile
                self._waiting.popleft()
                continue
            if patience and len(self._sent) >= patience and letter.seq not in self._sent:
                break
            if not self._fleet.take():
                break
            self._waiting.popleft()
            packet_id = self._free.popleft()
            self._on_the_way[packet_id] = letter.seq
            self._note_sent(letter.seq)
            data.append(mqtt.publish(packet_id, self._topic, self._file.payload(letter)))
        if data:
            self._transport.write(b"".join(data))

    def _note_sent(self, seq: int) -> None:
        times = self._sent.get(seq, 0)
        self._fleet.note_published(again=times > 0)
        self._sent[seq] = times + 1
        if self._way.resend_s:
            waits_s = self._way.resend_s * 2 ** min(times, BACKOFF_STEPS) * random.uniform(1, 1 + JITTER)
            heapq.heappush(self._due, (time.monotonic() + waits_s, seq))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.write(mqtt.DISCONNECT)
            self._transport.close()

    def on_packet(self, packet: mqtt.Packet) -> None:
        if packet.kind == mqtt.PUBACK:
            packet_id = int.from_bytes(packet.body[:2], "big")
            seq = self._on_the_way.pop(packet_id, None)
            self._free.append(packet_id)
            if not self._file.heading.receipts and seq is not None:
                self._settle([seq])
        elif packet.kind == mqtt.PUBLISH:
            told = mqtt.read_publish(packet)
            if told.packet_id and self._transport is not None:
                self._transport.write(mqtt.puback(told.packet_id))
            self._on_receipt(told.payload)
        elif packet.kind == mqtt.CONNACK:
            if packet.body[1] != 0:
                raise SystemExit(f"{self._sender.name}: the broker says no, reason {packet.body[1]}")
            assert self._transport is not None
            self._transport.write(mqtt.subscribe(1, down_receipt(self._sender.name)))
        elif packet.kind == mqtt.SUBACK and self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def on_lost(self) -> None:
        self._lost.set()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectionError("lost before the subscription"))

    def _on_receipt(self, payload: bytes) -> None:
        signed, receipt = unseal(payload)
        if self._key is not None and not signed.is_signed_by(self._key):
            raise SystemExit(f"{self._sender.name}: a receipt that the cloud has not signed")
        self._fleet.told.receipts += 1
        if receipt.stream == self._sender.stream:
            self._settle(_settled(receipt, self._letters))

    def _settle(self, seqs: list[int]) -> None:
        found = 0
        for seq in seqs:
            found += self._letters.pop(seq, None) is not None
            self._sent.pop(seq, None)
        self._fleet.note_settled(found)

    def _send_again(self, now_s: float) -> None:
        """What was sent long ago goes before what is new, which may have no room until it is settled."""
        while self._due and self._due[0][0] <= now_s:
            _, seq = heapq.heappop(self._due)
            if seq in self._letters:
                self._waiting.appendleft(self._letters[seq])

    async def _reconnect(self) -> None:
        self._fleet.told.reconnects += 1
        back = [self._letters[seq] for seq in self._on_the_way.values() if seq in self._letters]
        self._waiting.extendleft(reversed(back))
        self._on_the_way.clear()
        self._free = deque(range(1, self._way.window + 1))
        while True:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    await self.connect()
                return


class _Wire(asyncio.Protocol):
    def __init__(self, gateway: _Gateway) -> None:
        self._gateway, self._reader = gateway, mqtt.Reader()

    def data_received(self, data: bytes) -> None:
        for packet in self._reader.feed(data):
            self._gateway.on_packet(packet)
        self._gateway.push()

    def connection_lost(self, _error: Exception | None) -> None:
        self._gateway.on_lost()


def _settled(receipt: Receipt, letters: dict[int, Letter]) -> list[int]:
    """Which of these a receipt settles; letters come in the order of their seqs."""
    found = []
    for seq in letters:
        if seq > receipt.through and not receipt.ranges:
            break
        if receipt.settles(seq):
            found.append(seq)
    return found


def main() -> int:
    """The exit status: 0 when everything was settled."""
    options = argparse.ArgumentParser(prog="python -m bench.ingest.publisher", description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("port", type=int)
    options.add_argument("--window", type=int, default=50, help="messages under way to the broker, per gateway")
    options.add_argument("--unsettled", type=int, default=0, help="messages without a receipt, per gateway; 0: any")
    options.add_argument("--rate", type=float, default=0.0, help="letters per second in all")
    options.add_argument("--resend", type=float, default=30.0, help="seconds without a receipt; 0: never")
    options.add_argument("--within", type=float, default=None, help="give up after so many seconds")
    options.add_argument("--tls", type=Path, default=None, help="folder with ca.pem and one NAME.pem per gateway")
    options.add_argument(
        "--cloud-key", default=None, help="the cloud's public key in hex; receipts are held against it"
    )
    options.add_argument("--wait", action="store_true", help="begin when a line comes on the standard input")
    chosen = options.parse_args()
    key = None if chosen.cloud_key is None else bytes.fromhex(chosen.cloud_key)
    way = Way(chosen.port, chosen.window, chosen.unsettled, chosen.rate, chosen.resend, chosen.tls, key)
    fleet = Fleet(LoadFile(chosen.file), way)
    if chosen.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    told = asyncio.run(fleet.run(within_s=chosen.within))
    print(msgspec.json.encode(told).decode(), flush=True)
    return int(told.settled < told.letters)


if __name__ == "__main__":
    sys.exit(main())
