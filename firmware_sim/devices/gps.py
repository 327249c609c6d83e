"""A satellite receiver on a serial line: tells the true time and its place every second, with a fix or without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.gps.codec import Position, encode_gga, encode_rmc
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

EVERY_S = 1.0
HERE = Position(latitude=210_278_000, longitude=1_058_342_000)  # Hà Nội


class SerialGps:
    """`async with gps:` makes the port appear. now_ms: the truth; it tells the second that has just passed."""

    def __init__(
        self, path: Path, *, name: str, link: Link, log: DeviceLog, now_ms: Callable[[], float], satellites: int = 9
    ) -> None:
        self.satellites = satellites
        self.fix = True
        self.position = HERE
        self.speed_knots = Decimal("0.0")
        self._name = name
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._port = PtyPort(path, lambda _: None)
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._port.close()

    async def serve(self) -> None:
        """Tell time and place every second until cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(EVERY_S)

    async def tell(self) -> None:
        """One burst: the fix, then the recommended minimum."""
        at_ms = int(self._now_ms())
        place = self.position if self.fix else None
        gga = encode_gga(at_ms, satellites=self.satellites, valid=self.fix, position=place)
        rmc = encode_rmc(at_ms, valid=self.fix, position=place, speed_knots=self.speed_knots if self.fix else None)
        await self.send(gga + rmc, at_ms)

    async def replay(self, lines: Iterable[bytes], *, pause_s: float = 0.005) -> None:
        """Say again, byte for byte, what a real receiver once said, from when somebody listens; a pause per line."""
        while not self._port.heard:  # noqa: ASYNC110 - a pty tells when asked, it has no event
            await asyncio.sleep(0.02)
        for line in lines:
            await self.send(line, int(self._now_ms()))
            await asyncio.sleep(pause_s)

    async def send(self, data: bytes, at_ms: int) -> bool:
        """These bytes, over the link; False when nobody took them."""
        out, intact = await self._link.outward(data)
        sent = self._port.write(out)
        if sent and not intact:
            self._log.damaged(self._name, at_ms)
        return sent

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()
