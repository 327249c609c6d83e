"""What a scenario is made of: the kinds of devices and their points, buses, scans and faults. Data only.

A simulated device is data: what it is called, where it is and what it measures; machinery.py and site.py build it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.drivers.barcode.codec import Suffix
from firmware_sim.controller import AilmentSpell, ConstantPoint, StatePoint
from firmware_sim.devices.hid_scanner import Typing
from firmware_sim.devices.scanner import WELL_BEHAVED, Habits
from firmware_sim.links import Faults
from firmware_sim.place import NotNegative, Offset, Positive, Strict
from standards.gs1.keyboard import Layout

MAX_CODE_CHARS = 4096

UnitId = Annotated[int, msgspec.Meta(ge=1, le=247)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Baudrate = Annotated[int, msgspec.Meta(ge=300, le=1_000_000)]
Epc = Annotated[str, msgspec.Meta(pattern="^([0-9A-F]{4}){1,31}$")]


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


class BrokenPoint(Strict, frozen=True, tag_field="source", tag="broken"):
    """A probe that is torn off or shorted: the device says so, in its own way."""


Point = WorldPoint | RecordedPoint | ConstantPoint | StatePoint | BrokenPoint


class Gateway(Strict, frozen=True):
    """A gateway that the devices belong to."""

    name: str


class Bus(Strict, frozen=True):
    """An RS-485 line. turnaround_ms: what a slave needs to think."""

    name: str
    baudrate: Baudrate = 9600
    turnaround_ms: NotNegative = 3.0
    paced: bool = True


class ModbusRtu(Strict, frozen=True, tag_field="kind", tag="modbus-rtu"):
    """A Modbus slave on a bus. failure: how it says that its probe is broken. twin: its unit id is another's, too.

    baudrate: its own, where somebody set it otherwise than the bus; then it hears nobody who speaks as the bus does.
    """

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
    baudrate: Baudrate | None = None


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


class Passing(Strict, frozen=True):
    """Tags that are carried past, one after the other and again from the first: one every `every_s` real seconds.

    antennas: of a reader that has several, in the order in which they see the tag; each for `each_s`.
    """

    epcs: Annotated[list[Epc], msgspec.Meta(min_length=1, max_length=1000)]
    every_s: Positive = 10.0
    each_s: Positive = 1.0
    antennas: list[Annotated[int, msgspec.Meta(ge=1, le=255)]] = msgspec.field(default_factory=lambda: [1])


class RfidReader(Strict, frozen=True, tag_field="kind", tag="rfid-reader"):
    """An LLRP reader on the network; tcp_port 0 = any free one."""

    name: str
    gateway: str
    point: str = "pass"
    tcp_port: Port = 0
    antennas: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    passing: Passing | None = None


class RfidModule(Strict, frozen=True, tag_field="kind", tag="rfid-module"):
    """A UHF module on a serial line."""

    name: str
    gateway: str
    point: str = "pass"
    passing: Passing | None = None


class BleSensor(Strict, frozen=True, tag_field="kind", tag="ble"):
    """A sensor that broadcasts temperature and humidity every `every_s` real seconds."""

    name: str
    gateway: str
    address: Annotated[str, msgspec.Meta(pattern="^[0-9A-F]{2}(:[0-9A-F]{2}){5}$")]
    format: Literal["ruuvi", "bthome"]
    points: dict[Literal["temperature", "humidity"], Point]
    every_s: Positive = 1.0
    rssi_dbm: Annotated[int, msgspec.Meta(ge=-110, le=-20)] = -60


class LineSensor(Strict, frozen=True, tag_field="kind", tag="serial-line"):
    """A sensor that writes a line of JSON every `every_s` real seconds."""

    name: str
    gateway: str
    points: dict[str, Point]
    every_s: Positive = 1.0


class OneWireSensor(Strict, frozen=True, tag_field="kind", tag="onewire"):
    """A DS18B20 on the 1-wire bus that all of them share."""

    name: str
    gateway: str
    sensor: Annotated[str, msgspec.Meta(pattern="^28-[0-9a-f]{12}$")]
    points: dict[Literal["air"], Point]


class Gps(Strict, frozen=True, tag_field="kind", tag="gps"):
    """A satellite receiver on a serial line, at a place in degrees."""

    name: str
    gateway: str
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] = 21.0278
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] = 105.8342


AnyScanner = Scanner | KeyboardScanner
AnyRfid = RfidReader | RfidModule
AnyModbus = ModbusRtu | ModbusTcp
AnyProbe = BleSensor | LineSensor | OneWireSensor
Device = (
    ModbusRtu | ModbusTcp | Scanner | KeyboardScanner
    | RfidReader | RfidModule | BleSensor | LineSensor | OneWireSensor | Gps
)  # fmt: skip


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
