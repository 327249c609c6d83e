"""A satellite receiver on a serial port: offers its time to the gateway's clock, and says where it is.

NMEA comes without a pulse per second, so a sentence tells a moment that has passed: `latency_ms` is added, and
UNCERTAINTY_MS covers what sentences vary by at 4,800 to 115,200 baud. Only the last moment of what was read at once is
offered: what waited behind it in the port is older than it says. Nothing is, of what waited while the disk kept us.

Every `every_s` it says its position and speed, if it has a fix, and how many satellites it rests on, if not none: a
gap in the positions explains itself. There is never a position without a fix, with a wrong checksum, or of which two
sentences of one moment say different things (navigation.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

import serialx

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.gps.codec import Damaged, Decoder, FixTime
from edge.drivers.gps.config import GpsConfig
from edge.drivers.gps.navigation import Navigator, Solution
from edge.drivers.gps.readings import POINTS, values
from edge.drivers.serial_port import close_port, open_found
from wire.observation import Reading, Stamp

READ_BYTES = 4096
SILENT_S = 10.0  # a receiver speaks every second, with or without a fix
UNCERTAINTY_MS = 500
AWAY_S = 0.1  # whoever was away for longer cannot say since when a sentence has been waiting
AT_ONCE_S = 0.005  # a read that took longer waited for the receiver


class GpsDriver:
    """One receiver. `{name}/satellites` (C62, one) tells an installer whether it sees the sky."""

    config_type: ClassVar = GpsConfig

    def __init__(self, name: str, config: GpsConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._decoder = Decoder()
        self._fix = FixTime()
        self._navigator: Navigator[Stamp] = Navigator()
        self._port: serialx.AsyncSerial | None = None
        self._told_ms: dict[str, int] = {}  # monotonic time, by point
        self._left_s = 0.0  # when the last read was done
        self._waited = False  # whether what was read had waited in the port

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """Where it is, and how many satellites that rests on."""
        return [(f"{self._name}/{point}", unit) for point, unit in POINTS.items()]

    async def __aenter__(self) -> Self:
        config = self._config
        opened = await open_found(
            config.port, "receiver", timeout_s=config.timeout_s, baudrate=config.baudrate, hint=" (gpsd)"
        )
        self._decoder.discard()
        self._navigator.reset()
        self._told_ms.clear()
        self._port = opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        port, self._port = self._port, None
        await close_port(port, timeout_s=self._config.timeout_s)

    async def listen(self, emit: Emit) -> None:
        """Offer time and tell the place until cancelled. Raises DeviceUnavailable, or BadReply for damaged lines."""
        while True:
            data = await self._read()
            stamp = self._ctx.clock.stamp()
            true_ms, damaged = None, 0
            for item in self._decoder.feed(data):
                if isinstance(item, Damaged):
                    damaged += 1
                    continue
                true_ms = self._fix.take(item) or true_ms
                for solution in self._navigator.take(item, stamp):
                    if readings := self._due(solution):
                        await emit(readings)
            if true_ms is not None and not self._waited:
                true_ms += self._config.latency_ms
                self._ctx.clock.offer("gps", true_ms, stamp.monotonic_ms, UNCERTAINTY_MS)
            if damaged:
                raise BadReply(
                    f"{self._config.port}: {damaged} damaged lines; is the baudrate {self._config.baudrate} that of "
                    "the receiver, and does it send NMEA 0183 with checksums?"
                )

    def _due(self, solution: Solution[Stamp]) -> list[Reading]:
        """What of a solution is to be told now: each point has its own pace, so that a fix is told when it comes."""
        at_ms, every_ms = solution.at.monotonic_ms, round(self._config.every_s * 1000)
        due: list[Reading] = []
        for value in values(solution):
            told_ms = self._told_ms.get(value.point)
            if told_ms is None or at_ms - told_ms >= every_ms:
                self._told_ms[value.point] = at_ms
                channel = f"{self._name}/{value.point}"
                due.append(Reading(channel, POINTS[value.point], value.mantissa, value.exponent, solution.at))
        return due

    async def _read(self) -> bytes:
        port = self._port
        if port is None:
            raise DeviceUnavailable(f"{self._config.port}: not open")
        began_s = time.monotonic()
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
        away_s, self._left_s = began_s - self._left_s, time.monotonic()
        self._waited = away_s > AWAY_S and self._left_s - began_s < AT_ONCE_S
        return data
