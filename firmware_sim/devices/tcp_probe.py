"""A Modbus slave on the network: MBAP frames over TCP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from firmware_sim.devices.ailments import slow_s
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import MBAP_BYTES, TARGET_SILENT, Answer, Mbap, Unit, answer
from firmware_sim.links import Link

ANY_UNIT = frozenset({0, 255})  # "the device itself" (Messaging on TCP/IP V1.0b §4.4.2.3)
MAX_CONNECTIONS = 16  # small devices allow fewer


class TcpProbe:
    """One slave. `async with probe:` makes it listen; `port` is then the port it listens on."""

    def __init__(self, unit: Unit, *, link: Link, log: DeviceLog, now_ms: Callable[[], float], port: int = 0) -> None:
        self.host = "127.0.0.1"
        self.port = port
        self._unit = unit
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(plugged=True)  # even an unplugged device must know its port
        if self._link.faults.unplugged:
            await self._plug(plugged=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plug(plugged=False)

    async def _plug(self, plugged: bool) -> None:
        if plugged and self._server is None:
            self._server = await asyncio.start_server(self._connected, self.host, self.port, limit=1024)
            self.port = self._server.sockets[0].getsockname()[1]
        elif not plugged and self._server is not None:
            self._server.close()
            for writer in self._connections.values():
                writer.transport.abort()
            if self._connections:
                await asyncio.wait(list(self._connections), timeout=1)
            await self._server.wait_closed()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(f"{self._unit.device} connection")
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections[task] = writer
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side is gone, or was thrown out: nobody to tell
        finally:
            del self._connections[task]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = await reader.readexactly(MBAP_BYTES)
            mbap = Mbap.parse(self._link.inward(header).ljust(MBAP_BYTES, b"\xff"))
            if self._link.faults.hang:
                await reader.read(1024)
                continue
            if mbap is None:
                return
            pdu = self._link.inward(await reader.readexactly(mbap.length - 1))
            at_ms = int(self._now_ms())
            reply = self._reply(mbap.unit_id, pdu, at_ms)
            if thinks_s := slow_s(self._unit.ailments, at_ms):
                await asyncio.sleep(thinks_s)
            out, intact = await self._link.outward(mbap.frame(reply.pdu))
            writer.write(out)
            await writer.drain()
            if writer.is_closing():
                return
            if intact:
                self._log.values(reply.values, at_ms)
            else:
                self._log.damaged(self._unit.device, at_ms)

    def _reply(self, unit_id: int, pdu: bytes, at_ms: int) -> Answer:
        if unit_id != self._unit.unit_id and unit_id not in ANY_UNIT:
            return Answer(bytes([pdu[0] | 0x80 if pdu else 0x80, TARGET_SILENT]), [])
        return answer(self._unit, pdu, at_ms)
