"""A foreign Modbus client on the simulated serial line: pymodbus over the pty; and what hostile cables do to it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusIOException

from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.devices.ailments import Ailment
from firmware_sim.devices.modbus import Unit, rtu_frame
from firmware_sim.devices.rtu_bus import MAX_WAITING, RtuBus
from firmware_sim.links import GOOD, Faults, Link

READ_TWO = bytes.fromhex("0400010002")
WIRE_S = (8 + 3.5 + 9) * 10 / 9600  # request, silence and answer of READ_TWO at 9600 baud


def unit(unit_id: int, air: str) -> Unit:
    sources = {"air": lambda at_ms: Decimal(air), "humidity": lambda at_ms: Decimal("55.5")}
    return Unit(unit_id, f"room-{unit_id}", "gw", shipped_profile("xy-md02"), sources)


@pytest.fixture
def bus(tmp_path: Path, link: Link, logged: Any) -> RtuBus:
    units = [unit(1, "-18.5"), unit(2, "4.0")]
    return RtuBus(tmp_path / "tty", units, link=link, log=logged.log, now_ms=lambda: 1234.9, paced=False)


async def open_client(path: Path, timeout_s: float = 0.2) -> AsyncModbusSerialClient:
    client = AsyncModbusSerialClient(
        str(path), framer=FramerType.RTU, baudrate=9600, timeout=timeout_s, retries=0, reconnect_delay=0
    )
    assert await client.connect()
    return client


async def test_a_foreign_client_reads_every_unit_of_the_bus(
    tmp_path: Path, bus: RtuBus, serve: Callable[..., Any], logged: Any
) -> None:
    async with bus:
        serve(bus.serve())
        client = await open_client(tmp_path / "tty")
        try:
            assert (await client.read_input_registers(1, count=2, device_id=1)).registers == [0xFF47, 555]
            assert (await client.read_input_registers(1, count=1, device_id=2)).registers == [40]
            assert (await client.read_input_registers(9, count=1, device_id=2)).exception_code == 2
            assert (await client.read_coils(0, count=1, device_id=1)).exception_code == 1
            with pytest.raises(ModbusIOException):
                await client.read_input_registers(1, count=2, device_id=3)
        finally:
            client.close()
    values = [(line["channel"], line["mantissa"], line["exponent"], line["at_ms"]) for line in logged.produced]
    assert values == [
        ("gw/room-1/air", -185, -1, 1234),
        ("gw/room-1/humidity", 555, -1, 1234),
        ("gw/room-2/air", 40, -1, 1234),
    ]
    assert all(0 <= time.monotonic() - line["host_s"] < 60 for line in logged.produced)


async def test_an_answer_takes_at_least_its_time_on_the_wire(
    tmp_path: Path, link: Link, logged: Any, serve: Callable[..., Any]
) -> None:
    paced = RtuBus(
        tmp_path / "tty", [unit(1, "-18.5")], link=link, log=logged.log, now_ms=lambda: 0, turnaround_s=0.003
    )
    async with paced:
        serve(paced.serve())
        client = await open_client(tmp_path / "tty", timeout_s=1)
        try:
            for _ in range(5):
                started_s = time.monotonic()
                await client.read_input_registers(1, count=2, device_id=1)
                assert time.monotonic() - started_s >= WIRE_S + 0.003
        finally:
            client.close()


@pytest.mark.parametrize(
    "faults", [Faults(hang=True), Faults(garble=1.0), Faults(drop=0.5), Faults(half=1.0)], ids=repr
)
async def test_a_bad_cable_is_seen_by_the_client_and_not_counted_as_produced(
    tmp_path: Path, bus: RtuBus, link: Link, serve: Callable[..., Any], logged: Any, faults: Faults
) -> None:
    async with bus:
        serve(bus.serve())
        client = await open_client(tmp_path / "tty")
        try:
            await link.change(faults)
            with pytest.raises(ModbusIOException):
                await client.read_input_registers(1, count=2, device_id=1)
            assert logged.produced == []
            await link.change(GOOD)
            await asyncio.sleep(0.05)  # what was garbled ends by silence
            assert (await client.read_input_registers(1, count=2, device_id=1)).registers == [0xFF47, 555]
        finally:
            client.close()
    assert len(logged.produced) == 2


async def test_a_slow_cable_delays_the_answer(
    tmp_path: Path, bus: RtuBus, link: Link, serve: Callable[..., Any]
) -> None:
    async with bus:
        serve(bus.serve())
        client = await open_client(tmp_path / "tty", timeout_s=1)
        try:
            await link.change(Faults(delay_s=0.15))
            started_s = time.monotonic()
            await client.read_input_registers(1, count=2, device_id=1)
            assert time.monotonic() - started_s >= 0.15
        finally:
            client.close()


async def test_an_unplugged_port_is_gone_and_comes_back(
    tmp_path: Path, bus: RtuBus, link: Link, serve: Callable[..., Any]
) -> None:
    path = tmp_path / "tty"
    async with bus:
        serve(bus.serve())
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        await link.change(Faults(unplugged=True))
        assert os.read(descriptor, 10) == b""  # hung up
        os.close(descriptor)
        assert not path.is_symlink()
        await link.change(GOOD)
        client = await open_client(path)
        assert (await client.read_input_registers(1, count=1, device_id=2)).registers == [40]
        client.close()
    assert not path.is_symlink()


async def test_an_answer_that_nobody_listens_to_is_not_produced(
    tmp_path: Path, bus: RtuBus, serve: Callable[..., Any], logged: Any
) -> None:
    async with bus:
        serve(bus.serve())
        descriptor = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(descriptor, rtu_frame(1, READ_TWO))
        os.close(descriptor)  # the gateway dies before the answer
        await asyncio.sleep(0.1)
        assert logged.produced == []
        client = await open_client(tmp_path / "tty")
        assert (await client.read_input_registers(1, count=1, device_id=2)).registers == [40]
        client.close()


async def test_a_flood_of_requests_is_bounded(
    tmp_path: Path, bus: RtuBus, serve: Callable[..., Any], logged: Any
) -> None:
    async with bus:
        serve(bus.serve())
        descriptor = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(descriptor, rtu_frame(1, READ_TWO) * 100)
        async with asyncio.timeout(5):
            while len(logged.produced) < 2 * MAX_WAITING:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        os.close(descriptor)
    assert len(logged.produced) <= 2 * (MAX_WAITING + 1), "one was being answered, the others waited"


async def test_two_devices_with_one_unit_id_are_not_understood(
    tmp_path: Path, link: Link, logged: Any, serve: Callable[..., Any]
) -> None:
    units = [unit(1, "-18.5"), unit(1, "4.0"), unit(2, "5.0")]
    async with RtuBus(tmp_path / "tty", units, link=link, log=logged.log, now_ms=lambda: 0, paced=False) as bus:
        serve(bus.serve())
        client = await open_client(tmp_path / "tty")
        try:
            with pytest.raises(ModbusIOException):
                await client.read_input_registers(1, count=2, device_id=1)
            await asyncio.sleep(0.05)
            assert (await client.read_input_registers(1, count=1, device_id=2)).registers == [50]
        finally:
            client.close()
    assert [line["channel"] for line in logged.produced] == ["gw/room-2/air"]


async def test_a_slow_device_answers_late(tmp_path: Path, link: Link, logged: Any, serve: Callable[..., Any]) -> None:
    slow = unit(1, "-18.5")._replace(ailments=(Ailment("slow", 0.2),))
    async with RtuBus(tmp_path / "tty", [slow], link=link, log=logged.log, now_ms=lambda: 0, paced=False) as bus:
        serve(bus.serve())
        client = await open_client(tmp_path / "tty", timeout_s=1)
        try:
            started_s = time.monotonic()
            await client.read_input_registers(1, count=2, device_id=1)
            assert time.monotonic() - started_s >= 0.2
        finally:
            client.close()
