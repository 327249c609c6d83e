"""A sensor that writes lines on a serial port: by itself, or when it hears its request. For tests and scenarios.

It shares the framing codec with the driver, and no code that says what a line means: the texts are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.serial_line.codec import Framing, encode
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

REQUEST_MAX_BYTES = 4096


class SerialSensor:
    """`async with sensor:` makes the port appear. answers: by request, for one or several sensors on the line."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        framing: Framing,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        answers: Mapping[bytes, str] | None = None,
        echo: bool = False,
    ) -> None:
        self.answers = dict(answers or {})
        self._name = name
        self._framing = framing
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._echo = echo
        self._heard = bytearray()
        self._asked: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)
        self._port = PtyPort(path, self._hear)
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._port.close()

    async def serve(self) -> None:
        """Answer requests until cancelled."""
        while True:
            request = await self._asked.get()
            if self._echo:
                self._port.write(request)
            await self.say(self.answers[request])

    async def say(self, text: str) -> bool:
        """One line, over the link; False when nobody took it."""
        return await self.send(encode(self._framing, text))

    async def send(self, data: bytes) -> bool:
        """These bytes, over the link."""
        out, intact = await self._link.outward(data)
        sent = self._port.write(out)
        if sent and not intact:
            self._log.damaged(self._name, int(self._now_ms()))
        return sent

    def _hear(self, data: bytes) -> None:
        self._heard += self._link.inward(data)
        for request in self.answers:
            while (at := self._heard.find(request)) >= 0:
                del self._heard[: at + len(request)]
                if not self._asked.full():
                    self._asked.put_nowait(request)
        del self._heard[:-REQUEST_MAX_BYTES]

    async def _plug(self, plugged: bool) -> None:
        self._heard.clear()
        if plugged:
            self._port.open()
        else:
            self._port.close()
