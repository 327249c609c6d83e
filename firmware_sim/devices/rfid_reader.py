"""An LLRP reader on the network: llrpkit's emulator behind a cable that can be bad.

The emulator is somebody else's LLRP, so that driver and simulator don't share a mistake. Between it and the gateway
stands a relay, which does to the bytes what the link says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from llrpkit.emulator.core import EmulatedTag, LLRPEmulator

from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import Link

READ_BYTES = 65_536
LEAVE_S = 2.0  # for the emulator to notice that its client is gone


class LlrpReader:
    """One reader. `async with reader:` makes it listen; `port` is then the port it listens on.

    channel: as the gateway names its passes, with the gateway before it. reads_per_s: of all tags together, at 30 dBm.
    """

    def __init__(
        self,
        *,
        name: str,
        channel: str,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        port: int = 0,
        antennas: int = 4,
        reads_per_s: float = 100.0,
        seed: int = 1,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._name = name
        self._channel = channel
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self.emulator = LLRPEmulator(
            tags=[], reads_per_sec=reads_per_s, antenna_count=antennas, seed=seed, firmware="simulated"
        )
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self.emulator.start()
        await self._plug(plugged=True)  # even an unplugged device must know its port
        if self._link.faults.unplugged:
            await self._plug(plugged=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plug(plugged=False)
        await self.emulator.stop()

    async def pass_by(self, epc: str, antennas: Sequence[int], *, each_s: float, rssi_dbm: float = -50.0) -> None:
        """Carry a tag past the antennas, one after the other."""
        data = bytes.fromhex(epc)
        for antenna in antennas:
            tag = EmulatedTag(epc=data, antennas=(antenna,), rssi_dbm=rssi_dbm)
            self.emulator.tags.append(tag)
            try:
                await asyncio.sleep(each_s)
            finally:
                self.emulator.tags.remove(tag)
        at_ms = int(self._now_ms())
        if self._relays and not (self._link.faults.hang or self._link.faults.unplugged):
            self._log.scan(self._name, self._channel, code=epc.upper(), symbology="epc", at_ms=at_ms)
        else:
            self._log.damaged(self._name, at_ms)

    async def _plug(self, plugged: bool) -> None:
        if plugged and self._server is None:
            self._server = await asyncio.start_server(self._connected, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
        elif not plugged and self._server is not None:
            self._server.close()
            for task in self._relays:
                task.cancel()
            if self._relays:
                await asyncio.wait(self._relays, timeout=LEAVE_S)
            await self._server.wait_closed()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(f"{self._name} connection")
        self._relays.add(task)
        try:
            if self._leaving:  # one client at a time: who comes right after another must not be refused for it
                await asyncio.wait(self._leaving, timeout=LEAVE_S)
            far_reader, far_writer = await asyncio.open_connection(self.emulator.host, self.emulator.port)
            try:
                await self._relay(reader, writer, far_reader, far_writer)
            finally:
                self._leaving.add(task)
                await _leave(far_reader, far_writer)
        except (asyncio.CancelledError, OSError):
            pass  # pulled out, or gone: asyncio's server would log a cancelled handler
        finally:
            self._leaving.discard(task)
            self._relays.discard(task)
            writer.transport.abort()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Carry both ways until either side ends."""
        ways = {
            asyncio.create_task(self._inward(reader, far_writer), name=f"{self._name} inward"),
            asyncio.create_task(self._outward(far_reader, writer), name=f"{self._name} outward"),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _inward(self, reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            far_writer.write(self._link.inward(data))
            await far_writer.drain()

    async def _outward(self, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await far_reader.read(READ_BYTES):
            out, intact = await self._link.outward(data)
            writer.write(out)
            await writer.drain()
            if not intact:
                self._log.damaged(self._name, int(self._now_ms()))


async def _leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close towards the emulator, and wait until it has closed as well: only then it takes the next client."""
    try:
        async with asyncio.timeout(LEAVE_S):
            writer.write_eof()
            while await reader.read(READ_BYTES):
                pass
    except (OSError, TimeoutError):
        pass
    finally:
        writer.transport.abort()
