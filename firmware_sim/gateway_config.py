"""The `[[device]]` tables of the gateways that belong to a scenario's devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firmware_sim.kinds import (
    BleSensor,
    Device,
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
from firmware_sim.parts import DevicePlace
from firmware_sim.scenario import Scenario

UNITS = {"temperature": "CEL", "air": "CEL", "humidity": "P1"}
UNKNOWN_UNIT = "C62"

Table = dict[str, Any]


def gateway_configs(scenario: Scenario, devices: Mapping[str, DevicePlace]) -> dict[str, list[Table]]:
    """For each gateway its device tables, ready for its TOML configuration. devices: devices.json, by name."""
    tables: dict[str, list[Table]] = {gateway.name: [] for gateway in scenario.gateway}
    baudrates = {bus.name: bus.baudrate for bus in scenario.bus}
    for device in scenario.device:
        if isinstance(device, ModbusRtu) and device.twin:
            continue  # nobody knows of it, until it talks into the other's answers
        tables[device.gateway].append(_table(device, devices[device.name], baudrates))
    return tables


def _table(device: Device, place: DevicePlace, baudrates: Mapping[str, int]) -> Table:
    table = {"name": device.name, **_TABLES[type(device)](device, place)}
    return {**table, "baudrate": device.baudrate or baudrates[device.bus]} if isinstance(device, ModbusRtu) else table


def _modbus(device: ModbusRtu | ModbusTcp, place: DevicePlace) -> Table:
    where = {"port": place.port} if place.port else {"host": place.host, "tcp_port": place.tcp_port}
    return {
        "driver": "modbus",
        "interval_s": device.interval_s,
        "timeout_s": device.timeout_s,
        "profile": device.profile,
        "unit_id": device.unit_id,
        **where,
    }


def _scanner(device: Scanner, place: DevicePlace) -> Table:
    fnc1 = {"fnc1": device.fnc1} if device.fnc1 else {}
    scanner = {"driver": "barcode", "port": place.port, "point": device.point}
    return {**scanner, "suffix": device.suffix, "aim": device.aim, **fnc1}


def _keyboard(device: KeyboardScanner, place: DevicePlace) -> Table:
    keyboard = {"driver": "hid", "path": place.port, "point": device.point}
    return {**keyboard, "layout": device.layout, "suffix": device.typing.suffix, "aim": device.typing.aim}


def _reader(device: RfidReader, place: DevicePlace) -> Table:
    return {"driver": "llrp", "host": place.host, "port": place.tcp_port, "point": device.point}


def _module(device: RfidModule, place: DevicePlace) -> Table:
    return {"driver": "uhf", "port": place.port, "point": device.point}


def _ble(device: BleSensor, place: DevicePlace) -> Table:
    return {"driver": "ble", "address": place.address, "format": device.format}


def _line(device: LineSensor, place: DevicePlace) -> Table:
    points = [{"name": name, "unit": UNITS.get(name, UNKNOWN_UNIT)} for name in device.points]
    return {"driver": "serial_line", "port": place.port, "format": "json", "point": points}


def _onewire(device: OneWireSensor, place: DevicePlace) -> Table:
    return {"driver": "onewire", "sensor": device.sensor, "bus": place.folder, "interval_s": 60}


def _gps(_: Gps, place: DevicePlace) -> Table:
    return {"driver": "gps", "port": place.port}


_TABLES: dict[type, Callable[[Any, DevicePlace], Table]] = {
    ModbusRtu: _modbus,
    ModbusTcp: _modbus,
    Scanner: _scanner,
    KeyboardScanner: _keyboard,
    RfidReader: _reader,
    RfidModule: _module,
    BleSensor: _ble,
    LineSensor: _line,
    OneWireSensor: _onewire,
    Gps: _gps,
}
