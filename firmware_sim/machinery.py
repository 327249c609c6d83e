"""Builds the devices of a scenario: every bus, probe and scanner with its cable, in one folder.

    FOLDER/dev/NAME          serial ports (symlinks to pseudo-terminals), keyboards (FIFOs)
    FOLDER/devices.json      where each device is (DevicePlace by name)
    FOLDER/device-log.jsonl  what the devices gave (devices/log.py), and device-incidents.jsonl beside it

Called by run.py, and by tests and journeys that bring a clock of their own.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from edge.drivers.modbus.codec import Profile, shipped_profile
from firmware_sim import controller
from firmware_sim.controller import ConstantPoint, StatePoint
from firmware_sim.devices import recorded
from firmware_sim.devices.hid_scanner import HidScanner
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Source, Unit
from firmware_sim.devices.probe import WorldProbe
from firmware_sim.devices.recorded import RecordedLog
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.devices.scanner import Scanner as AnyScanner
from firmware_sim.devices.scanner import SerialScanner
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Link
from firmware_sim.scenario import Bus, KeyboardScanner, ModbusRtu, ModbusTcp, RecordedPoint, Scanner, Scenario
from firmware_sim.world import World

DEVICES_NAME = "devices.json"


class DevicePlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a device is: a serial port's path, or host and TCP port."""

    kind: str
    gateway: str
    port: str | None = None
    host: str | None = None
    tcp_port: int | None = None


class Machinery(msgspec.Struct, frozen=True):
    """The running devices. Buses still have to be served (`RtuBus.serve`)."""

    places: dict[str, DevicePlace]
    links: dict[str, Link]
    buses: dict[str, RtuBus]
    scanners: dict[str, AnyScanner]


class _Builder:
    """What every device of one simulation is built with."""

    def __init__(
        self, scenario: Scenario, seed: int, *, files: Path, folder: Path, world: World, origin_ms: int, log: DeviceLog
    ) -> None:
        self.scenario = scenario
        self.folder = folder
        self.log = log
        self._seed = seed
        self._files = files
        self._world = world
        self._origin_ms = origin_ms
        self.links = {
            name: Link(name, random.Random(f"{seed} link {name}"))  # noqa: S311 - chance, not secrets
            for name in scenario.links
        }
        self._logs: dict[tuple[str, ...], RecordedLog] = {}

    def unit(self, device: ModbusRtu | ModbusTcp) -> Unit:
        profile = shipped_profile(device.profile)
        sources = self._sources(device, profile)
        unit_id, gateway = device.unit_id, device.gateway
        ailments = controller.ailments(device.ailment, self._origin_ms)
        return Unit(unit_id, device.name, gateway, profile, sources, device.failure, ailments)

    def _sources(self, device: ModbusRtu | ModbusTcp, profile: Profile) -> dict[str, Source]:
        sources: dict[str, Source] = {}
        for point in profile.points:
            seen = device.points[point.name]
            if isinstance(seen, RecordedPoint):
                sources[point.name] = _column(self._recorded(seen), seen.column)
            elif isinstance(seen, ConstantPoint | StatePoint):
                sources[point.name] = controller.source(seen, point, self._world)
            else:
                seed_text = f"{self._seed} {device.gateway}/{device.name}/{point.name}"
                sources[point.name] = WorldProbe(self._world, seen, point, seed_text)
        return sources

    def _recorded(self, seen: RecordedPoint) -> RecordedLog:
        """The log of a recorded point, read once for all points that name it alike."""
        key = _log_key(seen)
        if key not in self._logs:
            points = [
                p for d in self.scenario.device if isinstance(d, ModbusRtu | ModbusTcp) for p in d.points.values()
            ]
            columns = {p.column for p in points if isinstance(p, RecordedPoint) and _log_key(p) == key}
            self._logs[key] = recorded.load(
                self._files / seen.file,
                columns=sorted(columns),
                time_columns=seen.time_columns,
                zone=seen.zone,
                time_format=seen.time_format,
            )
        return self._logs[key]


@asynccontextmanager
async def running(
    scenario: Scenario, folder: Path, *, files: Path, now_ms: Callable[[], float], origin_ms: int, seed: int
) -> AsyncIterator[Machinery]:
    """All devices of a scenario, until left. files: the folder that recorded logs are relative to.

    Raises RecordedError for a log that cannot be played.
    """
    ports = _ports(folder)
    async with AsyncExitStack() as stack:
        log = stack.enter_context(DeviceLog(folder))
        world = World(scenario, seed, origin_ms)
        build = _Builder(scenario, seed, files=files, folder=ports, world=world, origin_ms=origin_ms, log=log)
        machinery = Machinery({}, build.links, {}, {})
        for bus in scenario.bus:
            machinery.buses[bus.name] = await stack.enter_async_context(_bus(build, bus, now_ms))
        for device in scenario.device:
            if isinstance(device, Scanner):
                scanner = await stack.enter_async_context(_scanner(build, device, now_ms))
                machinery.scanners[device.name] = scanner
                place = DevicePlace("scanner", device.gateway, port=str(ports / device.name))
            elif isinstance(device, KeyboardScanner):
                typist = await stack.enter_async_context(_typist(build, device, now_ms))
                machinery.scanners[device.name] = typist
                place = DevicePlace("hid-scanner", device.gateway, port=str(ports / device.name))
            elif isinstance(device, ModbusTcp):
                probe = await stack.enter_async_context(_probe(build, device, now_ms))
                place = DevicePlace("modbus-tcp", device.gateway, host=probe.host, tcp_port=probe.port)
            else:
                place = DevicePlace("modbus-rtu", device.gateway, port=str(ports / device.bus))
            machinery.places[device.name] = place
        fresh = folder / f"{DEVICES_NAME}.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(machinery.places), indent=2))
        fresh.replace(folder / DEVICES_NAME)
        yield machinery


def _ports(folder: Path) -> Path:
    """Where serial ports appear: absolute, because gateways have folders of their own."""
    ports = folder.absolute() / "dev"
    ports.mkdir(parents=True, exist_ok=True)
    return ports


def _bus(build: _Builder, bus: Bus, now_ms: Callable[[], float]) -> RtuBus:
    on_it = [device for device in build.scenario.device if isinstance(device, ModbusRtu) and device.bus == bus.name]
    return RtuBus(
        build.folder / bus.name,
        [build.unit(device) for device in on_it],
        link=build.links[bus.name],
        log=build.log,
        now_ms=now_ms,
        baudrate=bus.baudrate,
        turnaround_s=bus.turnaround_ms / 1000,
        paced=bus.paced,
    )


def _probe(build: _Builder, device: ModbusTcp, now_ms: Callable[[], float]) -> TcpProbe:
    link = build.links[device.name]
    return TcpProbe(build.unit(device), link=link, log=build.log, now_ms=now_ms, port=device.tcp_port)


def _scanner(build: _Builder, device: Scanner, now_ms: Callable[[], float]) -> SerialScanner:
    return SerialScanner(
        build.folder / device.name,
        name=device.name,
        channel=f"{device.gateway}/{device.name}/{device.point}",
        link=build.links[device.name],
        log=build.log,
        now_ms=now_ms,
        suffix=device.suffix,
        aim=device.aim,
        fnc1=device.fnc1,
        habits=device.habits,
    )


def _typist(build: _Builder, device: KeyboardScanner, now_ms: Callable[[], float]) -> HidScanner:
    return HidScanner(
        build.folder / device.name,
        name=device.name,
        channel=f"{device.gateway}/{device.name}/{device.point}",
        link=build.links[device.name],
        log=build.log,
        now_ms=now_ms,
        typing=device.typing,
        habits=device.habits,
    )


def _log_key(seen: RecordedPoint) -> tuple[str, ...]:
    return (seen.file, seen.zone, seen.time_format, *seen.time_columns)


def _column(log: RecordedLog, column: str) -> Source:
    return lambda at_ms: log.at(column, at_ms)
