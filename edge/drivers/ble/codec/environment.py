"""GATT characteristics of the Environmental Sensing Service (0x181A) and the battery level ↔ bytes. Pure.

Little endian. Source: Bluetooth GATT Specification Supplement v10, the section of each characteristic; which
number means "not known" stands there, too.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.drivers.ble.codec.advert import AdvertError, Value, humidity, missing, short_uuid


class Characteristic(NamedTuple):
    """How one characteristic is to be read. unknown: the raw number that stands for none."""

    point: str
    unit: str
    size: int
    exponent: int
    signed: bool
    unknown: int | None


SERVICE = short_uuid(0x181A)
CHARACTERISTICS = {
    short_uuid(0x2A6E): Characteristic("temperature", "CEL", 2, -2, True, -0x8000),
    short_uuid(0x2A6F): Characteristic("humidity", "P1", 2, -2, False, 0xFFFF),
    short_uuid(0x2A6D): Characteristic("pressure", "PAL", 4, -1, False, None),
    short_uuid(0x2A7B): Characteristic("dew_point", "CEL", 1, 0, True, None),
    short_uuid(0x2A19): Characteristic("battery", "P1", 1, 0, False, None),
}


def decode(uuid: str, data: bytes) -> Value:
    """The value of a characteristic of CHARACTERISTICS. Raises AdvertError for a wrong length."""
    kind = CHARACTERISTICS[uuid]
    if len(data) != kind.size:
        raise AdvertError(f"{kind.point} (characteristic 0x{uuid[4:8]}): {len(data)} bytes, {kind.size} expected")
    raw = int.from_bytes(data, "little", signed=kind.signed)
    if raw == kind.unknown:
        return missing(kind.point, kind.unit, kind.exponent)
    if kind.point == "humidity":
        return humidity(raw, kind.exponent)
    return Value(kind.point, kind.unit, raw, kind.exponent)


def encode(uuid: str, mantissa: int | None) -> bytes:
    """The bytes of a characteristic for the simulator, from a number in its own steps; None: not known."""
    kind = CHARACTERISTICS[uuid]
    raw = kind.unknown if mantissa is None else mantissa
    if raw is None:
        raise ValueError(f"{kind.point} has no number that stands for none")
    return raw.to_bytes(kind.size, "little", signed=kind.signed)
