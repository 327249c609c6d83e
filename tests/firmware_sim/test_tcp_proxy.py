"""The bad line between programs does exactly the harm it is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from firmware_sim.tcp_proxy import DEAF, GOOD, Road, TcpProxy


class Echo:
    """A server that sends back what it gets; `closed` counts the connections whose end it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.opened = self.closed = 0
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while data := await reader.read(65536):
                self.got += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        self.closed += 1
        writer.close()


@asynccontextmanager
async def echo_behind_line() -> AsyncIterator[tuple[Echo, TcpProxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    async with TcpProxy("127.0.0.1", echo.port) as line:
        yield echo, line
    server.close()
    async with asyncio.timeout(5):
        while echo.closed < echo.opened:  # leaving the line ends what it held open
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)


async def connect(line: TcpProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", line.port)


async def answer(reader: asyncio.StreamReader, count: int, timeout_s: float = 5) -> bytes:
    async with asyncio.timeout(timeout_s):
        return await reader.readexactly(count)


async def nothing_comes(reader: asyncio.StreamReader, for_s: float = 0.2) -> None:
    with pytest.raises(TimeoutError):
        await answer(reader, 1, for_s)


async def test_a_good_line_carries_everything_and_closes() -> None:
    async with echo_behind_line() as (echo, line):
        reader, writer = await connect(line)
        sent = bytes(range(256)) * 4000
        writer.write(sent)
        assert await answer(reader, len(sent)) == sent
        assert line.carried == {"up": len(sent), "down": len(sent)}
        writer.close()
        while line.open_connections:
            await asyncio.sleep(0.01)
        assert echo.closed == 1


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_deaf_direction_closes_nothing_and_stays_deaf(way: str) -> None:
    async with echo_behind_line() as (echo, line):
        reader, writer = await connect(line)
        setattr(line, way, DEAF)
        writer.write(b"lost")
        await nothing_comes(reader)
        assert echo.got == (b"" if way == "up" else b"lost")
        line.change(GOOD)
        writer.write(b"after the hole")
        await nothing_comes(reader)  # a stream has no hole: this connection is dead, a new one is well
        reader_2, writer_2 = await connect(line)
        writer_2.write(b"new")
        assert await answer(reader_2, 3) == b"new"
        for each in (writer, writer_2):
            each.close()


async def test_a_swallowed_close_is_not_seen_at_the_other_end() -> None:
    async with echo_behind_line() as (echo, line):
        reader, writer = await connect(line)
        writer.write(b"a")
        await answer(reader, 1)
        line.change(DEAF)
        writer.close()
        await asyncio.sleep(0.2)
        assert (echo.opened, echo.closed) == (1, 0)


async def test_a_held_direction_loses_nothing() -> None:
    async with echo_behind_line() as (_, line):
        reader, writer = await connect(line)
        line.up = Road(hold=True)
        writer.write(b"later")
        await nothing_comes(reader)
        line.up = GOOD
        assert await answer(reader, 5) == b"later"
        writer.close()


async def test_delay_and_throttle_take_their_time() -> None:
    async with echo_behind_line() as (_, line):
        reader, writer = await connect(line)
        for road, count in ((Road(delay_s=0.2), 10), (Road(bytes_per_s=50_000), 20_000)):
            line.up = road
            began_s = time.monotonic()
            writer.write(bytes(count))
            assert await answer(reader, count) == bytes(count)
            writer.write(bytes(1))
            await answer(reader, 1)
            assert time.monotonic() - began_s >= 0.39
        writer.close()


async def test_cut_is_an_end_and_reset_an_error() -> None:
    async with echo_behind_line() as (echo, line):
        reader, writer = await connect(line)
        writer.write(b"a")
        await answer(reader, 1)
        line.cut()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await connect(line)
        writer.write(b"a")
        await answer(reader, 1)
        line.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        while echo.closed < 2:
            await asyncio.sleep(0.01)
        writer.close()


async def test_a_refusing_line_refuses_and_admits_on_the_same_port() -> None:
    async with echo_behind_line() as (_, line):
        port = line.port
        await line.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(line)
        await line.admit()
        assert line.port == port
        _, writer = await connect(line)
        writer.close()


async def test_without_a_target_who_connects_is_reset() -> None:
    async with echo_behind_line() as (echo, _):
        port = echo.port
    async with TcpProxy("127.0.0.1", port) as line:
        reader, writer = await connect(line)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
