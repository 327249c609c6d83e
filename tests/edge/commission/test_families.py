"""Each family's finder, against the family's own simulated device."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.commission import letters
from edge.commission.finder import Asked, Cause, Finding
from edge.commission.ports import Port
from edge.commission.scan import Held, scan
from edge.config import parse_config
from edge.drivers.hid import device as hid_device
from edge.drivers.hid import find as hid_find
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.onewire import OneWireBus, Sensor
from firmware_sim.devices.rfid_module import UhfModule
from firmware_sim.devices.rfid_reader import LlrpReader
from firmware_sim.links import Link
from tests.edge.commission.line import Line

SENSOR = "28-0316a2795bff"


async def look(**asked: Any) -> list[Finding]:
    held: Held | None = asked.pop("held", None)
    return await scan(Asked(units=[1], **asked), lambda _: None, lambda _: None, held=held)


@asynccontextmanager
async def simulated(folder: Path, make: Any) -> AsyncIterator[Any]:
    with DeviceLog(folder) as log:
        device = make(link=Link("x", random.Random(1)), log=log, now_ms=lambda: 0)
        async with device:
            serving = asyncio.create_task(device.serve()) if hasattr(device, "serve") else None
            yield device
            if serving is not None:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)


def config_of(finding: Finding, tmp_path: Path) -> None:
    """What was found is a right configuration as it stands."""
    from edge.commission.bind import table_text

    text = '[gateway]\nname = "gw"\ndata_dir = "d"\n[uplink]\nhost = "h"\ncloud_key = "k"\n'
    table = {"name": "found", **finding.table} | ({"interval_s": 60} if finding.channels else {})
    assert len(parse_config(text + table_text("device", table), tmp_path / "gateway.toml").devices) == 1


async def test_rfid_module_is_found_on_its_port(tmp_path: Path) -> None:
    def make(**how: Any) -> UhfModule:
        return UhfModule(tmp_path / "module", name="m", channel="gw/m/pass", **how)

    async with simulated(tmp_path, make):
        (found,) = await look(ports=[Port(str(tmp_path / "module"))])
    assert found.what == "UHF RFID module"
    assert found.table == {"driver": "uhf", "port": str(tmp_path / "module")}
    assert found.live
    config_of(found, tmp_path)


async def test_rfid_reader_is_found_by_its_greeting(tmp_path: Path) -> None:
    async with simulated(tmp_path, lambda **how: LlrpReader(name="r", channel="gw/r/pass", **how)) as reader:
        (found,) = await look(hosts=[f"{reader.host}:{reader.port}"], families=["llrp"])
    assert found.what.startswith("RFID reader (LLRP)")
    assert found.table == {"driver": "llrp", "host": reader.host, "port": reader.port}
    config_of(found, tmp_path)


async def test_host_without_anything_is_no_finding(free_port: Any) -> None:
    assert await look(hosts=[f"127.0.0.1:{free_port()}"]) == []


async def test_thermometers_of_the_kernel_are_read(tmp_path: Path) -> None:
    bus = tmp_path / "w1"
    sensors = {SENSOR: Sensor("gw/a/air", lambda _: -341)}

    def make(**how: Any) -> OneWireBus:
        return OneWireBus(bus, sensors, name="w1", measure_s=0.0, **how)

    async with simulated(tmp_path, make):
        (found,) = await look(w1_buses=[str(bus)])
        assert found.live == ["air -21.3125 °C"]
        assert found.table == {"driver": "onewire", "sensor": SENSOR, "bus": str(bus)}
        config_of(found, tmp_path)
        status = letters.Look("", None, [letters.Held("a", f"w1:{bus}", f"sensor {SENSOR}")], [], False)  # type: ignore[arg-type]
        assert Held(status).has(found)
    assert await look(w1_buses=[str(tmp_path / "nowhere")]) == []


async def test_lines_of_text_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with Line(path, lambda *_: b"", talk=b"warm; OK\r\n"):
        (found,) = await look(ports=[Port(str(path))])
    assert found.what == "a device that sends lines of text"
    assert found.live[0] == "warm; OK"
    assert "serial_line" in found.fault


async def test_scanner_that_plays_a_keyboard_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [
        hid_device.InputDevice(Path("/dev/input/event0"), "AT Translated Set 2 keyboard", "isa0060/serio0", "", True),
        hid_device.InputDevice(
            Path("/dev/input/event4"), "Newland HR22 Barcode Reader", "usb-1.2/input0", "S123", True
        ),
        hid_device.InputDevice(Path("/dev/input/event5"), "Barcode LED", "usb-1.3/input1", "", False),
    ]
    monkeypatch.setattr(hid_find, "input_devices", lambda: devices)
    (found,) = await look()
    assert found.table == {"driver": "hid", "match": {"name": "Newland HR22 Barcode Reader", "uniq": "S123"}}
    config_of(found, tmp_path)


async def test_without_a_radio_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bleak")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
    async with asyncio.timeout(20):
        (found,) = await look(radio_s=0.2, families=["ble"])
    assert found.cause is Cause.UNUSABLE
