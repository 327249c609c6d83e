"""What every device of one simulation is built with: its cable, the world that it measures, the log, the clock."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from edge.drivers.modbus.codec import shipped_profile
from firmware_sim import controller
from firmware_sim.controller import ConstantPoint, StatePoint
from firmware_sim.devices import recorded
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Source, Unit
from firmware_sim.devices.probe import WorldProbe
from firmware_sim.devices.recorded import RecordedLog
from firmware_sim.devices.scanner import Scanner
from firmware_sim.kinds import AnyModbus, BrokenPoint, Point, RecordedPoint
from firmware_sim.links import Link
from firmware_sim.scenario import Scenario
from firmware_sim.world import World

Serve = Callable[[], Awaitable[None]]


class DevicePlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a device is: the path of its port or folder, its host and TCP port, or its address in the air.

    dbus: the address of the D-Bus on which the radio is (DBUS_SYSTEM_BUS_ADDRESS of whoever is to hear it).
    """

    kind: str
    gateway: str
    port: str | None = None
    host: str | None = None
    tcp_port: int | None = None
    folder: str | None = None
    address: str | None = None
    dbus: str | None = None


class Built(msgspec.Struct, frozen=True):
    """A device that is there. serve: what has to run for it to work. scanner: by which somebody can scan."""

    place: DevicePlace
    serve: Serve | None = None
    scanner: Scanner | None = None


class Parts:
    """Lent to those who build devices. stack: what closes them all."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        *,
        files: Path,
        folder: Path,
        origin_ms: int,
        now_ms: Callable[[], float],
        stack: AsyncExitStack,
    ) -> None:
        self.scenario = scenario
        self.folder = folder
        self.ports = folder / "dev"
        self.log = stack.enter_context(DeviceLog(folder))
        self.now_ms = now_ms
        self.stack = stack
        self.shared: dict[str, Any] = {}  # what several devices have in common, by whoever builds it
        self._seed = seed
        self._files = files
        self._world = World(scenario, seed, origin_ms)
        self._origin_ms = origin_ms
        self.links = {
            name: Link(name, random.Random(f"{seed} link {name}"))  # noqa: S311 - chance, not secrets
            for name in scenario.links
        }
        self._logs: dict[tuple[str, ...], RecordedLog] = {}

    def lent(self, link: str) -> dict[str, Any]:
        """The arguments that every simulated device takes."""
        return {"link": self.links[link], "log": self.log, "now_ms": self.now_ms}

    def unit(self, device: AnyModbus) -> Unit:
        """A Modbus slave."""
        profile = shipped_profile(device.profile)
        sources = {
            point.name: self.source(device.points[point.name], point.exponent, f"{device.name}/{point.name}", device)
            for point in profile.points
        }
        ailments = controller.ailments(device.ailment, self._origin_ms)
        return Unit(device.unit_id, device.name, device.gateway, profile, sources, device.failure, ailments)

    def source(self, seen: Point, exponent: int, channel: str, device: Any) -> Source:
        """Where a device has the value of a point from. exponent: of its steps."""
        if isinstance(seen, RecordedPoint):
            return _column(self._recorded(seen), seen.column)
        if isinstance(seen, ConstantPoint | StatePoint):
            return controller.source(seen, exponent, self._world)
        if isinstance(seen, BrokenPoint):
            return lambda _at_ms: None
        return WorldProbe(self._world, seen, exponent, f"{self._seed} {device.gateway}/{channel}")

    def _recorded(self, seen: RecordedPoint) -> RecordedLog:
        """The log of a recorded point, read once for all points that name it alike."""
        key = _log_key(seen)
        if key not in self._logs:
            points = [point for device in self.scenario.device for point in getattr(device, "points", {}).values()]
            columns = {p.column for p in points if isinstance(p, RecordedPoint) and _log_key(p) == key}
            self._logs[key] = recorded.load(
                self._files / seen.file,
                columns=sorted(columns),
                time_columns=seen.time_columns,
                zone=seen.zone,
                time_format=seen.time_format,
            )
        return self._logs[key]


def _log_key(seen: RecordedPoint) -> tuple[str, ...]:
    return (seen.file, seen.zone, seen.time_format, *seen.time_columns)


def _column(log: RecordedLog, column: str) -> Source:
    return lambda at_ms: log.at(column, at_ms)
