"""A barcode scanner on a serial line: sends what somebody scans, and hears the gateway's confirmation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.barcode.codec import Code, Suffix, encode
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

READY_S = 0.5  # whoever opens a serial port may empty it first: a person waits for the ready light
LOOK_S = 0.02


class SerialScanner:
    """`async with scanner:` makes the port appear. channel: as the gateway names it, with the gateway before it."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        channel: str,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        suffix: Suffix = "crlf",
        aim: bool = True,
    ) -> None:
        self._name = name
        self._channel = channel
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._suffix = suffix
        self._aim = aim
        self._port = PtyPort(path, self._confirmed)
        self._sending = asyncio.Lock()
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._port.close()

    async def send(self, code: str, symbology: str) -> None:
        """Scan a code: once, in order, and only when somebody listens (waits for that, however long).

        Raises ValueError when the code holds the scanner's own suffix.
        """
        data = encode(Code(code, symbology if self._aim else ""), self._suffix)
        async with self._sending:
            while True:
                await self._ready()
                at_ms = int(self._now_ms())
                out, intact = await self._link.outward(data)
                if self._port.write(out):
                    break
        if intact:
            sent = symbology if self._aim else ""
            self._log.scan(self._name, self._channel, code=code, symbology=sent, at_ms=at_ms)
        else:
            self._log.damaged(self._name, at_ms)

    async def _ready(self) -> None:
        while self._port.heard_for_s < READY_S:  # noqa: ASYNC110 - a pty tells when asked, it has no event
            await asyncio.sleep(LOOK_S)

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()

    def _confirmed(self, data: bytes) -> None:
        self._log.feedback(self._name, data)
