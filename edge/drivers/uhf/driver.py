"""A UHF module on a serial port: tells of every pass of a tag, not of every read.

The module looks for tags until it is told to stop, or until it has done its rounds. When it says nothing for a while it
is told to stop and to start again: a module that lives answers to that, whether or not it says when it sees no tag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

import serialx

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured, Emit
from edge.drivers.rfid.scan import collapser, scan_of
from edge.drivers.serial_port import close_port, open_found
from edge.drivers.uhf import codec
from edge.drivers.uhf.codec import Decoder, Frame, Noise
from edge.drivers.uhf.config import UhfConfig
from wire.observation import Observation

READ_BYTES = 4096
LOOK_S = 0.05  # how late a pass may be told
REST_S = 0.2  # a frame has 90 bytes at most, 0.1 s at 9600 baud; who pauses longer within one will not finish it
QUIET_S = 1.0  # then it is asked whether it still works
FAREWELL_S = 0.3  # for a module to say that it has stopped


class UhfDriver:
    """One module. A pass is on the disk when `emit` returns; those going on are in `leftovers`."""

    config_type: ClassVar = UhfConfig

    def __init__(self, name: str, config: UhfConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._passes = collapser(config)
        self._decoder = Decoder()
        self._port: serialx.AsyncSerial | None = None
        self._complaints: list[str] = []
        self._heard_s = 0.0  # the last whole frame
        self._bytes_s = 0.0  # the last bytes
        self._asked_s: float | None = None  # when it was asked whether it still works, as long as it has not answered

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """None: a module gives no readings."""
        return []

    async def __aenter__(self) -> Self:
        config = self._config
        self._port = await open_found(config.port, "module", timeout_s=config.timeout_s, baudrate=config.baudrate)
        self._decoder, self._complaints, self._asked_s = Decoder(), [], None
        begun = False
        try:
            await self._begin()
            begun = True
        finally:
            if not begun:
                await self._close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._port is None:
            return
        try:
            async with asyncio.timeout(min(FAREWELL_S, self._config.timeout_s)):
                await self._farewell()
        except (TimeoutError, DeviceUnavailable):
            pass  # pulled out: it has stopped
        finally:
            await self._close()

    def leftovers(self) -> list[Observation]:
        """The passes that were going on when it was closed, as far as they had got."""
        return [scan_of(self._name, self._config.point, one) for one in self._passes.end_all()]

    async def listen(self, emit: Emit) -> None:
        """Tell of passes until cancelled. Raises DeviceUnavailable, or BadReply for what is damaged on the line."""
        while True:
            over = self._passes.due(self._ctx.clock.stamp().monotonic_ms)
            if over:
                await emit([scan_of(self._name, self._config.point, one) for one in over])
            if self._complaints:
                complaints, self._complaints = self._complaints, []
                more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
                raise BadReply(f"{self._config.port}: {complaints[0]}{more}")
            self._take(await self._look())
            await self._keep_awake()

    async def _begin(self) -> None:
        """Find out that a module is there, set it, and start it."""
        port = self._config.port
        await self._ask(codec.stop(), codec.STOP)  # it may still be at work for somebody before us
        await self._ask(codec.ask_information(), codec.INFORMATION)
        power_dbm = self._config.power_dbm
        if power_dbm is not None:
            answer = await self._ask(codec.set_power(power_dbm), codec.SET_POWER)
            if answer.command == codec.FAILED:
                words = codec.failure(answer)[1]
                raise DriverMisconfigured(f"{port}: the module refuses power_dbm = {power_dbm:g} ({words})")
        await self._send(codec.start())
        self._heard_s = self._bytes_s = asyncio.get_running_loop().time()

    async def _farewell(self) -> None:
        """Stop it, and take what it has said up to then."""
        await self._send(codec.stop())
        stopped = False
        while not stopped:
            found = self._decoder.feed(await self._read())
            self._take(found)
            stopped = any(
                isinstance(one, Frame) and (one.type, one.command) == (codec.ANSWER, codec.STOP) for one in found
            )

    async def _ask(self, data: bytes, command: int) -> Frame:
        """Send a command and wait for its answer; notices on the way are tags that are seen again soon."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._send(data)
                while True:
                    for found in self._decoder.feed(await self._read()):
                        if not isinstance(found, Frame) or found.type != codec.ANSWER:
                            continue
                        refused = found.command == codec.FAILED and codec.failure(found)[0] != codec.NO_TAG
                        if found.command == command or refused:
                            return found
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._config.port}: no answer within {self._config.timeout_s:g} s; has the module power, and is "
                f"{self._config.baudrate} its baudrate?"
            ) from None

    async def _look(self) -> list[Frame | Noise]:
        """What the line brings until it is time to look at something else; may be nothing."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOK_S if self._passes.going_on or self._decoder.pending else REST_S):
                data = await self._read()
        except TimeoutError:
            if self._decoder.pending and loop.time() - self._bytes_s > REST_S:
                return self._decoder.settle()
            return []
        self._bytes_s = loop.time()
        return self._decoder.feed(data)

    def _take(self, found: Sequence[Frame | Noise]) -> None:
        stamp = self._ctx.clock.stamp()
        for one in found:
            if isinstance(one, Noise):
                self._complaints.append(
                    f"{one.size_bytes} bytes that are no frame; is {self._config.baudrate} the module's baudrate, and "
                    "the cable short?"
                )
                continue
            self._heard_s, self._asked_s = asyncio.get_running_loop().time(), None
            if one.type == codec.NOTICE:
                seen = codec.seen_in(one)
                if seen is None:
                    self._complaints.append("a tag came damaged and was not believed; it is read again soon")
                else:
                    self._passes.add(seen.epc.hex().upper(), stamp, None, seen.rssi_dbm)
            elif one.command == codec.FAILED and codec.failure(one)[0] != codec.NO_TAG:
                self._complaints.append(f"the module says: {codec.failure(one)[1]}")

    async def _keep_awake(self) -> None:
        """The time to answer begins with the question: a disk may have kept us from asking for longer than that."""
        now_s = asyncio.get_running_loop().time()
        quiet_s = now_s - self._heard_s
        if self._asked_s is not None and now_s - self._asked_s >= self._config.timeout_s:
            raise DeviceUnavailable(
                f"{self._config.port}: silent for {quiet_s:.1f} s, though it was told to start; has the module power?"
            )
        if quiet_s >= QUIET_S and self._asked_s is None:
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    await self._send(codec.stop() + codec.start())
            except TimeoutError:
                raise DeviceUnavailable(f"{self._config.port}: takes no command") from None
            self._asked_s = asyncio.get_running_loop().time()

    async def _send(self, data: bytes) -> None:
        try:
            await self._require_port().write(data)
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.port}: {error}; is the module still plugged in?") from error

    async def _read(self) -> bytes:
        try:
            data = await self._require_port().read(READ_BYTES)
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.port}: {error}; is the module still plugged in?") from error
        if not data:
            raise DeviceUnavailable(f"{self._config.port}: the port was closed at the other end")
        return data

    async def _close(self) -> None:
        port, self._port = self._port, None
        await close_port(port, timeout_s=self._config.timeout_s)

    def _require_port(self) -> serialx.AsyncSerial:
        if self._port is None:
            raise DeviceUnavailable(f"{self._config.port}: not open")
        return self._port
