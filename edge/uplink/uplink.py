"""The uplink: packs out, receipts in, for as long as it runs. Nothing leaves the buffer but on a verified receipt.

    uplink = Uplink(options, buffer, clock, identity=…, cloud_key=…)
    await uplink.run()        in a TaskGroup, until cancelled; says offline when it leaves
    uplink.notify()           after a pack was sealed

It lives on without a broker, without readable certificates and without the cloud's key, retries for ever, and raises
only BufferUnusable: whatever is wrong with the link, recording goes on, and the state says what it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.buffer.base import Buffer, BufferFull, ReceiptBeyondHead, StreamUnknown
from edge.clock import Clock
from edge.keys import Identity, KeyFileError
from edge.uplink.base import (
    BrokerRefused,
    BrokerUnavailable,
    LetterRefused,
    UplinkError,
    UplinkMisconfigured,
    UplinkOptions,
    UplinkState,
)
from edge.uplink.commands import read_command
from edge.uplink.mqtt import Connection
from edge.uplink.receipts import read_receipt
from edge.uplink.reconnect import Reconnect
from edge.uplink.report import status_of
from edge.uplink.sender import Sender
from edge.uplink.tls import days_left, tls_context
from wire import status as wire_status
from wire import topics
from wire.command import SendAgain
from wire.receipt import Checkpoint

STATUS_EVERY_S = 10.0
FILES_EVERY_S = 5.0  # files that cannot be read are looked at again
CERTIFICATE_EVERY_S = 60.0  # the expiry of our certificate is looked at: it may be renewed at any time
CERTIFICATE_WARN_DAYS = 30
WARN_EVERY_S = 86_400.0

FORGED = "letters come that the configured cloud did not sign: is cloud_key this cloud's?"

log = logging.getLogger(__name__)


class Uplink:
    """One gateway's way to the cloud."""

    def __init__(
        self,
        options: UplinkOptions,
        buffer: Buffer,
        clock: Clock,
        *,
        identity: Identity,
        cloud_key: Callable[[], Ed25519PublicKey],
        floor_ms: Callable[[], int] | None = None,
        devices: Callable[[], dict[str, str]] = dict,
        version: str = "",
        rng: random.Random | None = None,
    ) -> None:
        """cloud_key: reads the pinned key; asked for each connection, may raise KeyFileError.

        floor_ms: UTC milliseconds that have certainly passed, whatever the machine's clock says; without it, what the
        gateway's clock knows.
        """
        self._options = options
        self._buffer = buffer
        self._clock = clock
        self._identity = identity
        self._read_cloud_key = cloud_key
        self._cloud_key: Ed25519PublicKey  # the connection's
        self._floor_ms = floor_ms or clock.known_floor_ms
        self._devices = devices
        self._version = version
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._reconnect = Reconnect(self._rng)
        self._up_since_s: float | None = None
        self._certificate_days: float | None = None
        self._link: Connection | None = None
        self._news = asyncio.Event()  # the status has changed
        self._fresh = asyncio.Event()  # a connection was made
        self._error = ""
        self._last_receipt_ms: int | None = None
        self._checkpoint: Checkpoint | None = None
        self._counts: Counter[str] = Counter()
        self._sender = Sender(
            options, buffer, topic=topics.up_pack(identity.gateway), rng=self._rng, counts=self._counts
        )

    async def run(self) -> None:
        """Send and listen until cancelled. Raises BufferUnusable."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_connected(), name="uplink-connection")
            group.create_task(self._sender.run(), name="uplink-sender")
            group.create_task(self._report(), name="uplink-status")
            group.create_task(self._watch_certificate(), name="uplink-certificate")

    def notify(self) -> None:
        """A pack was sealed, or a device changed its state."""
        self._sender.wake()
        self._news.set()

    def state(self) -> UplinkState:
        """The uplink now."""
        checkpoint = self._checkpoint
        return UplinkState(
            connected=self._link is not None,
            last_error=self._error,
            in_flight=self._sender.in_flight,
            last_receipt_ms=self._last_receipt_ms,
            checkpoint_size=0 if checkpoint is None else checkpoint.size,
            checkpoint_root="" if checkpoint is None else checkpoint.root.hex(),
            counts=dict(self._counts),
            unanswered_s=self._sender.unanswered_s,
            certificate_days=self._certificate_days,
        )

    # -- the connection --

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            why = await self._one_connection()
            lasted_s = 0.0 if self._up_since_s is None else loop.time() - self._up_since_s
            self._go_down(why)
            if isinstance(why, UplinkMisconfigured):
                await asyncio.sleep(FILES_EVERY_S)
            else:
                await asyncio.sleep(self._reconnect.wait_s(why, lasted_s=lasted_s))

    async def _one_connection(self) -> UplinkError:
        """Connect, serve until the end, clean up; why it ended."""
        self._up_since_s = None
        try:
            self._cloud_key = self._read_cloud_key()
            tls = (
                None if self._options.tls is None else tls_context(self._options.tls, floor_ms=self._machine_floor_ms())
            )
        except KeyFileError as error:
            return UplinkMisconfigured(f"uplink.cloud_key: {error}")
        except UplinkMisconfigured as error:
            return error
        link = Connection(
            self._options,
            self._identity.gateway,
            will=wire_status.encode(self._status(online=False)),
            tls=tls,
            on_puback=self._take_puback,
            on_nobody=self._take_nobody,
        )
        try:
            await link.open()
            self._go_up(link)
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read_letters(link), name="uplink-letters")
                watcher = group.create_task(link.watch(), name="uplink-pulse")
                why = await link.lost()
                self._link = None
                self._go_down(why)
                reader.cancel()
                watcher.cancel()
            return why
        except (BrokerUnavailable, BrokerRefused) as error:
            return error
        finally:
            self._link = None
            self._sender.detach()
            self._counts["letters_dropped"] += link.letters_dropped
            farewell = wire_status.encode(self._status(online=False))
            await link.close(topics.up_status(self._identity.gateway), farewell)

    def _go_up(self, link: Connection) -> None:
        self._error = ""
        self._counts["connections"] += 1
        self._link = link
        self._up_since_s = asyncio.get_running_loop().time()
        log.info("uplink is up: host=%s port=%d", self._options.host, self._options.port)
        self._fresh.set()
        self._news.set()
        self._sender.attach(link)

    def _go_down(self, why: UplinkError) -> None:
        if str(why) != self._error:
            log.warning("uplink is down: %s", why)
        self._error = str(why)

    def _take_puback(self, mid: int, refusal: str) -> None:
        if not refusal:
            self._sender.puback(mid)
            return
        self._counts["refused_by_broker"] += 1
        if refusal != self._error:
            log.error("broker refused a message, it is kept and sent again: reason=%s", refusal)
        self._error = refusal

    def _take_nobody(self, mid: int) -> None:
        self._counts["taken_for_nobody"] += 1
        self._sender.nobody(mid)

    async def _watch_certificate(self) -> None:
        """Know when our certificate expires, and say so once a day when that is near."""
        warned_at_s = -WARN_EVERY_S
        while self._options.tls is not None:
            try:
                self._certificate_days = days = days_left(self._options.tls, self._now_ms())
            except UplinkMisconfigured:  # told when connecting
                self._certificate_days = days = None
            now_s = asyncio.get_running_loop().time()
            if days is not None and days < CERTIFICATE_WARN_DAYS and now_s - warned_at_s >= WARN_EVERY_S:
                warned_at_s = now_s
                log.warning("the gateway's certificate expires: days=%.1f file=%s", days, self._options.tls.certificate)
            await asyncio.sleep(CERTIFICATE_EVERY_S)

    def _now_ms(self) -> int:
        """The machine's UTC, or what has certainly passed if that is later."""
        return max(time.time_ns() // 1_000_000, self._machine_floor_ms())

    def _machine_floor_ms(self) -> int:
        """What has certainly passed for the machine: a simulated gateway's own time says nothing about that."""
        return 0 if self._identity.simulated else self._floor_ms()

    # -- letters in --

    async def _read_letters(self, link: Connection) -> None:
        while True:
            topic, payload = await link.letters.get()
            try:
                if topic == topics.down_receipt(self._identity.gateway):
                    await self._take_receipt(payload)
                elif topic == topics.down_command(self._identity.gateway):
                    await self._take_command(payload)
            except LetterRefused as error:
                self._counts[f"letters_{error.reason}"] += 1
                log.debug("letter refused: %s", error)
                if error.reason == "forged" and self._error != FORGED:
                    log.error("%s", FORGED)
                    self._error = FORGED
            except BufferFull as error:  # nothing of it was kept: a receipt comes again, with every pack sent again
                self._counts["letters_unkept"] += 1
                if str(error) != self._error:
                    log.error("letter from the cloud cannot be kept: %s", error)
                self._error = str(error)

    async def _take_receipt(self, payload: bytes) -> None:
        receipt = read_receipt(payload, cloud_key=self._cloud_key, gateway=self._identity.gateway)
        try:
            released = await self._buffer.settle(receipt)
        except StreamUnknown as error:
            raise LetterRefused("foreign", str(error)) from error
        except ReceiptBeyondHead as error:
            self._sender.abandon(receipt.stream)
            raise LetterRefused("beyond_head", str(error)) from error
        self._sender.land(receipt)
        self._clock.has_passed(receipt.issued_at_ms)
        self._reconnect.served()
        self._error = ""
        self._counts["receipts"] += 1
        self._counts["packs_released"] += released
        self._last_receipt_ms = self._clock.stamp().observed_at_ms
        if receipt.checkpoint is not None and (
            self._checkpoint is None or receipt.checkpoint.size >= self._checkpoint.size
        ):
            self._checkpoint = receipt.checkpoint

    async def _take_command(self, payload: bytes) -> None:
        command = read_command(
            payload,
            cloud_key=self._cloud_key,
            gateway=self._identity.gateway,
            stamp=self._clock.stamp(),
            floor_ms=self._floor_ms(),
        )
        self._sender.heard()
        if not await self._buffer.use_command(command.counter):
            raise LetterRefused("replayed", f"command {command.id.hex()}: counter {command.counter} was used before")
        if not isinstance(command.order, SendAgain):
            raise LetterRefused("unsupported", f"command {command.id.hex()}: {type(command.order).__name__}")
        try:
            await self._buffer.held(command.order.stream, [], limit=0)
        except StreamUnknown as error:
            raise LetterRefused("foreign", str(error)) from error
        log.info("cloud asks for packs again: ranges=%s", command.order.ranges)
        self._counts["commands"] += 1
        self._sender.request(command.order.stream, command.order.ranges)

    # -- status out --

    async def _report(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            self._fresh.clear()
            if self._link is None:
                continue
            status = self._status(online=True)
            try:
                self._link.publish(topics.up_status(self._identity.gateway), wire_status.encode(status), retain=True)
            except BrokerUnavailable:
                continue
            try:
                async with asyncio.timeout(STATUS_EVERY_S):
                    await self._fresh.wait()
            except TimeoutError:
                pass

    def _status(self, *, online: bool) -> wire_status.Status:
        return status_of(
            self._buffer.state(),
            self._identity,
            online=online,
            version=self._version,
            at_ms=self._clock.stamp().observed_at_ms,
            checkpoint=self._checkpoint,
            devices=self._devices(),
        )
