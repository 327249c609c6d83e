"""What a scenario may say of a Modbus device beside its probes: settings, flags, and what is wrong with it.

door = { source = "state", place = "room-1", state = "door" }      # 1 while it is open
set-point = { source = "constant", value = -20.0 }

[[device.ailment]]
kind = "stuck"                # stuck, drift, slow, busy: firmware_sim/devices/ailments.py
from = "+2h"
until = "+3h"
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from firmware_sim.devices.ailments import Ailment, Source
from firmware_sim.place import Offset, Strict


class ConstantPoint(Strict, frozen=True, tag_field="source", tag="constant"):
    """A point that always says the same."""

    value: float


class StatePoint(Strict, frozen=True, tag_field="source", tag="state"):
    """A flag that tells of a place: 1 while its door is open, or while it defrosts."""

    place: str
    state: Literal["door", "defrost"]


class AilmentSpell(Strict, frozen=True):
    """From–until, something is wrong with the device. amount: drift per hour, or seconds of slowness."""

    kind: Literal["stuck", "drift", "slow", "busy"]
    begins: Offset = msgspec.field(name="from")
    ends: Offset = msgspec.field(name="until")
    amount: float = 0.0


class Places(Protocol):
    """What is asked of a world (world.py, which reads scenarios, and so this module, too)."""

    def door_open(self, place: str, at_ms: int) -> bool: ...

    def defrosting(self, place: str, at_ms: int) -> bool: ...


def source(seen: ConstantPoint | StatePoint, exponent: int, world: Places) -> Source:
    """Where the simulated device has the value of such a point from. exponent: of its steps."""
    if isinstance(seen, ConstantPoint):
        fixed = Decimal(round(seen.value / 10.0**exponent)).scaleb(exponent)
        return lambda _at_ms: fixed
    tells = world.door_open if seen.state == "door" else world.defrosting
    return lambda at_ms: Decimal(tells(seen.place, at_ms))


def ailments(spells: Sequence[AilmentSpell], origin_ms: int) -> tuple[Ailment, ...]:
    """The spells of a device as instants of its world."""
    return tuple(Ailment(one.kind, one.amount, origin_ms + one.begins, origin_ms + one.ends) for one in spells)
