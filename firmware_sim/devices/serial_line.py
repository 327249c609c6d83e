"""A sensor that writes lines on a serial port: by itself, or when it hears its request. For tests and scenarios.

It shares the framing codec with the driver, and no code that says what a line means: whoever makes one gives the texts,
and the values that they carry for the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from edge.drivers.serial_line.codec import Framing, encode
from firmware_sim.devices.log import DeviceLog, Value
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

REQUEST_MAX_BYTES = 4096


class Said(NamedTuple):
    """The text of a line, and what it means for the log."""

    text: str
    values: Sequence[Value] = ()


Saying = Callable[[int], Said]  #: what is said at an instant (ms)


class SerialSensor:
    """`async with sensor:` makes the port appear.

    says, every_s: what it says by itself, and how often. answers: by request, of one or several sensors on the line.
    echo: the adapter hears itself.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        framing: Framing,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        says: Saying | None = None,
        every_s: float = 1.0,
        answers: Mapping[bytes, Saying] | None = None,
        echo: bool = False,
    ) -> None:
        self._name = name
        self._framing = framing
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._says = says
        self._every_s = every_s
        self._answers = dict(answers or {})
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
        """Speak, or answer requests, until cancelled."""
        while self._says is not None:
            await self.say()
            await asyncio.sleep(self._every_s)
        while True:
            request = await self._asked.get()
            if self._echo:
                self._port.write(request)
            await self._send(self._answers[request])

    async def say(self) -> bool:
        """One line, now, over the link; False when nobody took it."""
        assert self._says is not None
        return await self._send(self._says)

    async def _send(self, saying: Saying) -> bool:
        at_ms = int(self._now_ms())
        said = saying(at_ms)
        out, intact = await self._link.outward(encode(self._framing, said.text))
        sent = self._port.write(out)
        if sent and intact:
            self._log.values(list(said.values), at_ms)
        elif sent:
            self._log.damaged(self._name, at_ms)
        return sent

    def _hear(self, data: bytes) -> None:
        self._heard += self._link.inward(data)
        for request in self._answers:
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
