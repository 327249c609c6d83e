"""Registers ↔ exact decimals.

A register goes over the wire with its high byte first (Modbus Application Protocol V1.1b3 §4.2). How longer numbers
are laid over several registers is the maker's choice; the usual letters for 0xAABBCCDD are

    ABCD    word_order = "big",    byte_order = "big"       (the default)
    CDAB    word_order = "little", byte_order = "big"
    BADC    word_order = "big",    byte_order = "little"
    DCBA    word_order = "little", byte_order = "little"
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from edge.drivers.modbus.codec.error import CodecError
from edge.drivers.modbus.codec.point import REGISTER_SPACE, Point
from wire.observation import Quality

FLOATS = {"float16": ">e", "float32": ">f", "float64": ">d"}
BEYOND = 2**63  # what a pack can carry (wire/columns.py); a float reaches far further, and is no measurement there


class Value(msgspec.Struct, frozen=True, gc=False):
    """What one point said: mantissa × 10^exponent of its point, or no number and why."""

    point: Point
    mantissa: int | None
    quality: Quality


Decode = Callable[[Sequence[int]], Value]  # the point's own registers, unsigned, in wire order


def decode(point: Point, words: Sequence[int]) -> Value:
    """One number from its own registers (unsigned 16-bit integers, in wire order; or one bit of a table of bits)."""
    return decoder(point)(words)


def decoder(point: Point) -> Decode:
    """`decode` for one point, with all prepared that does not depend on the registers."""
    raw_of, mantissa_of = _reader(point), _scaler(point)
    errors = frozenset(point.sensor_error)
    low, high = _bound(point, point.min, ROUND_CEILING), _bound(point, point.max, ROUND_FLOOR)
    failed, beyond = Value(point, None, Quality.SENSOR_ERROR), Value(point, None, Quality.OUT_OF_RANGE)
    is_float, ok, outside = point.is_float, Quality.OK, Quality.OUT_OF_RANGE

    def decode_words(words: Sequence[int]) -> Value:
        raw = raw_of(words)
        if raw in errors or (is_float and not math.isfinite(raw)):  # 32767.0 is 32767: equal numbers are one key
            return failed
        mantissa = mantissa_of(raw)
        if not -BEYOND < mantissa < BEYOND:
            return beyond
        if (low is not None and mantissa < low) or (high is not None and mantissa > high):
            return Value(point, mantissa, outside)
        return Value(point, mantissa, ok)

    return decode_words


def encode(point: Point, value: Decimal | None) -> list[int]:
    """The registers by which a device says `value`; None says that its probe has failed.

    What shares a register with others (a bit, half of a register) leaves the rest of it 0. Raises CodecError when
    the point cannot say it exactly.
    """
    if value is None:
        if point.is_float:
            return _words(point, struct.pack(FLOATS[point.type], math.nan))
        if not point.sensor_error:
            raise CodecError(f"{point.name}: this device has no value that means sensor error")
        return _pack_int(point, point.sensor_error[0])
    if not value.is_finite():
        raise CodecError(f"{point.name}: {value} is not a number")
    scale = Decimal(1).scaleb(point.exponent) if point.scale is None else point.scale
    raw = (value - (point.offset or 0)) / scale
    if point.is_float:
        try:
            return _words(point, struct.pack(FLOATS[point.type], float(raw)))
        except OverflowError as error:
            raise CodecError(f"{point.name}: {value} does not fit into {point.type}") from error
    if raw != raw.to_integral_value():
        raise CodecError(f"{point.name}: {value} has more digits than steps of {scale:f} can say")
    if int(raw) in point.sensor_error:
        raise CodecError(f"{point.name}: {value} would be read as a sensor error")
    return _pack_int(point, int(raw))


def _reader(point: Point) -> Callable[[Sequence[int]], float]:
    """Registers → the raw number."""
    if point.type == "bit":
        shift, mask = point.bit or 0, 2**point.bits - 1
        return lambda words: (_one(point, words) >> shift) & mask
    if point.type in {"int16", "uint16"} and point.byte_order == "big":
        low, _ = point.limits
        return lambda words: word if (word := _one(point, words)) <= 0x7FFF or not low else word - 0x10000
    if point.is_float:
        form = struct.Struct(FLOATS[point.type])
        return lambda words: float(form.unpack(_bytes(point, words))[0])
    signed = not point.type.startswith("u")
    return lambda words: int.from_bytes(_bytes(point, words), "big", signed=signed)


def _scaler(point: Point) -> Callable[[float], int]:
    """The raw number → the mantissa. An integer's is exact, because scale and offset are whole steps."""
    step = Decimal(1).scaleb(point.exponent)
    scale, offset = (step if point.scale is None else point.scale), point.offset or Decimal(0)
    if point.is_float:
        return lambda raw: round(((Decimal(raw) * scale if point.scale is not None else Decimal(raw)) + offset) / step)
    factor, plus = int(scale / step), int(offset / step)
    if (factor, plus) == (1, 0):
        return int
    return lambda raw: int(raw) * factor + plus


def _bound(point: Point, number: Decimal | None, rounding: str) -> int | None:
    """The mantissa from which on a value is outside of a bound."""
    return None if number is None else int(number.scaleb(-point.exponent).to_integral_value(rounding))


def _one(point: Point, words: Sequence[int]) -> int:
    if len(words) != 1 or not 0 <= words[0] < REGISTER_SPACE:
        raise CodecError(f"{point.name}: 1 registers of 16 bits needed, got {list(words)}")
    return words[0]


def _bytes(point: Point, words: Sequence[int]) -> bytes:
    if len(words) != point.width or not all(0 <= word < REGISTER_SPACE for word in words):
        raise CodecError(f"{point.name}: {point.width} registers of 16 bits needed, got {list(words)}")
    ordered = words if point.word_order == "big" else words[::-1]
    data = struct.pack(f"{'>' if point.byte_order == 'big' else '<'}{len(words)}H", *ordered)
    if point.size_bytes == 1:
        return data[:1] if point.half == "high" else data[1:]
    return data


def _pack_int(point: Point, raw: int) -> list[int]:
    low, high = point.limits
    if not low <= raw <= high:
        raise CodecError(f"{point.name}: {raw} does not fit into {point.type} ({low} … {high})")
    if point.type == "bit":
        return [raw << (point.bit or 0)]
    return _words(point, raw.to_bytes(point.size_bytes, "big", signed=low < 0))


def _words(point: Point, data: bytes) -> list[int]:
    if len(data) == 1:
        data = data + b"\0" if point.half == "high" else b"\0" + data
    words = list(struct.unpack(f"{'>' if point.byte_order == 'big' else '<'}{len(data) // 2}H", data))
    return words if point.word_order == "big" else words[::-1]
