"""A serial UHF module with the M100 chip's protocol: answers commands, and tells of the tags in its field."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.uhf import codec
from edge.drivers.uhf.codec import Decoder, Frame, Seen
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

ROUND_S = 0.02  # about 50 tags a second, as these modules do
WAITING_MAX = 64  # commands that wait for their answer
POWER_MAX = 2600  # 26 dBm
VERSION = b"\0M100 26dBm V1.0"


class UhfModule:
    """`async with module:` makes the port appear; `serve` does the work. channel: as the gateway names its passes."""

    def __init__(
        self, path: Path, *, name: str, channel: str, link: Link, log: DeviceLog, now_ms: Callable[[], float]
    ) -> None:
        self._name = name
        self._channel = channel
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._decoder = Decoder()
        self._port = PtyPort(path, self._hear)
        self._commands: asyncio.Queue[Frame] = asyncio.Queue(WAITING_MAX)
        self._field: dict[bytes, int] = {}  # EPC → dBm
        self._rounds = 0
        self.says_no_tag = True  #: whether it tells of rounds without a tag; some firmwares don't
        self.rounds_max = codec.ROUNDS_MAX  #: after which it stops by itself
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._port.close()

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                async with asyncio.timeout(ROUND_S):
                    command = await self._commands.get()
            except TimeoutError:
                await self._round()
            else:
                await self._say(self._answer(command))

    async def pass_by(self, epc: str, *, for_s: float, rssi_dbm: int = -50) -> None:
        """Carry a tag through the field."""
        data = bytes.fromhex(epc)
        self._field[data] = rssi_dbm
        try:
            await asyncio.sleep(for_s)
        finally:
            del self._field[data]
        at_ms = int(self._now_ms())
        if self._rounds and not (self._link.faults.hang or self._link.faults.unplugged):
            self._log.scan(self._name, self._channel, code=epc.upper(), symbology="epc", at_ms=at_ms)
        else:
            self._log.damaged(self._name, at_ms)

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()
            self._rounds = 0  # it has lost its power

    def _hear(self, data: bytes) -> None:
        for found in self._decoder.feed(self._link.inward(data)):
            if isinstance(found, Frame) and found.type == codec.COMMAND and not self._commands.full():
                self._commands.put_nowait(found)

    async def _round(self) -> None:
        if not self._rounds:
            return
        self._rounds -= 1
        for epc, rssi_dbm in list(self._field.items()):
            await self._say(codec.notice(Seen(epc, rssi_dbm)))
        if not self._field and self.says_no_tag:
            await self._say(_failed(codec.NO_TAG))

    def _answer(self, command: Frame) -> Frame:
        done = Frame(codec.ANSWER, command.command, b"\0")
        if command.command == codec.INFORMATION:
            return Frame(codec.ANSWER, codec.INFORMATION, VERSION)
        if command.command == codec.STOP:
            self._rounds = 0
            return done
        if command.command == codec.MANY and len(command.parameters) == 3:
            self._rounds = min(int.from_bytes(command.parameters[1:]), self.rounds_max)
            return _failed(codec.NO_TAG) if not self._field else codec.notice(Seen(*next(iter(self._field.items()))))
        if command.command == codec.SET_POWER:
            return done if int.from_bytes(command.parameters) <= POWER_MAX else _failed(0x0E)
        return _failed(0x17)

    async def _say(self, frame: Frame) -> None:
        at_ms = int(self._now_ms())
        out, intact = await self._link.outward(codec.encode(frame))
        if out:
            self._port.write(out)
        if not intact:
            self._log.damaged(self._name, at_ms)


def _failed(code: int) -> Frame:
    return Frame(codec.ANSWER, codec.FAILED, bytes([code]))
