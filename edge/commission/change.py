"""What is different between the configuration that runs and the one that is wanted. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from edge.config import DeviceConfig, GatewayConfig

#: Fields of GatewayConfig → the table that a person writes. Of these a running gateway cannot let go.
RESTART = {
    "name": "[gateway] name",
    "data_dir": "[gateway] data_dir",
    "simulated_time": "[clock]",
    "uplink": "[uplink]",
    "buffer": "[buffer]",
    "seal": "[seal]",
    "health": "[health]",
    "local": "[local]",
}


class Change(msgspec.Struct, frozen=True):
    """Names of devices; `restart`: tables that take effect at a restart only; `limits`: whether any of them differ."""

    removed: list[str]
    changed: list[str]
    added: list[str]
    kept: list[str]
    restart: list[str]
    limits: bool

    @property
    def empty(self) -> bool:
        """Whether nothing is different."""
        return not (self.removed or self.changed or self.added or self.restart or self.limits)


def compare(running: GatewayConfig, wanted: GatewayConfig) -> Change:
    """How `wanted` differs. What a device's files say (profiles) counts as its configuration."""
    before = {device.name: device for device in running.devices}
    after = {device.name: device for device in wanted.devices}
    both = [name for name in after if name in before]
    return Change(
        removed=[name for name in before if name not in after],
        changed=[name for name in both if not _same_device(before[name], after[name])],
        added=[name for name in after if name not in before],
        kept=[name for name in both if _same_device(before[name], after[name])],
        restart=[
            table for field, table in RESTART.items() if not same(getattr(running, field), getattr(wanted, field))
        ],
        limits=not (same(running.limits, wanted.limits) and same(running.alarm, wanted.alarm)),
    )


def same(one: Any, other: Any) -> bool:
    """Whether two parts of a configuration say the same, also where their type has no equality of its own."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__)
    equality: object = type(one).__eq__
    if equality is not object.__eq__:
        return bool(one == other)
    names = _attributes(one)
    return bool(names) and all(same(getattr(one, name, None), getattr(other, name, None)) for name in names)


def _same_device(one: DeviceConfig, other: DeviceConfig) -> bool:
    return one.driver is other.driver and all(
        same(getattr(one, name), getattr(other, name)) for name in ("options", "interval_s", "timeout_s")
    )


def _attributes(value: Any) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*slots, *vars(value)] if hasattr(value, "__dict__") else slots
