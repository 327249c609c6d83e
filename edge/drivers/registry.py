"""Which drivers there are: a lazy table, so that a missing library hurts only those who ask for its driver.

Other distributions add theirs through the entry point group `coldproof.drivers` (`name = "module:Class"`).
A driver class has `config_type`, the Struct of its own keys, and is called as `Class(name, config, ctx)`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, NamedTuple, Protocol

import msgspec

from edge.drivers.base import Driver, DriverContext

GROUP = "coldproof.drivers"


class DriverClass(Protocol):
    """What the table names."""

    config_type: ClassVar[type[msgspec.Struct]]

    def __call__(self, name: str, config: msgspec.Struct, ctx: DriverContext) -> Driver:
        """A driver for one device; does no I/O."""


class UnknownDriver(ValueError):
    """No driver has this name."""


class DriverNotInstalled(ValueError):
    """The driver is known, but it cannot be imported here."""


class _Entry(NamedTuple):
    target: str
    extra: str  # what to install for it


_TABLE = {
    "barcode": _Entry("edge.drivers.barcode.driver:BarcodeDriver", "edge"),
    "ble": _Entry("edge.drivers.ble.driver:BleDriver", "ble"),
    "ble_gatt": _Entry("edge.drivers.ble.gatt:GattDriver", "ble"),
    "gps": _Entry("edge.drivers.gps.driver:GpsDriver", "edge"),
    "hid": _Entry("edge.drivers.hid.driver:HidDriver", "edge"),
    "llrp": _Entry("edge.drivers.llrp.driver:LlrpDriver", "edge"),
    "modbus": _Entry("edge.drivers.modbus.driver:ModbusDriver", "edge"),
    "onewire": _Entry("edge.drivers.onewire.driver:OneWireDriver", "edge"),
    "replay": _Entry("edge.drivers.replay.driver:ReplayDriver", "edge"),
    "serial_line": _Entry("edge.drivers.serial_line.driver:SerialLineDriver", "edge"),
    "serial_request": _Entry("edge.drivers.serial_line.driver:SerialRequestDriver", "edge"),
    "uhf": _Entry("edge.drivers.uhf.driver:UhfDriver", "edge"),
}


def driver_names() -> list[str]:
    """The name of every driver that a configuration may ask for."""
    return sorted({*_TABLE, *(point.name for point in _entry_points())})


def name_of(driver: DriverClass) -> str:
    """The name by which a configuration asks for a driver."""
    target = f"{getattr(driver, '__module__', '')}:{getattr(driver, '__qualname__', '')}"
    known = [(name, entry.target) for name, entry in _TABLE.items()]
    known += [(point.name, point.value) for point in _entry_points()]
    return next((name for name, each in known if each == target), target)


def load_driver(name: str) -> DriverClass:
    """Import the driver called `name`. Raises UnknownDriver or DriverNotInstalled."""
    if name in _TABLE:
        return _import(name, _TABLE[name])
    for point in _entry_points():
        if point.name == name:
            return _import(name, _Entry(point.value, ""))
    raise UnknownDriver(f"unknown driver {name[:80]!r}, known: {', '.join(driver_names())}")


def _import(name: str, entry: _Entry) -> DriverClass:
    module_name, _, class_name = entry.target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        cure = f"pip install 'coldproof[{entry.extra}]'" if entry.extra else "install what its makers ask for"
        raise DriverNotInstalled(f"driver {name!r} cannot be imported ({error}): {cure}") from error
    except AttributeError as error:
        raise DriverNotInstalled(f"driver {name!r}: {error}; its entry point {entry.target!r} is wrong") from error
    if not hasattr(found, "config_type"):
        raise DriverNotInstalled(f"driver {name!r}: {entry.target} names no config_type, so it is not a driver")
    driver: DriverClass = found
    return driver


def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))
