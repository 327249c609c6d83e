"""Builds the devices of a scenario: every bus, probe, reader and scanner with its cable, in one folder.

    FOLDER/dev/NAME          serial ports (symlinks to pseudo-terminals), keyboards (FIFOs)
    FOLDER/w1/ID             1-wire sensors, as the kernel shows them
    FOLDER/bus.sock          the D-Bus on which the simulated Bluetooth adapter is
    FOLDER/devices.json      where each device is (DevicePlace by name)
    FOLDER/device-log.jsonl  what the devices gave (devices/log.py), and device-incidents.jsonl beside it

Called by run.py, and by tests and journeys that bring a clock of their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from firmware_sim import site
from firmware_sim.devices.hid_scanner import HidScanner
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.devices.scanner import Scanner as AnyScanner
from firmware_sim.devices.scanner import SerialScanner
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.kinds import (
    BleSensor,
    Bus,
    Gps,
    KeyboardScanner,
    LineSensor,
    ModbusRtu,
    ModbusTcp,
    OneWireSensor,
    RfidModule,
    RfidReader,
    Scanner,
)
from firmware_sim.links import Link
from firmware_sim.parts import Built, DevicePlace, Parts, Serve
from firmware_sim.scenario import Scenario

DEVICES_NAME = "devices.json"


class Machinery(msgspec.Struct, frozen=True):
    """The running devices. Buses still have to be served (`RtuBus.serve`), and so have the services of the others."""

    places: dict[str, DevicePlace]
    links: dict[str, Link]
    buses: dict[str, RtuBus]
    scanners: dict[str, AnyScanner]
    services: dict[str, Serve]


@asynccontextmanager
async def running(
    scenario: Scenario, folder: Path, *, files: Path, now_ms: Callable[[], float], origin_ms: int, seed: int
) -> AsyncIterator[Machinery]:
    """All devices of a scenario, until left. files: the folder that recorded logs are relative to.

    Raises RecordedError for a log that cannot be played.
    """
    home = _home(folder)
    async with AsyncExitStack() as stack:
        parts = Parts(scenario, seed, files=files, folder=home, origin_ms=origin_ms, now_ms=now_ms, stack=stack)
        machinery = Machinery({}, parts.links, {}, {}, {})
        for bus in scenario.bus:
            machinery.buses[bus.name] = await stack.enter_async_context(_bus(parts, bus))
        for device in scenario.device:
            built = await _BUILD[type(device)](parts, device)
            machinery.places[device.name] = built.place
            if built.scanner is not None:
                machinery.scanners[device.name] = built.scanner
            if built.serve is not None:
                machinery.services[device.name] = built.serve
        fresh = folder / f"{DEVICES_NAME}.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(machinery.places), indent=2))
        fresh.replace(folder / DEVICES_NAME)
        yield machinery


def _home(folder: Path) -> Path:
    """The folder with a place for serial ports in it: absolute, because gateways have folders of their own."""
    home = folder.absolute()
    (home / "dev").mkdir(parents=True, exist_ok=True)
    return home


def _bus(parts: Parts, bus: Bus) -> RtuBus:
    on_it = [device for device in parts.scenario.device if isinstance(device, ModbusRtu) and device.bus == bus.name]
    return RtuBus(
        parts.ports / bus.name,
        [parts.unit(device) for device in on_it],
        **parts.lent(bus.name),
        baudrate=bus.baudrate,
        turnaround_s=bus.turnaround_ms / 1000,
        paced=bus.paced,
        own_baudrates={device.unit_id: device.baudrate for device in on_it if device.baudrate is not None},
    )


async def _slave(parts: Parts, device: ModbusRtu) -> Built:
    """One on a bus, which is there already."""
    return Built(DevicePlace("modbus-rtu", device.gateway, port=str(parts.ports / device.bus)))


async def _probe(parts: Parts, device: ModbusTcp) -> Built:
    probe = TcpProbe(parts.unit(device), **parts.lent(device.name), port=device.tcp_port)
    await parts.stack.enter_async_context(probe)
    return Built(DevicePlace("modbus-tcp", device.gateway, host=probe.host, tcp_port=probe.port))


async def _scanner(parts: Parts, device: Scanner) -> Built:
    path = parts.ports / device.name
    scanner = SerialScanner(
        path,
        name=device.name,
        channel=f"{device.gateway}/{device.name}/{device.point}",
        **parts.lent(device.name),
        suffix=device.suffix,
        aim=device.aim,
        fnc1=device.fnc1,
        habits=device.habits,
    )
    await parts.stack.enter_async_context(scanner)
    return Built(DevicePlace("scanner", device.gateway, port=str(path)), scanner=scanner)


async def _typist(parts: Parts, device: KeyboardScanner) -> Built:
    path = parts.ports / device.name
    typist = HidScanner(
        path,
        name=device.name,
        channel=f"{device.gateway}/{device.name}/{device.point}",
        **parts.lent(device.name),
        typing=device.typing,
        habits=device.habits,
    )
    await parts.stack.enter_async_context(typist)
    return Built(DevicePlace("hid-scanner", device.gateway, port=str(path)), scanner=typist)


_BUILD: dict[type, Callable[[Parts, Any], Awaitable[Built]]] = {
    ModbusRtu: _slave,
    ModbusTcp: _probe,
    Scanner: _scanner,
    KeyboardScanner: _typist,
    RfidReader: site.reader,
    RfidModule: site.module,
    BleSensor: site.broadcaster,
    LineSensor: site.line,
    OneWireSensor: site.thermometer,
    Gps: site.satellites,
}
