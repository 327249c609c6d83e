"""Axes: from instants and values to pixels, and the round places where labels stand. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloud.web.formats import LOCAL_ZONE

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_TIME_STEPS_MS = (
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 28, 56, 112, 364)),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """A straight scale: `start` is drawn at pixel `at_start`, `end` at pixel `at_end`."""

    start: float
    end: float
    at_start: float
    at_end: float

    def at(self, value: float) -> float:
        """The pixel of a value, kept inside the axis."""
        share = (value - self.start) / (self.end - self.start)
        return self.at_start + min(1.0, max(0.0, share)) * (self.at_end - self.at_start)


def value_domain(values: list[float]) -> tuple[float, float]:
    """The lowest and highest value with some air around them, at least one unit apart."""
    low, high = min(values), max(values)
    air = max((high - low) * 0.12, 0.5)
    return low - air, high + air


def value_ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round values (1, 2 or 5 × 10ⁿ apart) between low and high, at most `most` + 1 of them."""
    rough = (high - low) / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * magnitude for nice in (1, 2, 5, 10) if nice * magnitude >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 9) for index in range(first, last + 1)]


def time_ticks(from_ms: int, to_ms: int, *, most: int) -> tuple[int, list[int]]:
    """The step and the round local times between two instants, at most `most` + 1 of them."""
    span = max(1, to_ms - from_ms)
    step = next((step for step in _TIME_STEPS_MS if span / step <= most), _TIME_STEPS_MS[-1])
    offset = LOCAL_ZONE.utcoffset(None)
    shift = int(offset.total_seconds() * 1000)
    first = math.ceil((from_ms + shift) / step)
    last = math.floor((to_ms + shift) / step)
    return step, [index * step - shift for index in range(first, last + 1)]
