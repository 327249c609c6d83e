"""The objects of BTHome v1: each is preceded by its length (bits 0–4, of what follows) and its kind of number (5–7).

v1 was replaced by v2 in 2022; devices whose firmware nobody renewed still send it. Source: bthome.io/v1.
"""

from __future__ import annotations

import math
import struct

from edge.drivers.ble.codec import bthome_objects as kinds
from edge.drivers.ble.codec.advert import AdvertError, Value, humidity

_UNSIGNED, _SIGNED, _FLOAT = 0, 1, 2
_FLOATS = {2: "<e", 4: "<f", 8: "<d"}
_FINER = 3  # decimals kept of a float beyond the object's own
_LARGEST = 2.0**52  # of a float: beyond it the decimals that we keep are not there


def items_1(payload: bytes) -> list[kinds.Item | Value]:
    """The objects of a v1 payload: numbers as values, all else as (id, bytes). Raises AdvertError."""
    found: list[kinds.Item | Value] = []
    at = 0
    while at < len(payload):
        size = payload[at] & 0x1F
        if size < 2 or at + 1 + size > len(payload):
            raise AdvertError(f"BTHome v1: the object at byte {at} has {size} bytes, and does not fit")
        code, data = payload[at + 1], payload[at + 2 : at + 1 + size]
        if code in kinds.NUMBERS:
            found.append(_number(kinds.NUMBERS[code], payload[at] >> 5, data))
        elif kinds.SIZES.get(code) == len(data):
            found.append((code, data))
        at += 1 + size
    return found


def _number(kind: kinds.Object, form: int, data: bytes) -> Value:
    exponent = kind.exponent
    if form in (_UNSIGNED, _SIGNED) and len(data) <= 4:
        mantissa = int.from_bytes(data, "little", signed=form == _SIGNED)
    elif form == _FLOAT and len(data) in _FLOATS:
        (number,) = struct.unpack(_FLOATS[len(data)], data)
        if not math.isfinite(number) or abs(number) > _LARGEST / 10**_FINER:
            raise AdvertError(f"BTHome v1: {kind.point} is {number}, which is no measurement")
        mantissa, exponent = (
            (int(number), exponent) if number.is_integer() else (round(number * 10**_FINER), exponent - _FINER)
        )
    else:
        raise AdvertError(f"BTHome v1: {kind.point} is a number of kind {form} with {len(data)} bytes, none we know")
    if kind.point == "humidity":
        return humidity(mantissa * kind.step, exponent)
    return Value(kind.point, kind.unit, mantissa * kind.step, exponent)
