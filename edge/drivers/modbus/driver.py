"""A Modbus device: reads the points of its profile, RTU on a serial line or TCP, over a link it may share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Self

from edge.drivers.base import BadReply, DeviceBusy, DeviceUnavailable, DriverContext
from edge.drivers.links import Link
from edge.drivers.modbus.bus import Bus, open_serial, open_tcp
from edge.drivers.modbus.codec import Block, BlockDecoder, CodecError, Value, plan, with_faults
from edge.drivers.modbus.config import ModbusConfig
from wire.observation import Observation, Reading, Stamp

LATE_MAX_S = 5.0  # later than this after its time-out nothing answers


class ModbusDriver:
    """One unit on a line. A dead neighbour costs it at most that neighbour's timeout per poll.

    RTU frames do not say which request they answer. So a unit that let its time-out pass is not asked again for as
    long as that once more: an answer that is only late arrives while nobody waits for one, and is passed over.
    """

    config_type: ClassVar = ModbusConfig

    def __init__(self, name: str, config: ModbusConfig, ctx: DriverContext) -> None:
        profile = config.profile.profile
        self._name = name
        self._config = config
        self._ctx = ctx
        self._requests = [BlockDecoder(block) for block in plan(profile, config.requests)]
        self._channels = {point.name: f"{name}/{point.name}" for point in profile.points}
        self._told_faults = any(point.fault is not None for point in profile.points)
        self._link: Link | None = None
        self._open = AsyncExitStack()
        self._numbered = config.host is not None and config.framing != "rtu"  # requests and answers
        self._late_until_s = 0.0

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per point of the profile."""
        return [(self._channels[point.name], point.unit) for point in self._config.profile.profile.points]

    async def __aenter__(self) -> Self:
        lease = self._ctx.links.lease(self._config.link, self._open_bus)
        self._link = await self._open.enter_async_context(lease)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link = None
        await self._open.aclose()

    async def poll(self) -> list[Observation]:
        """Every point once; the stamp of a request is taken when its answer was in.

        All of one look or nothing: a number is not handed on before it is known whether its probe has failed.
        """
        values: list[Value] = []
        stamps: list[Stamp] = []
        for at, request in enumerate(self._requests):
            if at and self._config.requests.pause_s:
                await asyncio.sleep(self._config.requests.pause_s)  # the line is free for others meanwhile
            registers = await self._exchange(request.block)
            stamp = self._ctx.clock.stamp()
            try:
                found = request.decode(registers)
            except CodecError as error:
                raise BadReply(f"{self._name}: {error}") from error
            values += found
            stamps += [stamp] * len(found)
        if self._told_faults:
            values = with_faults(values)
        channels = self._channels
        return [
            Reading(channels[v.point.name], v.point.unit, v.mantissa, v.point.exponent, stamp, v.quality)
            for v, stamp in zip(values, stamps, strict=True)
        ]

    async def _exchange(self, block: Block) -> list[int]:
        if (rest_s := self._late_until_s - time.monotonic()) > 0:
            await asyncio.sleep(rest_s)  # the line is free for others meanwhile
        link = self._link
        if link is None:
            raise DeviceUnavailable(f"{self._name}: not open")
        bus: Bus | None = link.resource
        if bus is None:
            raise DeviceUnavailable(f"{self._name}: {self._config.link} was lost by a neighbour, opening it again")
        answered = self._numbered
        try:
            registers = await bus.read(block, self._config.unit_id, self._config.timeout_s)
            answered = True
            return registers
        except DeviceBusy:
            answered = True
            raise
        finally:
            if not answered:
                self._late_until_s = time.monotonic() + min(self._config.timeout_s, LATE_MAX_S)
            if not bus.connected and link.resource is bus:
                # Whoever leases the link next opens it anew, though neighbours still hold it.
                link.resource = None
                bus.close()

    async def _open_bus(self) -> Bus:
        config = self._config
        if config.port is not None:
            bus = await open_serial(config.port, config.serial, config.timeout_s)
        else:
            assert config.host is not None  # one of the two, by ModbusConfig.problems
            bus = await open_tcp(config.host, config.tcp_port, config.timeout_s, rtu=config.framing == "rtu")
        if config.pause_after_open_s:
            try:
                await asyncio.sleep(config.pause_after_open_s)
            except asyncio.CancelledError:
                bus.close()
                raise
        return bus
