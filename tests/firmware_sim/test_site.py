"""The simulated warehouse: what it is made of, where each device is, and what a stray baud rate does."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import serialx

from edge.commission.bind import table_text
from edge.config import parse_config
from firmware_sim.bluez.bus import dbus_daemon
from firmware_sim.control import Control, ControlError, ask, listening
from firmware_sim.devices.log import PRODUCED_NAME, DeviceLog
from firmware_sim.devices.modbus import rtu_frame
from firmware_sim.devices.scanner import SerialScanner
from firmware_sim.gateway_config import gateway_configs
from firmware_sim.kinds import BrokenPoint, ModbusRtu
from firmware_sim.links import Link
from firmware_sim.machinery import Machinery, running
from firmware_sim.scenario import ScenarioError, find, load

SCENARIO = load(find("warehouse"))
pytestmark = pytest.mark.skipif(dbus_daemon() is None, reason="dbus-daemon is not installed")


def simulated(folder: Path) -> AbstractAsyncContextManager[Machinery]:
    now_ms = time.time() * 1000
    return running(
        SCENARIO, folder, files=folder, now_ms=lambda: time.time() * 1000, origin_ms=int(now_ms), seed=SCENARIO.seed
    )


def test_twelve_devices_of_six_kinds_two_of_them_faulty() -> None:
    kinds = {type(device).__name__ for device in SCENARIO.device}
    families = {"ModbusRtu": 1, "Scanner": 2, "KeyboardScanner": 2, "RfidReader": 3, "RfidModule": 3}
    families |= {"BleSensor": 4, "OneWireSensor": 5, "LineSensor": 6}
    assert len(SCENARIO.device) == 12
    assert {families[kind] for kind in kinds} == set(range(1, 7))
    slaves = [device for device in SCENARIO.device if isinstance(device, ModbusRtu)]
    broken = [one.name for one in slaves if any(isinstance(each, BrokenPoint) for each in one.points.values())]
    assert broken == ["freezer"]
    assert [one.name for one in slaves if one.baudrate is not None] == ["hall"]


async def test_every_device_has_a_place_and_a_table_that_passes_the_check(tmp_path: Path) -> None:
    async with simulated(tmp_path) as machinery:
        assert {path.name for path in (tmp_path / "dev").iterdir()} == {
            "rs485", "scanner-packing", "scanner-room-1", "table-packing", "logger-chill",
        }  # fmt: skip
        assert [path.name for path in (tmp_path / "w1").iterdir()] == ["28-0316a2795bff"]
        (tables,) = gateway_configs(SCENARIO, machinery.places).values()
    head = '[gateway]\nname = "gw"\ndata_dir = "d"\n[uplink]\nhost = "h"\ncloud_key = "k"\n'
    healthy = [table for table in tables if table["name"] != "hall"]  # its line cannot be set to both rates
    whole = head + "".join(table_text("device", table) for table in healthy)
    assert len(parse_config(whole, tmp_path / "gateway.toml").devices) == 11


async def test_devices_do_their_work(tmp_path: Path) -> None:
    """The logger writes by itself, and the log tells what it said; a 1-wire read waits for its measurement."""
    async with simulated(tmp_path) as machinery:
        served = [asyncio.create_task(serve()) for serve in machinery.services.values()]
        port = serialx.async_serial_for_url(str(tmp_path / "dev" / "logger-chill"), baudrate=9600)
        await port.open()
        line = b""
        async with asyncio.timeout(10):
            while b"\n" not in line:
                line += await port.read(100)
        port.abort()
        await port.wait_closed()
        slave = tmp_path / "w1" / "28-0316a2795bff" / "w1_slave"
        text = await asyncio.to_thread(slave.read_text)
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
    assert line.startswith(b'{"temperature": ')
    assert "YES" in text
    assert "logger-chill/temperature" in (tmp_path / PRODUCED_NAME).read_text()


async def test_slave_with_another_rate_hears_only_that(tmp_path: Path) -> None:
    async with simulated(tmp_path) as machinery:
        bus = asyncio.create_task(machinery.buses["rs485"].serve())

        async def answered(unit: int, baudrate: int) -> bool:
            port = serialx.async_serial_for_url(str(tmp_path / "dev" / "rs485"), baudrate=baudrate)
            await port.open()
            try:
                async with asyncio.timeout(0.5):
                    await port.write(rtu_frame(unit, bytes([4, 0, 1, 0, 2])))
                    return bool(await port.read(1))
            except TimeoutError:
                return False
            finally:
                port.abort()
                await port.wait_closed()
                await asyncio.sleep(0.1)

        found = [await answered(unit, rate) for unit, rate in ((1, 9600), (4, 9600), (4, 19200), (1, 19200))]
        bus.cancel()
    assert found == [True, False, True, False]


async def test_somebody_scans_by_command(tmp_path: Path) -> None:
    with DeviceLog(tmp_path) as log:
        link = Link("s", random.Random(1))
        scanner = SerialScanner(
            tmp_path / "port", name="s", channel="gw/s/scan", link=link, log=log, now_ms=lambda: 0.0
        )
        path = tmp_path / "control.sock"
        async with scanner, listening(path, Control({"s": link}, {"s": scanner})):
            with pytest.raises(ControlError, match="no scanner 'x'"):
                await ask(path, "scan x C1 A")
            asking = asyncio.create_task(ask(path, "scan s C1 ABC"))
            await asyncio.sleep(0.1)
            assert not asking.done()  # nobody listens yet
            port = serialx.async_serial_for_url(str(tmp_path / "port"), baudrate=9600)
            await port.open()
            assert await asyncio.wait_for(asking, 10) == ""
            port.abort()
            await port.wait_closed()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("antennas = [1, 2]", "antennas = [1, 9]", "no number 9"),
        ('"CB:B8:33:4C:88:4F"', '"CB:B8"', "address"),
        ('sensor = "28-0316a2795bff"', 'sensor = "28"', "sensor"),
        ('place = "dock", measurement = "humidity"', 'place = "moon", measurement = "humidity"', "no place 'moon'"),
        ('"302F53A19410004000001A85"', '"302F5"', "epcs"),
        ("baudrate = 19200", "baudrate = 1", "baudrate"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = find("warehouse").read_text()
    assert old in text
    path = tmp_path / "s.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ScenarioError, match=words):
        load(path)
