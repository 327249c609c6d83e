"""An LLRP reader on the network: tells of every pass of a tag, not of every read.

The stamps are the gateway's. A reader's clock is often wrong, so its times only say how the reads that arrived together
are spaced: after a stall they are not all of the same moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured, Emit
from edge.drivers.llrp import codec, request
from edge.drivers.llrp.codec import Answer, Capabilities, Damaged, Event, KeepAlive, Message, Report, Tag
from edge.drivers.llrp.config import SILENT_KEEPALIVES, LlrpConfig
from edge.drivers.rfid.scan import aged, collapser, scan_of
from wire.observation import Observation, Stamp

READ_BYTES = 65_536
EARLY_MAX = 10_000  # messages before the reader has answered; at 2,000 a second it has 5 s
UNSENT_MAX_BYTES = 16_384  # thousands of acknowledgements
GATHER_S = 0.02
LOOK_S = 0.05  # how late a pass may be told
FAREWELL_S = 1.0  # for a reader to close the connection, so that the next one isn't refused


class LlrpDriver:
    """One reader. A pass is on the disk when `emit` returns; those going on are in `leftovers`."""

    config_type: ClassVar = LlrpConfig

    def __init__(self, name: str, config: LlrpConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._where = f"{config.host}:{config.port}"
        self._passes = collapser(config, outside=config.outside, inside=config.inside)
        self._decoder = codec.Decoder()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._early: list[Message] = []  # what came between the answers of the opening
        self._complaints: list[str] = []
        self._heard_s = 0.0
        self._before: Stamp | None = None  # when the reads before came
        self._last_id = 0

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """None: a reader gives no readings."""
        return []

    async def __aenter__(self) -> Self:
        self._decoder, self._early, self._complaints = codec.Decoder(), [], []
        opened = False
        try:
            async with asyncio.timeout(self._config.timeout_s):
                self._reader, self._writer = await asyncio.open_connection(self._config.host, self._config.port)
                await self._begin()
            opened = True
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._where}: no answer within {self._config.timeout_s:g} s; has the reader power, and is LLRP on?"
            ) from None
        except OSError as error:
            raise DeviceUnavailable(
                f"{self._where}: {error}; has the reader power, and is this its address?"
            ) from error
        finally:
            if not opened:
                self._abort()
        self._before = self._ctx.clock.stamp()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._farewell()
        except (TimeoutError, DeviceUnavailable):
            pass  # it will notice by itself
        finally:
            self._abort()

    def leftovers(self) -> list[Observation]:
        """The passes that were going on when it was closed, as far as they had got."""
        return [scan_of(self._name, self._config.point, one) for one in self._passes.end_all()]

    async def listen(self, emit: Emit) -> None:
        """Tell of passes until cancelled. Raises DeviceUnavailable, or BadReply for what the reader complains of."""
        early, self._early = self._early, []
        self._take(early)
        while True:
            over = self._passes.due(self._ctx.clock.stamp().monotonic_ms)
            if over:
                await emit([scan_of(self._name, self._config.point, one) for one in over])
            if self._complaints:
                complaints, self._complaints = self._complaints, []
                more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
                raise BadReply(f"{self._where}: {complaints[0]}{more}")
            messages = await self._messages_in_time()
            self._take(messages)
            if messages:
                await self._gather()

    async def _gather(self) -> None:
        """Let reads come together in the kernel: waking up for each costs twenty times what is done with it."""
        assert self._writer is not None  # something was just read
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            transport.resume_reading()

    async def _begin(self) -> None:
        """From the reader's greeting to its first report."""
        config = self._config
        await self._greeting()
        seen = await self._ask(request.get_capabilities(self._next_id()))
        power_index = self._check(seen) if isinstance(seen, Capabilities) else None
        keepalive_ms = round(config.keepalive_s * 1000)
        self._must(await self._ask(request.set_config(self._next_id(), keepalive_ms=keepalive_ms)), "configuration")
        await self._ask(request.delete_rospecs(self._next_id()))  # an error where there are none
        spec = request.add_rospec(
            self._next_id(), antennas=config.antennas, session=config.session, power_index=power_index
        )
        self._must(await self._ask(spec), "antennas, session or power_dbm")
        self._must(await self._ask(request.enable_rospec(self._next_id())), "inventory")
        self._must(await self._ask(request.start_rospec(self._next_id())), "inventory")

    async def _greeting(self) -> None:
        while True:
            for message in await self._messages():
                if not isinstance(message, Event) or message.connection is None:
                    continue
                if message.connection == codec.CONNECTED:
                    return
                if message.connection in codec.TAKEN:
                    raise DeviceUnavailable(
                        f"{self._where}: another program has the reader, and it takes only one; stop that one"
                    )
                raise DeviceUnavailable(f"{self._where}: the reader refused (status {message.connection})")

    def _check(self, seen: Capabilities) -> int | None:
        """The power index for the configuration. Raises DriverMisconfigured for what this reader cannot do."""
        config = self._config
        for antenna in config.antennas:
            if seen.antennas and antenna > seen.antennas:
                raise DriverMisconfigured(f"{self._where}: antenna {antenna}, but the reader has {seen.antennas}")
        if config.power_dbm is None:
            return None
        fitting = {index: power for index, power in seen.powers.items() if power <= config.power_dbm}
        if not fitting:
            least = f"{min(seen.powers.values()):g} dBm is its least" if seen.powers else "it names no powers"
            raise DriverMisconfigured(f"{self._where}: power_dbm = {config.power_dbm:g}, but {least}")
        return max(fitting, key=lambda index: fitting[index])

    def _must(self, answer: Answer | Capabilities, what: str) -> None:
        if isinstance(answer, Answer) and answer.status:
            raise DriverMisconfigured(
                f"{self._where}: the reader refuses the {what} (status {answer.status}: {answer.text or 'no reason'})"
            )

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF_FFFF + 1
        return self._last_id

    async def _ask(self, data: bytes) -> Answer | Capabilities:
        """Send a request, the last one numbered, and wait for its answer; what else comes is kept for `listen`."""
        await self._send(data)
        while True:
            for message in await self._messages():
                if isinstance(message, Answer | Capabilities) and message.message_id == self._last_id:
                    return message
                self._early.append(message)
            if len(self._early) > EARLY_MAX:
                raise DeviceUnavailable(f"{self._where}: the reader talks, but doesn't answer")

    async def _send(self, data: bytes) -> None:
        if self._writer is None:
            raise DeviceUnavailable(f"{self._where}: not open")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise DeviceUnavailable(f"{self._where}: {error}") from error

    async def _messages_in_time(self) -> list[Message]:
        """What comes next, as long as the reader lives; none when it is time to look which passes are over."""
        ends_s = self._heard_s + SILENT_KEEPALIVES * self._config.keepalive_s
        looks_s = asyncio.get_running_loop().time() + LOOK_S if self._passes.going_on else ends_s
        try:
            async with asyncio.timeout_at(min(looks_s, ends_s)):
                return await self._messages()
        except TimeoutError:
            if looks_s < ends_s:
                return []
        raise DeviceUnavailable(
            f"{self._where}: not a word for {SILENT_KEEPALIVES * self._config.keepalive_s:g} s, though it "
            f"was asked for a sign of life every {self._config.keepalive_s:g} s; is the network there?"
        )

    async def _messages(self) -> list[Message]:
        """What one look at the socket brings; may be none. KEEPALIVEs are answered here."""
        if self._reader is None:
            raise DeviceUnavailable(f"{self._where}: not open")
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise DeviceUnavailable(f"{self._where}: {error}; has the reader power?") from error
        if not data:
            raise DeviceUnavailable(f"{self._where}: the reader has closed the connection")
        self._heard_s = asyncio.get_running_loop().time()
        try:
            messages = self._decoder.feed(data)
        except codec.StreamLost as error:
            raise DeviceUnavailable(f"{self._where}: {error}; is this an LLRP reader's port?") from error
        for message in messages:
            if isinstance(message, KeepAlive):
                self._acknowledge(message.message_id)
        return messages

    def _acknowledge(self, message_id: int) -> None:
        """Without waiting: whoever waits here may be cut off, and what was read with it would be lost."""
        assert self._writer is not None  # there is a reader
        if self._writer.transport.get_write_buffer_size() > UNSENT_MAX_BYTES:
            raise DeviceUnavailable(f"{self._where}: the reader takes nothing that is sent to it")
        self._writer.write(request.keepalive_ack(message_id))

    def _take(self, messages: Sequence[Message]) -> None:
        tags: list[Tag] = []
        closed = False
        for message in messages:
            if isinstance(message, Report):
                tags += message.tags
            elif isinstance(message, Damaged):
                self._complaints.append(f"a damaged message was skipped ({message.reason})")
            elif isinstance(message, Event):
                self._complaints += _complaints(message)
                closed = closed or message.closed
            elif isinstance(message, Answer) and message.status:
                self._complaints.append(f"the reader says: status {message.status}, {message.text or 'no reason'}")
        if tags:
            self._collapse(tags)
        if closed:
            raise DeviceUnavailable(f"{self._where}: the reader ends the connection")

    def _collapse(self, tags: Sequence[Tag]) -> None:
        now = self._ctx.clock.stamp()
        before = self._before or now
        newest_us = max((tag.last_us for tag in tags if tag.last_us is not None), default=0)
        for tag in tags:
            age_ms = (newest_us - tag.last_us) // 1000 if tag.last_us is not None else 0
            stamp = aged(now, before, age_ms) if age_ms else now
            self._passes.add(tag.epc.hex().upper(), stamp, tag.antenna, tag.rssi_dbm, tag.reads)
        self._before = now

    async def _farewell(self) -> None:
        """Leave the reader idle and free for the next client, and take what it has read up to then."""
        early, self._early = self._early, []
        self._take(early)
        await self._send(request.delete_rospecs(self._next_id()) + request.close_connection(self._next_id()))
        while True:
            self._take(await self._messages())  # until it closes: DeviceUnavailable

    def _abort(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


def _complaints(event: Event) -> list[str]:
    found = []
    if event.antenna is not None and not event.antenna[1]:
        found.append(f"antenna {event.antenna[0]} is not connected; look at its cable")
    if event.exception:
        found.append(f"the reader says: {event.exception}")
    if event.overflow:
        found.append("the reader's memory was full, and reads are lost; is the network too slow?")
    return found
