"""Rules between the keys of a scenario: what refers to something finds it, what is named is named once. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from edge.drivers.barcode.codec import Code, encode
from edge.drivers.hid.codec import type_text
from edge.drivers.modbus.codec import profile_names, shipped_profile
from firmware_sim.controller import StatePoint
from firmware_sim.kinds import (
    AnyModbus,
    AnyRfid,
    AnyScanner,
    BleSensor,
    Device,
    KeyboardScanner,
    LineSensor,
    ModbusRtu,
    OneWireSensor,
    RfidReader,
    WorldPoint,
)
from firmware_sim.place import AMBIENT
from wire.observation import is_channel

if TYPE_CHECKING:  # it calls us
    from firmware_sim.scenario import Scenario

CLIMATE = ("temperature", "humidity")


def problems(scenario: Scenario) -> Iterator[str]:
    """Everything that is wrong, each with the path to its key."""
    places = {place.name for place in scenario.place}
    yield from _twice("place", (place.name for place in scenario.place))
    yield from _twice("gateway", (gateway.name for gateway in scenario.gateway))
    yield from _twice("link", scenario.links)
    yield from _twice("device", (device.name for device in scenario.device))
    for index, place in enumerate(scenario.place):
        if place.door is not None and place.door.outside not in places | {AMBIENT}:
            yield f"$.place[{index}].door.outside: no place {place.door.outside!r}"
        for spell in [*place.running, *place.failures, *(place.door.openings if place.door else [])]:
            if spell.ends <= spell.begins:
                yield f"$.place[{index}]: a spell ends before it begins"
    for index, device in enumerate(scenario.device):
        yield from (f"$.device[{index}] ({device.name}): {what}" for what in _device_problems(scenario, device))
    yield from _timeline_problems(scenario)


def _device_problems(scenario: Scenario, device: Device) -> Iterator[str]:
    if device.gateway not in {gateway.name for gateway in scenario.gateway}:
        yield f"gateway: no gateway {device.gateway!r}"
    channels = [f"{device.name}/{point}" for point in _points(device)]
    yield from (f"{channel!r} is no name of a channel" for channel in channels if not is_channel(channel))
    for name, point in getattr(device, "points", {}).items():
        if isinstance(point, WorldPoint | StatePoint) and point.place not in {place.name for place in scenario.place}:
            yield f"points.{name}.place: no place {point.place!r}"
    if isinstance(device, AnyModbus):
        yield from _modbus_problems(scenario, device)
    elif isinstance(device, BleSensor) and len(device.points) != len(CLIMATE):
        yield f"points: a BLE sensor has {' and '.join(CLIMATE)}"
    elif isinstance(device, OneWireSensor | LineSensor) and not device.points:
        yield "points: it measures nothing"
    elif isinstance(device, RfidReader) and device.passing is not None:
        beyond = [antenna for antenna in device.passing.antennas if antenna > device.antennas]
        yield from (f"passing.antennas: it has {device.antennas}, and no number {antenna}" for antenna in beyond)


def _points(device: Device) -> list[str]:
    """What its channels are called after its name."""
    if isinstance(device, AnyScanner | AnyRfid):
        return [device.point]
    return list(getattr(device, "points", {})) or ["satellites"]


def _modbus_problems(scenario: Scenario, device: AnyModbus) -> Iterator[str]:
    if device.profile not in profile_names():
        yield f"profile: no profile {device.profile!r}, known are {', '.join(profile_names())}"
    elif set(device.points) != (known := {point.name for point in shipped_profile(device.profile).points}):
        yield f"points: {device.profile} has exactly {', '.join(sorted(known))}"
    if isinstance(device, ModbusRtu):
        if device.bus not in {bus.name for bus in scenario.bus}:
            yield f"bus: no bus {device.bus!r}"
        same = [d for d in scenario.device if isinstance(d, ModbusRtu) and d.bus == device.bus]
        if sum(other.unit_id == device.unit_id for other in same if not other.twin) > 1:
            yield f"unit_id: {device.unit_id} is there twice on {device.bus}"
        if len({other.gateway for other in same}) > 1:
            yield f"bus: {device.bus} can belong to one gateway only"


def _timeline_problems(scenario: Scenario) -> Iterator[str]:
    scanners = {device.name: device for device in scenario.device if isinstance(device, AnyScanner)}
    for index, scans in enumerate(scenario.scan):
        scanner = scanners.get(scans.scanner)
        if scanner is None:
            yield f"$.scan[{index}].scanner: no scanner {scans.scanner!r}"
        elif any(not _can_send(scanner, code) for code in scans.codes):
            yield f"$.scan[{index}].codes: one of them holds the scanner's own suffix, or what it cannot type"
    for index, fault in enumerate(scenario.fault):
        if fault.link not in scenario.links:
            yield f"$.fault[{index}].link: no link {fault.link!r}, known are {', '.join(scenario.links)}"
        if fault.ends <= fault.begins:
            yield f"$.fault[{index}]: ends before it begins"
    ordered = sorted(scenario.fault, key=lambda fault: (fault.link, fault.begins))
    for one, other in pairwise(ordered):
        if one.link == other.link and other.begins < one.ends:
            yield f"$.fault: two faults of {one.link} at the same time"


def _can_send(scanner: AnyScanner, code: str) -> bool:
    try:
        if isinstance(scanner, KeyboardScanner):
            type_text(code, scanner.typing.layout)
        else:
            encode(Code(code, ""), scanner.suffix)
    except ValueError:
        return False
    return True


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} {name!r} is there twice" for name, count in Counter(names).items() if count > 1)
