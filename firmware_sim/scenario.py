"""A scenario: the places of a simulated world, its devices, and what happens when; read from TOML.

Called by run.py and by whoever writes the gateways' configurations. Unknown keys and wrong types are refused with
the path to the key; what refers to something (a place, a bus, a scanner) must find it. Nothing is opened here.
Times are offsets from the start of the simulation: "+2h", "+29h55m", "+90s".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edge.drivers.barcode.codec import Code, Suffix, encode
from edge.drivers.hid.codec import type_text
from edge.drivers.modbus.codec import profile_names, shipped_profile
from firmware_sim.controller import AilmentSpell, ConstantPoint, StatePoint
from firmware_sim.devices.hid_scanner import Typing
from firmware_sim.devices.scanner import WELL_BEHAVED, Habits
from firmware_sim.links import Faults
from firmware_sim.place import AMBIENT, Ambient, NotNegative, Offset, Place, Positive, Strict, offset
from standards.gs1.keyboard import Layout
from wire.observation import is_channel

BUILT_IN = Path(__file__).parent / "scenarios"
MAX_SCENARIO_BYTES = 1_000_000  # a scenario is written by hand; a thousand devices fit
MAX_CODE_CHARS = 4096

UnitId = Annotated[int, msgspec.Meta(ge=1, le=247)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ScenarioError(ValueError):
    """The scenario cannot be played; says which file, which key and why."""


class WorldPoint(Strict, frozen=True, tag_field="source", tag="world"):
    """A probe in a place. noise and offset: in °C or percent."""

    place: str
    measurement: Literal["temperature", "humidity"]
    noise: NotNegative = 0.0
    offset: float = 0.0


class RecordedPoint(Strict, frozen=True, tag_field="source", tag="recorded"):
    """A column of a recorded log. file: relative to the scenario; zone: IANA name of the log's local time."""

    file: str
    column: str
    time_columns: list[str]
    zone: str
    time_format: str = "%Y-%m-%d %H:%M:%S"


Point = WorldPoint | RecordedPoint | ConstantPoint | StatePoint


class Gateway(Strict, frozen=True):
    """A gateway that the devices belong to."""

    name: str


class Bus(Strict, frozen=True):
    """An RS-485 line. turnaround_ms: what a slave needs to think."""

    name: str
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    turnaround_ms: NotNegative = 3.0
    paced: bool = True


class ModbusRtu(Strict, frozen=True, tag_field="kind", tag="modbus-rtu"):
    """A Modbus slave on a bus. failure: how it says that its probe is broken. twin: its unit id is another's, too."""

    name: str
    gateway: str
    bus: str
    unit_id: UnitId
    profile: str
    points: dict[str, Point]
    interval_s: Positive
    timeout_s: Positive = 1.0
    failure: Literal["sentinel", "exception"] = "sentinel"
    ailment: list[AilmentSpell] = msgspec.field(default_factory=list)
    twin: bool = False


class ModbusTcp(Strict, frozen=True, tag_field="kind", tag="modbus-tcp"):
    """A Modbus slave on the network; tcp_port 0 = any free one."""

    name: str
    gateway: str
    profile: str
    points: dict[str, Point]
    interval_s: Positive
    unit_id: UnitId = 1
    tcp_port: Port = 0
    timeout_s: Positive = 1.0
    failure: Literal["sentinel", "exception"] = "sentinel"
    ailment: list[AilmentSpell] = msgspec.field(default_factory=list)


class Scanner(Strict, frozen=True, tag_field="kind", tag="scanner"):
    """A barcode scanner on a serial line. aim: whether it sends the AIM identifier before the code.

    fnc1: what it sends in place of GS. habits: what it does wrong by itself.
    """

    name: str
    gateway: str
    point: str = "scan"
    suffix: Suffix = "crlf"
    aim: bool = True
    fnc1: str = ""
    habits: Habits = WELL_BEHAVED


class KeyboardScanner(Strict, frozen=True, tag_field="kind", tag="hid-scanner"):
    """A barcode scanner that plays a keyboard. typing: how it is set; layout: how its gateway is."""

    name: str
    gateway: str
    point: str = "scan"
    typing: Typing = Typing()
    layout: Layout = "us"
    habits: Habits = WELL_BEHAVED


AnyScanner = Scanner | KeyboardScanner
Device = ModbusRtu | ModbusTcp | Scanner | KeyboardScanner


class Scans(Strict, frozen=True):
    """Somebody scans these codes, one every `every_s` simulated seconds."""

    at: Offset
    scanner: str
    codes: list[Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE_CHARS)]]
    every_s: NotNegative = 60.0
    symbology: Annotated[str, msgspec.Meta(pattern="^[A-Za-z][0-9A-Za-z]$")] = "C1"


class LinkFault(Strict, frozen=True):
    """From–until, the cable of a bus or device is like this."""

    link: str
    begins: Offset = msgspec.field(name="from")
    ends: Offset = msgspec.field(name="until")
    faults: Faults


class Scenario(Strict, frozen=True):
    """The whole play. utc_offset_h: local time of its day and night."""

    name: str
    title: str
    title_en: str
    duration: Offset
    ambient: Ambient
    place: list[Place]
    gateway: list[Gateway]
    device: list[Device]
    bus: list[Bus] = msgspec.field(default_factory=list)
    scan: list[Scans] = msgspec.field(default_factory=list)
    fault: list[LinkFault] = msgspec.field(default_factory=list)
    utc_offset_h: Annotated[float, msgspec.Meta(ge=-12, le=14)] = 7.0
    seed: int = 1

    @property
    def links(self) -> list[str]:
        """Names of all cables: one per bus, one per device that has its own."""
        own = [device.name for device in self.device if not isinstance(device, ModbusRtu)]
        return [bus.name for bus in self.bus] + own


def find(name: str) -> Path:
    """The file of a built-in scenario (`demo`), or `name` taken as a path. Raises ScenarioError."""
    built_in = BUILT_IN / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9-]+", name) and built_in.is_file():
        return built_in
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(sorted(path.stem for path in BUILT_IN.glob("*.toml") if "." not in path.stem))
    raise ScenarioError(f"no scenario {name!r}: neither a file nor a built-in one ({known})")


def load(path: Path) -> Scenario:
    """Read and check a scenario. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SCENARIO_BYTES + 1)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read ({error.strerror})") from error
    if len(text) > MAX_SCENARIO_BYTES:
        raise ScenarioError(f"{path}: longer than {MAX_SCENARIO_BYTES} bytes")
    try:
        scenario = msgspec.toml.decode(text, type=Scenario, dec_hook=_decode_offset)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    problems = list(_problems(scenario))
    if problems:
        raise ScenarioError(f"{path}: " + "; ".join(problems))
    return scenario


def _decode_offset(kind: type, value: Any) -> Any:
    if kind is not Offset:
        raise NotImplementedError(f"no decoder for {kind}")
    if not isinstance(value, str):
        raise ValueError("an offset is a text such as +2h")
    return offset(value)


def _problems(scenario: Scenario) -> Iterator[str]:
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
    points = [device.point] if isinstance(device, AnyScanner) else list(device.points)
    channels = [f"{device.name}/{point}" for point in points]
    yield from (f"{channel!r} is no name of a channel" for channel in channels if not is_channel(channel))
    if isinstance(device, AnyScanner):
        return
    if device.profile not in profile_names():
        yield f"profile: no profile {device.profile!r}, known are {', '.join(profile_names())}"
    elif set(device.points) != (known := {point.name for point in shipped_profile(device.profile).points}):
        yield f"points: {device.profile} has exactly {', '.join(sorted(known))}"
    for name, point in device.points.items():
        if isinstance(point, WorldPoint | StatePoint) and point.place not in {place.name for place in scenario.place}:
            yield f"points.{name}.place: no place {point.place!r}"
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
