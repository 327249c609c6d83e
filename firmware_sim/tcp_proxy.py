"""A TCP line between two programs, and what can go wrong with it: slow, late, cut, reset, refused, or deaf.

    async with TcpProxy("127.0.0.1", broker_port) as line:
        gateway connects to line.port
        line.down = Road(swallow=True)     from now on nothing comes back, and no socket is closed
        line.cut()                         every connection is closed as a program closes it (FIN)
        line.reset()                       … as a kernel does for a program that was killed (RST)
        await line.refuse()                the port is closed, until `await line.admit()`

`up` is the way from who connects to the target, `down` the way back; both may be changed at any time.
A TCP stream never has a hole: a direction of a connection that swallowed bytes, or a close, stays deaf for as long
as the connection lives. When the target cannot be reached, who connected is reset; use `refuse` for a port that is
closed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

import msgspec

CHUNK_BYTES = 16 * 1024
UNDER_WAY_MAX = 64  # chunks that wait for their delay: 1 MiB a direction, then the sender feels it
LOOK_S = 0.02  # how soon a held direction notices that it may go on
CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


class Road(msgspec.Struct, frozen=True):
    """One direction; the default is a good one.

    delay_s: added to the way of every byte, order kept. bytes_per_s: throttle. swallow: bytes and closes vanish, the
    sockets stay open. hold: nothing comes out, and nothing is lost: all of it comes when the hold ends.
    """

    delay_s: float = 0.0
    bytes_per_s: int | None = None
    swallow: bool = False
    hold: bool = False


GOOD = Road()
DEAF = Road(swallow=True)


class TcpProxy:
    """Listens on loopback and carries what comes to `host:port`; for one event loop."""

    def __init__(self, host: str, port: int, *, listen_port: int = 0) -> None:
        """listen_port: 0 takes a free one."""
        self.up = GOOD
        self.down = GOOD
        self.port = listen_port  #: where it listens; known from entering on
        self.accepted = 0  #: connections so far
        self.carried = {"up": 0, "down": 0}  #: bytes that came out at the other end
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.admit()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_connections(self) -> int:
        """Connections with at least one end open."""
        return len(self._pairs)

    def change(self, road: Road) -> None:
        """Both directions are like this from now on."""
        self.up = self.down = road

    def cut(self) -> None:
        """Close every connection towards both ends, in order."""
        for pair in list(self._pairs):
            pair.close()

    def reset(self) -> None:
        """Reset every connection towards both ends; what was under way is gone."""
        for pair in list(self._pairs):
            pair.abort()

    async def refuse(self) -> None:
        """Close the port: connecting is refused from now on; open connections stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def admit(self) -> None:
        """Listen (again), on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            try:
                far_reader, far_writer = await asyncio.open_connection(*self._target)
            except OSError:
                _abort(writer)
                return
            pair = _Pair(writer, far_writer)
            self._pairs.add(pair)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry("up", reader, far_writer), name="up")
                    group.create_task(self._carry("down", far_reader, writer), name="down")
            finally:
                self._pairs.discard(pair)
                pair.close()
        except asyncio.CancelledError:
            _abort(writer)  # the proxy is being left; asyncio's server would log a cancelled handler
        finally:
            self._tasks.discard(task)

    async def _carry(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction of one connection until its source has closed it."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY_MAX)
        loop = asyncio.get_running_loop()

        async def take() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(CHUNK_BYTES)
                except ConnectionError:
                    data = b""
                await under_way.put((loop.time(), data))

        async def give() -> None:
            deaf = False
            while True:
                came_at_s, data = await under_way.get()
                while (road := self._road(way)).hold:  # noqa: ASYNC110 - anybody may change the road at any time
                    await asyncio.sleep(LOOK_S)
                await asyncio.sleep(max(0.0, came_at_s + road.delay_s - loop.time()))
                deaf = deaf or self._road(way).swallow
                if not deaf:
                    deaf = not await self._put(way, writer, data)
                if not data:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(take(), name=f"{way}: take")
            group.create_task(give(), name=f"{way}: give")

    async def _put(self, way: str, writer: asyncio.StreamWriter, data: bytes) -> bool:
        """Hand bytes, or the end of them, to the other side; False when it is gone."""
        try:
            if not data:
                writer.close()
                return True
            writer.write(data)
            await writer.drain()
        except ConnectionError:
            return False
        self.carried[way] += len(data)
        rate = self._road(way).bytes_per_s
        if rate is not None:
            await asyncio.sleep(len(data) / rate)
        return True

    def _road(self, way: str) -> Road:
        return self.up if way == "up" else self.down


class _Pair:
    """The two ends of one connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._ends = (near, far)

    def close(self) -> None:
        for writer in self._ends:
            writer.close()

    def abort(self) -> None:
        for writer in self._ends:
            _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    opened = writer.get_extra_info("socket")
    if opened is not None and opened.fileno() >= 0:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_AT_ONCE)
    writer.transport.abort()
