"""How devices are found: the protocol that a family of drivers may add, and the table of those that did.

A family has a finder when it has a module `edge/drivers/NAME/find.py` with

    finder = MyFinder()                       # does no I/O when it is made
    finder.places(asked) -> list[Place]       # where it would look: a port, a host, a radio; no I/O either
    await finder.look(place, scene)           # -> list[Finding]; one look, bounded in time, closes what it opened

and a line in _TABLE; other distributions use the entry point group `coldproof.finders`. Finders that share a place (a
serial port) look at it one after the other, in the order of the table, until one of them knows what is there: who only
listens comes before who asks. A finder raises DriverError where it cannot look, and lets cancellation pass.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Awaitable, Callable
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from edge.commission.ports import Port

GROUP = "coldproof.finders"


class Cause(StrEnum):
    """Why a device cannot be used as it is."""

    NO_ANSWER = "no_answer"
    DUPLICATE_ADDRESS = "duplicate_address"
    PROBE_FAULT = "probe_fault"
    STUCK_VALUE = "stuck_value"
    OTHER_SETTINGS = "other_settings"  # it speaks, but not as its neighbours on the line do
    NOISE = "noise"
    BUSY = "busy"
    UNUSABLE = "unusable"  # the port or host itself


Certainty = Literal["sure", "likely", "possible", "unknown"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One device, or one place where something is wrong.

    where: for people. what: what it is, in words. table: keys of a `[[device]]` without its name; empty when there is
    nothing to configure. live: its values now, in words. also: profiles that fit as well. fault: what is wrong and what
    to do; empty when nothing is. channels: (point, Rec 20 unit) of its readings; none for a scanner.
    """

    where: str
    what: str
    certainty: Certainty = "unknown"
    table: dict[str, Any] = {}
    live: list[str] = []
    also: list[str] = []
    cause: Cause | None = None
    fault: str = ""
    channels: list[tuple[str, str]] = []
    device: str = ""  #: its name, when the running gateway has it already


class Place(NamedTuple):
    """Somewhere to look. key: as a driver would claim it (`serial:/dev/ttyUSB0`, `tcp:10.0.0.7:502`).

    shared: looking disturbs nobody who works there (a radio, files of the kernel).
    """

    key: str
    address: str
    port: Port | None = None
    shared: bool = False


def split_host(text: str, usual_port: int) -> tuple[str, int]:
    """`HOST` or `HOST:PORT` as both; more than one colon is an IPv6 address."""
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and ":" not in host:
        return host, int(port)
    return text, usual_port


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants looked at. units: of a Modbus line. listen_s: how long to wait for who speaks seldom."""

    ports: list[Port] = []
    hosts: list[str] = []  #: `HOST`, or `HOST:PORT` for one that does not listen where its kind usually does
    w1_buses: list[str] = []
    inputs: list[str] = []  #: input devices of Linux that may be scanners, by path
    units: list[int] = []
    listen_s: float = 0.0
    radio_s: float = 0.0
    families: list[str] = []  #: only these; empty: all


class Scene(Protocol):
    """What a finder is lent while it looks."""

    asked: Asked

    def say(self, text: str) -> None:
        """Tell the person how it goes."""

    async def hear(self, port: Port, baudrate: int, listen_s: float) -> bytes:
        """What comes from a port without being asked. Heard once for all finders. Raises DriverError."""


class Finder(Protocol):
    """Knows the devices of one family."""

    def places(self, asked: Asked) -> list[Place]:
        """Where it would look."""

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """What is there. Raises DriverError."""


Say = Callable[[str], None]
Look = Callable[[], Awaitable[list[Finding]]]

#: In the order in which they look at a place they share: who only listens, who asks once, who waits for a person, and
#: last who asks a hundred times.
_TABLE = {
    "gps": "edge.drivers.gps.find",
    "serial_line": "edge.drivers.serial_line.find",
    "uhf": "edge.drivers.uhf.find",
    "barcode": "edge.drivers.barcode.find",
    "llrp": "edge.drivers.llrp.find",
    "modbus": "edge.drivers.modbus.find",
    "hid": "edge.drivers.hid.find",
    "onewire": "edge.drivers.onewire.find",
    "ble": "edge.drivers.ble.find",
}


class Family(NamedTuple):
    """A finder by the name of its drivers; `missing`: why there is none here."""

    name: str
    finder: Finder | None
    missing: str = ""


def families(only: list[str]) -> list[Family]:
    """Every family with a finder, in order. A library that isn't there hurts its own family only."""
    found = [_load(name, module) for name, module in _TABLE.items() if _is_there(module)]
    found += [_load(point.name, point.module) for point in entry_points(group=GROUP)]
    return [family for family in found if not only or family.name in only]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the family itself isn't
        return False


def _load(name: str, module: str) -> Family:
    try:
        return Family(name, importlib.import_module(module).finder)
    except (ImportError, AttributeError) as error:
        return Family(name, None, f"{name} devices are not looked for: {error} (pip install 'coldproof[edge]')")
