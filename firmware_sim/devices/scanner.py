"""A barcode scanner on a serial line: sends what somebody scans, and hears the gateway's confirmation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Protocol, Self

import msgspec

from edge.drivers.barcode.codec import Code, Suffix, encode
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link, Probability

READY_S = 0.5  # whoever opens a serial port may empty it first: a person waits for the ready light
LOOK_S = 0.02
NOISE_BYTES_MAX = 20


class Habits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a scanner does wrong by itself, however good its cable; chances per scan.

    double: it reads the code once more, double_after_s later. no_suffix: it sends no suffix, so the code has no end.
    noise: bytes that are no code come before it (a switch-on message, a disturbed line).
    """

    double: Probability = 0.0
    double_after_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.1
    no_suffix: Probability = 0.0
    noise: Probability = 0.0


WELL_BEHAVED = Habits()


class Scanner(Protocol):
    """Whatever somebody can scan with."""

    async def send(self, code: str, symbology: str) -> None:
        """Scan a code: once, in order, and only when somebody listens. Raises ValueError for what it cannot send."""


class SerialScanner:
    """`async with scanner:` makes the port appear. channel: as the gateway names it, with the gateway before it.

    habits may be set at any time. fnc1: what it sends for GS; empty: GS itself.
    """

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
        fnc1: str = "",
        habits: Habits = WELL_BEHAVED,
    ) -> None:
        self.habits = habits
        self._name = name
        self._channel = channel
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._suffix = suffix
        self._aim = aim
        self._fnc1 = fnc1
        self._rng = random.Random(f"scanner {name}")  # noqa: S311 - chance, not secrets
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
        """Scan a code: once (but for its habits), in order, and only when somebody listens, however long that takes.

        Raises ValueError when the code holds the scanner's own suffix.
        """
        read = Code(code, symbology if self._aim else "")
        data = encode(read, self._suffix, fnc1=self._fnc1)
        async with self._sending:
            habits = self.habits
            whole = self._rng.random() >= habits.no_suffix
            if not whole:
                data = data.rstrip(b"\r\n\t")
            if self._rng.random() < habits.noise:
                data = self._rng.randbytes(self._rng.randint(1, NOISE_BYTES_MAX)) + data
                whole = False
            await self._send(read, data, whole=whole)
            if self._rng.random() < habits.double:
                await asyncio.sleep(habits.double_after_s)
                await self._send(read, data, whole=whole)

    async def _send(self, read: Code, data: bytes, *, whole: bool) -> None:
        while True:
            await self._ready()
            at_ms = int(self._now_ms())
            out, intact = await self._link.outward(data)
            if self._port.write(out):
                break
        if intact and whole:
            self._log.scan(self._name, self._channel, code=read.text, symbology=read.symbology, at_ms=at_ms)
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
