"""A satellite receiver on a serial port: offers its time to the gateway's clock, and says how many satellites it has.

NMEA comes without a pulse per second, so a sentence tells a moment that has passed: `latency_ms` is added, and
UNCERTAINTY_MS covers what sentences vary by at 4,800 to 115,200 baud. Only the last moment of what was read at once is
offered: what waited behind it in the port is older than it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

import serialx

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.gps.codec import Damaged, Decoder, FixTime, Gga
from edge.drivers.gps.config import GpsConfig
from edge.drivers.serial_port import close_port, open_port
from wire.observation import Reading

READ_BYTES = 4096
SILENT_S = 10.0  # a receiver speaks every second, with or without a fix
UNCERTAINTY_MS = 500
SATELLITES_EVERY_MS = 60_000


class GpsDriver:
    """One receiver. `{name}/satellites` (C62, one) tells an installer whether it sees the sky."""

    config_type: ClassVar = GpsConfig

    def __init__(self, name: str, config: GpsConfig, ctx: DriverContext) -> None:
        self._channel = f"{name}/satellites"
        self._config = config
        self._ctx = ctx
        self._decoder = Decoder()
        self._fix = FixTime()
        self._port: serialx.AsyncSerial | None = None
        self._told_ms: int | None = None

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """How many satellites the fix rests on."""
        return [(self._channel, "C62")]

    async def __aenter__(self) -> Self:
        config = self._config
        port = serialx.async_serial_for_url(config.port, baudrate=config.baudrate)
        advice = "is the receiver plugged in, and the port free (gpsd)?"
        opened = await open_port(port, config.port, timeout_s=config.timeout_s, advice=advice)
        self._decoder.discard()
        self._told_ms = None
        self._port = opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        port, self._port = self._port, None
        await close_port(port, timeout_s=self._config.timeout_s)

    async def listen(self, emit: Emit) -> None:
        """Offer time until cancelled. Raises DeviceUnavailable, or BadReply for lines that are damaged."""
        while True:
            data = await self._read()
            stamp = self._ctx.clock.stamp()
            true_ms, damaged = None, 0
            for item in self._decoder.feed(data):
                if isinstance(item, Damaged):
                    damaged += 1
                    continue
                true_ms = self._fix.take(item) or true_ms
                due = self._told_ms is None or stamp.monotonic_ms - self._told_ms >= SATELLITES_EVERY_MS
                if isinstance(item, Gga) and due:
                    self._told_ms = stamp.monotonic_ms
                    count = (item.satellites or 0) if item.valid else 0
                    await emit([Reading(self._channel, "C62", count, 0, stamp)])
            if true_ms is not None:
                true_ms += self._config.latency_ms
                self._ctx.clock.offer("gps", true_ms, stamp.monotonic_ms, UNCERTAINTY_MS)
            if damaged:
                raise BadReply(
                    f"{self._config.port}: {damaged} damaged lines; is the baudrate {self._config.baudrate} that of "
                    "the receiver, and does it send NMEA 0183 with checksums?"
                )

    async def _read(self) -> bytes:
        port = self._port
        if port is None:
            raise DeviceUnavailable(f"{self._config.port}: not open")
        try:
            async with asyncio.timeout(SILENT_S):
                data = await port.read(READ_BYTES)
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._config.port}: nothing for {SILENT_S:g} s; does the receiver have power and the right baudrate?"
            ) from None
        except OSError as error:
            raise DeviceUnavailable(f"{self._config.port}: {error}; is the receiver still plugged in?") from error
        if not data:
            raise DeviceUnavailable(f"{self._config.port}: the port was closed at the other end")
        return data
