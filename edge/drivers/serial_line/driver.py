"""Sensors that write lines: those that speak by themselves, and those that are asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Self

import serialx

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.links import Link
from edge.drivers.serial_line.codec import Damaged, Decoder, Echo, Line
from edge.drivers.serial_line.config import SerialLineConfig, SerialRequestConfig
from edge.drivers.serial_line.layout import Layout, LineError, read_line
from edge.drivers.serial_line.wire import SharedLine, open_line
from edge.drivers.serial_port import close_port
from wire.observation import Observation, Reading, Stamp

READ_BYTES = 4096
REST_S = 1.0  # at 300 baud, 30 characters: a sensor that pauses this long within a line will not finish it


class SerialLineDriver:
    """One sensor that speaks by itself. Damaged lines are told, and the good ones around them are kept."""

    config_type: ClassVar = SerialLineConfig

    def __init__(self, name: str, config: SerialLineConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._layout = config.layout
        self._decoder = Decoder(config.framing)
        self._port: serialx.AsyncSerial | None = None

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per point."""
        return _channels(self._name, self._layout)

    async def __aenter__(self) -> Self:
        port = await open_line(self._config)
        self._decoder.discard()
        self._port = port
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        port, self._port = self._port, None
        await close_port(port, timeout_s=self._config.timeout_s)

    async def listen(self, emit: Emit) -> None:
        """Hand on what lines say until cancelled. Raises DeviceUnavailable, or BadReply for a line that is none."""
        while True:
            data = await self._read()
            stamp = self._ctx.clock.stamp()
            readings: list[Reading] = []
            wrong: list[str] = []
            for item in self._decoder.feed(data):
                try:
                    readings += _readings(self._name, self._layout, item, stamp)
                except LineError as error:
                    wrong.append(str(error))
            if readings:  # all at once: each `emit` waits for the disk, and a sensor may speak ten times a second
                await emit(readings)
            if wrong:
                more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
                raise BadReply(f"{self._config.port}: {wrong[0]}{more}; {_advice(self._config)}")

    async def _read(self) -> bytes:
        port = self._port
        if port is None:
            raise DeviceUnavailable(f"{self._config.port}: not open")
        while True:
            waits = self._decoder.pending or not self._decoder.joined
            try:
                async with asyncio.timeout(REST_S if waits else None):
                    data = await port.read(READ_BYTES)
            except TimeoutError:
                if size := self._decoder.begin():
                    raise BadReply(
                        f"{self._config.port}: {size} bytes came without the end of a line and were dropped; "
                        f"{_advice(self._config)}"
                    ) from None
                continue
            except OSError as error:
                raise DeviceUnavailable(f"{self._config.port}: {error}; is the sensor still plugged in?") from error
            if not data:
                raise DeviceUnavailable(f"{self._config.port}: the port was closed at the other end")
            return data


class SerialRequestDriver:
    """One sensor that answers when asked, on a line that it may share."""

    config_type: ClassVar = SerialRequestConfig

    def __init__(self, name: str, config: SerialRequestConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._layout = config.layout
        self._request = config.request.encode("latin-1")
        self._link: Link | None = None
        self._open = AsyncExitStack()

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per point."""
        return _channels(self._name, self._layout)

    async def __aenter__(self) -> Self:
        lease = self._ctx.links.lease(self._config.link, self._open_line)
        self._link = await self._open.enter_async_context(lease)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link = None
        await self._open.aclose()

    async def poll(self) -> list[Observation]:
        """Ask once; the stamp is taken when the answer was in."""
        link = self._link
        if link is None:
            raise DeviceUnavailable(f"{self._name}: not open")
        async with link.lock:
            line: SharedLine | None = link.resource
            if line is None:
                raise DeviceUnavailable(f"{self._name}: {self._config.port} was lost by a neighbour, opening it again")
            try:
                return await self._exchange(line)
            finally:
                if line.lost and link.resource is line:
                    # Whoever leases the link next opens it anew, though neighbours still hold it.
                    link.resource = None
                    line.close()

    async def _exchange(self, line: SharedLine) -> list[Observation]:
        config = self._config
        decoder, echo = Decoder(config.framing), Echo(config.framing, self._request)
        decoder.begin()
        received, answered = 0, False
        await line.rest()
        try:
            async with asyncio.timeout(config.timeout_s):
                await line.ask(self._request)
                while True:
                    data = await line.read(READ_BYTES)
                    stamp = self._ctx.clock.stamp()
                    received += len(data)
                    for item in decoder.feed(echo.taken_off(data)):
                        answered = True
                        return [*_readings(self._name, self._layout, item, stamp)]
        except LineError as error:
            raise BadReply(f"{config.port}: {error}; {_advice(config)}") from None
        except TimeoutError:
            if received:
                raise BadReply(
                    f"{config.port}: {received} bytes came within {config.timeout_s:g} s, but no line for "
                    f"{self._name}; {_advice(config)}"
                ) from None
            raise DeviceUnavailable(
                f"{config.port}: no answer to {config.request!r} within {config.timeout_s:g} s; is the sensor powered, "
                "and the request the right one?"
            ) from None
        finally:
            if not answered:
                line.unanswered(config.timeout_s)

    async def _open_line(self) -> SharedLine:
        return SharedLine(await open_line(self._config), self._config.port)


def _channels(name: str, layout: Layout) -> list[tuple[str, str]]:
    return [(f"{name}/{point.name}", point.unit) for point in layout.points]


def _readings(name: str, layout: Layout, item: Line | Damaged, stamp: Stamp) -> list[Reading]:
    """What a line says. Raises LineError."""
    if isinstance(item, Damaged):
        raise LineError(f"{item.size_bytes} bytes that are no line: {item.why}")
    return [
        Reading(f"{name}/{value.point.name}", value.point.unit, value.mantissa, value.exponent, stamp, value.quality)
        for value in read_line(layout, item.text)
    ]


def _advice(config: SerialLineConfig) -> str:
    return f"are {config.settings}, the end of the line and the format as the sensor's manual says?"
