"""A Modbus device: reads the blocks of its profile, RTU on a serial line or TCP, over a link it may share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Self

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.links import Link
from edge.drivers.modbus.bus import Bus, open_serial, open_tcp
from edge.drivers.modbus.codec import Block, CodecError, Value, decode_block
from edge.drivers.modbus.config import ModbusConfig
from wire.observation import Observation, Reading


class ModbusDriver:
    """One unit on a line. A dead neighbour costs it at most that neighbour's timeout per poll."""

    config_type: ClassVar = ModbusConfig

    def __init__(self, name: str, config: ModbusConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._blocks = config.profile.profile.block
        self._link: Link | None = None
        self._open = AsyncExitStack()

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """One per point of the profile."""
        return [(f"{self._name}/{point.name}", point.unit) for point in self._config.profile.profile.points]

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
        """Every point once; the stamp of a block is taken when its answer was in."""
        readings: list[Observation] = []
        for block in self._blocks:
            readings += await self._read(block)
        return readings

    async def _read(self, block: Block) -> list[Observation]:
        link = self._link
        if link is None:
            raise DeviceUnavailable(f"{self._name}: not open")
        async with link.lock:
            registers = await self._exchange(link, block)
            stamp = self._ctx.clock.stamp()
        try:
            values = decode_block(block, registers)
        except CodecError as error:
            raise BadReply(f"{self._name}: {error}") from error
        return [Reading(self._channel(v), v.point.unit, v.mantissa, v.point.exponent, stamp, v.quality) for v in values]

    async def _exchange(self, link: Link, block: Block) -> list[int]:
        bus: Bus | None = link.resource
        if bus is None:
            raise DeviceUnavailable(f"{self._name}: {self._config.link} was lost by a neighbour, opening it again")
        try:
            return await bus.read(block, self._config.unit_id, self._config.timeout_s)
        finally:
            if not bus.connected and link.resource is bus:
                # Whoever leases the link next opens it anew, though neighbours still hold it.
                link.resource = None
                bus.close()

    def _channel(self, value: Value) -> str:
        return f"{self._name}/{value.point.name}"

    async def _open_bus(self) -> Bus:
        config = self._config
        if config.port is not None:
            return await open_serial(config.port, config.serial, config.timeout_s)
        assert config.host is not None  # one of the two, by ModbusConfig.problems
        return await open_tcp(config.host, config.tcp_port, config.timeout_s)
