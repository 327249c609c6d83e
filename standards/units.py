"""Units of measure by their UN/ECE Recommendation 20 codes, and exact conversion between them.

The table holds what cold-chain devices measure; a code beyond it is refused by name, never guessed. Codes and
names: UN/ECE Recommendation No. 20, Annex I. Factors: the SI brochure, 9th edition, and for pound, foot, knot
and psi the exact definitions of NIST SP 811 (2008), Appendix B. They are kept as fractions, so that a
conversion rounds once, at the end.
"""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec


class UnitError(ValueError):
    """A unit or a conversion is refused; `str()` says which, why and what to do."""


class UnknownUnit(UnitError):
    """The code is not in our table."""


class OtherQuantity(UnitError):
    """The two units measure different things."""


class Unit(msgspec.Struct, frozen=True):
    """One unit: a value in it is `value × factor + offset` in the SI unit of its quantity.

    quantity: what it measures, e.g. "temperature"; only units of one quantity convert into each other.
    """

    code: str
    symbol: str
    quantity: str
    factor: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)


def unit(code: str) -> Unit:
    """The unit of a Rec 20 code (upper case, as written there). Raises UnknownUnit."""
    try:
        return _UNITS[code]
    except KeyError:
        raise UnknownUnit(
            f"unit {code[:20]!r}: not a UN/ECE Rec 20 code known here; use one of"
            f" {', '.join(sorted(_UNITS))}, or add it to standards/units.py with its source"
        ) from None


def is_unit(code: str) -> bool:
    """Whether `unit(code)` would answer."""
    return code in _UNITS


def convert(value: float, from_code: str, to_code: str) -> float:
    """The same amount in another unit of the same quantity, correctly rounded.

    A value in its own unit comes back untouched. Raises UnknownUnit, OtherQuantity, and UnitError for
    values that are not finite or leave the range of a double.
    """
    if not math.isfinite(value):
        raise UnitError(f"value {value!r} {from_code[:20]}: only finite numbers have a unit")
    exact = convert_exact(Fraction(value), from_code, to_code)
    if from_code == to_code:
        return value
    try:
        return float(exact)
    except OverflowError as error:
        raise UnitError(f"value {value!r} {from_code}: too large when written in {to_code}") from error


def convert_exact(value: Fraction, from_code: str, to_code: str) -> Fraction:
    """Like `convert`, without any rounding. Raises UnknownUnit and OtherQuantity."""
    source, target = unit(from_code), unit(to_code)
    if source.quantity != target.quantity:
        raise OtherQuantity(
            f"{from_code} measures {source.quantity}, {to_code} measures {target.quantity}:"
            " one cannot be written in the other"
        )
    return (value * source.factor + source.offset - target.offset) / target.factor


_POUND_KG = Fraction("0.45359237")  # NIST SP 811: exact by definition
_STANDARD_GRAVITY = Fraction("9.80665")  # m/s², exact by definition
_INCH_M = Fraction("0.0254")
_RANKINE_K = Fraction(5, 9)

_TABLE = (
    Unit("CEL", "°C", "temperature", Fraction(1), Fraction("273.15")),
    Unit("FAH", "°F", "temperature", _RANKINE_K, Fraction("459.67") * _RANKINE_K),
    Unit("KEL", "K", "temperature"),
    Unit("A48", "°R", "temperature", _RANKINE_K),
    Unit("P1", "%", "ratio", Fraction(1, 100)),
    Unit("C62", "1", "ratio"),
    Unit("59", "ppm", "ratio", Fraction(1, 10**6)),
    Unit("61", "ppb", "ratio", Fraction(1, 10**9)),
    Unit("A93", "g/m³", "mass concentration", Fraction(1, 1000)),
    Unit("GP", "mg/m³", "mass concentration", Fraction(1, 10**6)),
    Unit("GQ", "µg/m³", "mass concentration", Fraction(1, 10**9)),
    Unit("GL", "g/L", "mass concentration"),
    Unit("M1", "mg/L", "mass concentration", Fraction(1, 1000)),
    Unit("PAL", "Pa", "pressure"),
    Unit("A97", "hPa", "pressure", Fraction(100)),
    Unit("KPA", "kPa", "pressure", Fraction(1000)),
    Unit("BAR", "bar", "pressure", Fraction(100_000)),
    Unit("MBR", "mbar", "pressure", Fraction(100)),
    Unit("ATM", "atm", "pressure", Fraction(101_325)),
    Unit("PS", "psi", "pressure", _POUND_KG * _STANDARD_GRAVITY / _INCH_M**2),
    Unit("LUX", "lx", "illuminance"),
    Unit("KLX", "klx", "illuminance", Fraction(1000)),
    Unit("MTR", "m", "length"),
    Unit("CMT", "cm", "length", Fraction(1, 100)),
    Unit("MMT", "mm", "length", Fraction(1, 1000)),
    Unit("KMT", "km", "length", Fraction(1000)),
    Unit("INH", "in", "length", _INCH_M),
    Unit("FOT", "ft", "length", _INCH_M * 12),
    Unit("KGM", "kg", "mass"),
    Unit("GRM", "g", "mass", Fraction(1, 1000)),
    Unit("MGM", "mg", "mass", Fraction(1, 10**6)),
    Unit("TNE", "t", "mass", Fraction(1000)),
    Unit("LBR", "lb", "mass", _POUND_KG),
    Unit("ONZ", "oz", "mass", _POUND_KG / 16),
    Unit("MTQ", "m³", "volume"),
    Unit("LTR", "L", "volume", Fraction(1, 1000)),
    Unit("MLT", "mL", "volume", Fraction(1, 10**6)),
    Unit("MQH", "m³/h", "volume flow", Fraction(1, 3600)),
    # A degree is pi/180 rad; the degree stands as the base here, because pi is no fraction.
    Unit("DD", "°", "angle"),
    Unit("E96", "°/s", "angular speed"),
    Unit("RPM", "rpm", "angular speed", Fraction(6)),
    Unit("SEC", "s", "time"),
    Unit("C26", "ms", "time", Fraction(1, 1000)),
    Unit("MIN", "min", "time", Fraction(60)),
    Unit("HUR", "h", "time", Fraction(3600)),
    Unit("DAY", "d", "time", Fraction(86_400)),
    Unit("HTZ", "Hz", "frequency"),
    Unit("KHZ", "kHz", "frequency", Fraction(1000)),
    Unit("VLT", "V", "voltage"),
    Unit("2Z", "mV", "voltage", Fraction(1, 1000)),
    Unit("AMP", "A", "current"),
    Unit("4K", "mA", "current", Fraction(1, 1000)),
    Unit("OHM", "Ω", "resistance"),
    Unit("WTT", "W", "power"),
    Unit("KWT", "kW", "power", Fraction(1000)),
    Unit("JOU", "J", "energy"),
    Unit("KWH", "kWh", "energy", Fraction(3_600_000)),
    Unit("AD", "B", "information"),
    Unit("4L", "MB", "information", Fraction(10**6)),
    Unit("DBM", "dBm", "power level"),  # a logarithm: no factor leads to watts
    Unit("MTS", "m/s", "speed"),
    Unit("KMH", "km/h", "speed", Fraction(5, 18)),
    Unit("KNT", "kn", "speed", Fraction(1852, 3600)),
    Unit("MSK", "m/s²", "acceleration"),
    Unit("K40", "gₙ", "acceleration", _STANDARD_GRAVITY),
    Unit("D10", "S/m", "conductivity"),
    Unit("H61", "mS/cm", "conductivity", Fraction(1, 10)),
    Unit("G42", "µS/cm", "conductivity", Fraction(1, 10_000)),
)

_UNITS = {entry.code: entry for entry in _TABLE}
