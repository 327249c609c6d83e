"""What a solution becomes: exact decimals by point, in the units of the readings. Pure; driver and filter share it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from edge.drivers.gps.navigation import Solution

#: point → Rec 20 unit. Speed is in knots, as the receiver says it.
POINTS = {"satellites": "C62", "hdop": "C62", "latitude": "DD", "longitude": "DD", "speed": "KNT"}
DEGREE_EXPONENT = -7  # of codec.DEGREE


class Value(NamedTuple):
    """One number: mantissa × 10^exponent."""

    point: str
    mantissa: int
    exponent: int

    @property
    def number(self) -> Decimal:
        """As a decimal, every digit kept."""
        return Decimal(self.mantissa).scaleb(self.exponent)


def values(solution: Solution[Any]) -> list[Value]:
    """Every number that a solution has, in the order of POINTS."""
    found: list[Value] = []
    if solution.satellites is not None:
        found.append(Value("satellites", solution.satellites, 0))
    if solution.hdop is not None:
        found.append(_value("hdop", solution.hdop))
    if solution.position is not None:
        found.append(Value("latitude", solution.position.latitude, DEGREE_EXPONENT))
        found.append(Value("longitude", solution.position.longitude, DEGREE_EXPONENT))
        if solution.speed_knots is not None:
            found.append(_value("speed", solution.speed_knots))
    return found


def _value(point: str, number: Decimal) -> Value:
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # the codec gives finite numbers only
    return Value(point, int("".join(map(str, digits))), exponent)
