"""What can be wrong with a device itself, beside its cable (firmware_sim/links.py): each for a span of simulated time.

    stuck       it goes on saying what it measured when the span began
    drift       its readings wander off, so much per hour
    slow        it thinks so many real seconds longer before it answers
    busy        it answers exception 6, "server device busy" (Modbus Application Protocol V1.1b3 §7)

Two devices with one unit id are no ailment of one of them: put both on the bus (rtu_bus.py), and they talk at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

MS_PER_H = 3_600_000
FOR_EVER_MS = 2**62

Source = Callable[[int], Decimal | None]  # what a point measures at a simulated time (ms); None: its probe is broken


class Ailment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is wrong from begins_ms until ends_ms. amount: drift per hour in the point's unit, or seconds."""

    kind: Literal["stuck", "drift", "slow", "busy"]
    amount: float = 0.0
    begins_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    ends_ms: int = FOR_EVER_MS

    def holds(self, at_ms: int) -> bool:
        """Whether the device has it now."""
        return self.begins_ms <= at_ms < self.ends_ms


def slow_s(ailments: Iterable[Ailment], at_ms: int) -> float:
    """How much longer than usual it thinks now."""
    return sum(one.amount for one in ailments if one.kind == "slow" and one.holds(at_ms))


def is_busy(ailments: Iterable[Ailment], at_ms: int) -> bool:
    """Whether it has no time now."""
    return any(one.kind == "busy" and one.holds(at_ms) for one in ailments)


def measured(source: Source, ailments: Iterable[Ailment], at_ms: int, step: Decimal) -> Decimal | None:
    """What an ailing device takes for the value of `source`, in multiples of `step`."""
    drift = Decimal(0)
    looked_at_ms = at_ms
    for one in ailments:
        if not one.holds(at_ms):
            continue
        if one.kind == "stuck":
            looked_at_ms = min(looked_at_ms, one.begins_ms)
        elif one.kind == "drift":
            drift += Decimal(one.amount) * (at_ms - one.begins_ms) / MS_PER_H
    value = source(looked_at_ms)
    return None if value is None else value + round(drift / step) * step
