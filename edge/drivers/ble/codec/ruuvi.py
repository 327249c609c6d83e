"""Ruuvi sensors: data formats 3, 5, 6 and E1 in the manufacturer data of company 0x0499. Pure.

All fields are most significant byte first. "Not available" is the largest unsigned, the smallest signed number.
Source: docs.ruuvi.com, communication/bluetooth-advertisements, data-format-3-rawv1, -5-rawv2, -6 and -e1.
The luminosity of format 6 is a logarithm; it is given to 0.01 lx, as that page says.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from edge.drivers.ble.codec.advert import AdvertError, Message, Value, humidity, missing

COMPANY = 0x0499
_LUX_STEP = math.log(65_536) / 254
_CALIBRATING = 0x01  # of the flags in formats 6 and E1
_DF3 = struct.Struct(">BBBBHhhhH")
_DF5 = struct.Struct(">BhHHhhhHBH6s")
_DF6 = struct.Struct(">BhHHHHBBBBBB3s")
_E1 = struct.Struct(">BhHHHHHHHBB3s3s3sB5s6s")


def decode(data: bytes) -> Message:
    """What a Ruuvi sensor says in its manufacturer data. Raises AdvertError."""
    if not data:
        raise AdvertError("Ruuvi: no data behind the company's number")
    found = _FORMATS.get(data[0])
    if found is None:
        known = ", ".join(f"0x{number:02X}" for number in sorted(_FORMATS))
        raise AdvertError(f"Ruuvi: data format 0x{data[0]:02X} is not known here (known: {known}); a new firmware?")
    size, read = found
    # Format 6 comes padded from some firmwares; the others are exactly as long as their page says.
    if len(data) < size or (len(data) > size and data[0] != 0x06):
        raise AdvertError(f"Ruuvi: data format 0x{data[0]:02X} has {size} bytes, {len(data)} came")
    return read(data[:size])


def _format_3(data: bytes) -> Message:
    _, moist, whole, hundredths, pressure, x, y, z, battery_mv = _DF3.unpack(data)
    if hundredths > 99:
        temperature = missing("temperature", "CEL", -2)
    else:  # sign and magnitude, so that -0.5 °C has a sign bit and a zero
        size = (whole & 0x7F) * 100 + hundredths
        temperature = Value("temperature", "CEL", -size if whole & 0x80 else size, -2)
    moisture = humidity(moist * 5, -1)  # this format has no word for "not available" but an odd temperature
    return Message(
        "ruuvi-3",
        (temperature, moisture, _pressure(pressure), *_acceleration(x, y, z), Value("battery", "VLT", battery_mv, -3)),
    )


def _format_5(data: bytes) -> Message:
    _, temperature, moist, pressure, x, y, z, power, moves, number, _ = _DF5.unpack(data)
    battery_raw, tx_raw = power >> 5, power & 0x1F
    battery = missing("battery", "VLT", -3) if battery_raw == 0x7FF else Value("battery", "VLT", battery_raw + 1600, -3)
    tx_power = missing("tx_power", "DBM") if tx_raw == 0x1F else Value("tx_power", "DBM", tx_raw * 2 - 40)
    moved = missing("movement_counter", "C62") if moves == 0xFF else Value("movement_counter", "C62", moves)
    return Message(
        "ruuvi-5",
        (*_climate(temperature, moist, pressure), *_acceleration(x, y, z), battery, tx_power, moved),
        None if number == 0xFFFF else number,
    )


def _format_6(data: bytes) -> Message:
    _, temperature, moist, pressure, pm25, co2, voc, nox, light, _, number, flags, _ = _DF6.unpack(data)
    lux = missing("illuminance", "LUX", -2)
    if light != 0xFF:
        lux = Value("illuminance", "LUX", round((math.exp(light * _LUX_STEP) - 1) * 100), -2)
    values = (
        *_climate(temperature, moist, pressure),
        _dust("pm25", pm25),
        _counted("co2", "59", co2),
        *_indices(voc, nox, flags),
        lux,
    )
    return Message("ruuvi-6", values, number, info=_flagged(flags))


def _format_e1(data: bytes) -> Message:
    fields = _E1.unpack(data)
    _, temperature, moist, pressure, pm1, pm25, pm4, pm10, co2, voc, nox, light, _, number, flags, _, _ = fields
    lux_hundredths, sequence = int.from_bytes(light, "big"), int.from_bytes(number, "big")
    lux = missing("illuminance", "LUX", -2)
    if lux_hundredths != 0xFFFFFF:
        lux = Value("illuminance", "LUX", lux_hundredths, -2)
    dust = (_dust("pm1", pm1), _dust("pm25", pm25), _dust("pm4", pm4), _dust("pm10", pm10))
    values = (
        *_climate(temperature, moist, pressure),
        *dust,
        _counted("co2", "59", co2),
        *_indices(voc, nox, flags),
        lux,
    )
    return Message("ruuvi-e1", values, None if sequence == 0xFFFFFF else sequence, info=_flagged(flags))


_FORMATS: dict[int, tuple[int, Callable[[bytes], Message]]] = {
    0x03: (_DF3.size, _format_3),
    0x05: (_DF5.size, _format_5),
    0x06: (_DF6.size, _format_6),
    0xE1: (_E1.size, _format_e1),
}


def _climate(temperature: int, moist: int, pressure: int) -> tuple[Value, Value, Value]:
    return (
        missing("temperature", "CEL", -3)
        if temperature == -0x8000
        else Value("temperature", "CEL", temperature * 5, -3),
        missing("humidity", "P1", -4) if moist == 0xFFFF else humidity(moist * 25, -4),
        missing("pressure", "A97", -2) if pressure == 0xFFFF else _pressure(pressure),
    )


def _pressure(raw: int) -> Value:
    return Value("pressure", "A97", raw + 50_000, -2)


def _acceleration(x: int, y: int, z: int) -> tuple[Value, ...]:
    if -0x8000 in (x, y, z):
        return tuple(missing(f"acceleration_{axis}", "K40", -3) for axis in "xyz")
    return tuple(
        Value(f"acceleration_{axis}", "K40", mantissa, -3) for axis, mantissa in zip("xyz", (x, y, z), strict=True)
    )


def _dust(point: str, raw: int) -> Value:
    return missing(point, "GQ", -1) if raw == 0xFFFF else Value(point, "GQ", raw, -1)


def _counted(point: str, unit: str, raw: int) -> Value:
    return missing(point, unit) if raw == 0xFFFF else Value(point, unit, raw)


def _indices(voc: int, nox: int, flags: int) -> tuple[Value, Value]:
    found = []
    for point, high, bit in (("voc_index", voc, 6), ("nox_index", nox, 7)):
        raw = high << 1 | (flags >> bit & 1)
        found.append(missing(point, "C62") if raw == 0x1FF else Value(point, "C62", raw))
    return found[0], found[1]


def _flagged(flags: int) -> dict[str, str]:
    return {"calibrating": "yes"} if flags & _CALIBRATING else {}


def encode_5(
    *,
    temperature: int | None,
    humidity_raw: int | None,
    pressure_pa: int | None,
    battery_mv: int,
    number: int,
    mac: str,
) -> bytes:
    """Format 5 for the simulator. temperature in 0.005 °C, humidity in 0.0025 %; None: not available."""
    return _DF5.pack(
        0x05,
        -0x8000 if temperature is None else temperature,
        0xFFFF if humidity_raw is None else humidity_raw,
        0xFFFF if pressure_pa is None else pressure_pa - 50_000,
        4,
        -4,
        1036,
        (battery_mv - 1600) << 5 | 22,
        66,
        number % 0xFFFF,
        bytes.fromhex(mac.replace(":", "")),
    )
