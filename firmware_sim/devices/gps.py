"""A satellite receiver on a serial line: tells the true time every second, with a fix or without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.gps.codec import encode_gga, encode_rmc
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

EVERY_S = 1.0


class SerialGps:
    """`async with gps:` makes the port appear. now_ms: the truth; it tells the second that has just passed."""

    def __init__(
        self, path: Path, *, name: str, link: Link, log: DeviceLog, now_ms: Callable[[], float], satellites: int = 9
    ) -> None:
        self.satellites = satellites
        self.fix = True
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
        """Tell the time every second until cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(EVERY_S)

    async def tell(self) -> None:
        """One burst: the fix, then the recommended minimum."""
        at_ms = int(self._now_ms())
        burst = encode_gga(at_ms, satellites=self.satellites, valid=self.fix) + encode_rmc(at_ms, valid=self.fix)
        out, intact = await self._link.outward(burst)
        if self._port.write(out) and not intact:
            self._log.damaged(self._name, at_ms)

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()
