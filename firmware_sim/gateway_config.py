"""The `[[device]]` tables of the gateways that belong to a scenario's devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firmware_sim.machinery import DevicePlace
from firmware_sim.scenario import Device, KeyboardScanner, ModbusRtu, Scanner, Scenario


def gateway_configs(scenario: Scenario, devices: Mapping[str, DevicePlace]) -> dict[str, list[dict[str, Any]]]:
    """For each gateway its device tables, ready for its TOML configuration. devices: devices.json, by name."""
    tables: dict[str, list[dict[str, Any]]] = {gateway.name: [] for gateway in scenario.gateway}
    baudrates = {bus.name: bus.baudrate for bus in scenario.bus}
    for device in scenario.device:
        if isinstance(device, ModbusRtu) and device.twin:
            continue  # nobody knows of it, until it talks into the other's answers
        tables[device.gateway].append(_table(device, devices[device.name], baudrates))
    return tables


def _table(device: Device, place: DevicePlace, baudrates: Mapping[str, int]) -> dict[str, Any]:
    if isinstance(device, Scanner):
        scanner = {"name": device.name, "driver": "barcode", "port": place.port, "point": device.point}
        fnc1 = {"fnc1": device.fnc1} if device.fnc1 else {}
        return {**scanner, "suffix": device.suffix, "aim": device.aim, **fnc1}
    if isinstance(device, KeyboardScanner):
        keyboard = {"name": device.name, "driver": "hid", "path": place.port, "point": device.point}
        return {**keyboard, "layout": device.layout, "suffix": device.typing.suffix, "aim": device.typing.aim}
    table: dict[str, Any] = {
        "name": device.name,
        "driver": "modbus",
        "interval_s": device.interval_s,
        "timeout_s": device.timeout_s,
        "profile": device.profile,
        "unit_id": device.unit_id,
    }
    if isinstance(device, ModbusRtu):
        return {**table, "port": place.port, "baudrate": baudrates[device.bus]}
    return {**table, "host": place.host, "tcp_port": place.tcp_port}
