"""A foreign Modbus client on the simulated network probe, and what a bad network does to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.devices.modbus import Unit
from firmware_sim.devices.tcp_probe import MAX_CONNECTIONS, TcpProbe
from firmware_sim.links import GOOD, Faults, Link

REQUEST = bytes.fromhex("000700000006010300000001")


@pytest.fixture
async def probe(link: Link, logged: Any) -> AsyncIterator[TcpProbe]:
    unit = Unit(1, "reefer", "gw", shipped_profile("pt100"), {"air": lambda at_ms: Decimal("-20.3")})
    async with TcpProbe(unit, link=link, log=logged.log, now_ms=lambda: 99.0) as running:
        yield running


async def open_client(probe: TcpProbe) -> AsyncModbusTcpClient:
    client = AsyncModbusTcpClient(probe.host, port=probe.port, timeout=0.2, retries=0, reconnect_delay=0)
    assert await client.connect()
    return client


async def exchange(probe: TcpProbe, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(probe.host, probe.port)
    try:
        writer.write(data)
        async with asyncio.timeout(1):
            return await reader.read(300)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_foreign_client_reads_it(probe: TcpProbe, logged: Any) -> None:
    client = await open_client(probe)
    try:
        assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [0x10000 - 203]
        assert (await client.read_holding_registers(1, count=1, device_id=1)).exception_code == 2
        assert (await client.read_holding_registers(0, count=1, device_id=9)).exception_code == 0x0B
    finally:
        client.close()
    assert [(line["channel"], line["mantissa"], line["at_ms"]) for line in logged.produced] == [
        ("gw/reefer/air", -203, 99)
    ]


async def test_frames_are_exact_to_the_byte(probe: TcpProbe) -> None:
    assert (await exchange(probe, REQUEST)).hex() == "000700000005010302ff35"


@pytest.mark.parametrize(
    "faults", [Faults(hang=True), Faults(garble=1.0), Faults(drop=0.5), Faults(half=1.0)], ids=repr
)
async def test_a_bad_network_is_seen_by_the_client_and_not_counted_as_produced(
    probe: TcpProbe, link: Link, logged: Any, faults: Faults
) -> None:
    client = await open_client(probe)
    try:
        await link.change(faults)
        with pytest.raises(ModbusIOException):
            await client.read_holding_registers(0, count=1, device_id=1)
    finally:
        client.close()
    assert logged.produced == []
    await link.change(GOOD)
    assert (await exchange(probe, REQUEST)).hex() == "000700000005010302ff35"


async def test_an_unplugged_probe_refuses_and_comes_back_on_the_same_port(probe: TcpProbe, link: Link) -> None:
    reader, writer = await asyncio.open_connection(probe.host, probe.port)
    await link.change(Faults(unplugged=True))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(probe.host, probe.port)
    await link.change(GOOD)
    assert await exchange(probe, REQUEST)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\xff" * 300])
async def test_what_is_not_modbus_is_hung_up_on(probe: TcpProbe, garbage: bytes) -> None:
    try:
        assert await exchange(probe, garbage) == b""
    except ConnectionResetError:
        pass
    assert await exchange(probe, REQUEST)


async def test_random_bytes_never_stop_it(probe: TcpProbe) -> None:
    rng = random.Random(13)
    for _ in range(30):
        head = rng.randbytes(2) + b"\0\0" + bytes([0, rng.randrange(12)])
        _, writer = await asyncio.open_connection(probe.host, probe.port)
        writer.write(head + rng.randbytes(20))
        writer.close()
        await writer.wait_closed()
    assert (await exchange(probe, REQUEST)).hex() == "000700000005010302ff35"


async def test_connections_are_bounded(probe: TcpProbe) -> None:
    open_ones = [await asyncio.open_connection(probe.host, probe.port) for _ in range(MAX_CONNECTIONS)]
    try:
        assert await exchange(probe, b"") == b""
    finally:
        for _, writer in open_ones:
            writer.close()
            await writer.wait_closed()
