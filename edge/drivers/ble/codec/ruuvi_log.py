"""The log that a RuuviTag and a Ruuvi Air keep, read over the Nordic UART Service. Pure.

A request is to, from, operation (3 bytes), the time now and the earliest time wanted (UTC seconds, 4 bytes each, most
significant first); the device answers in the time of the asker, whatever its own clock shows. A tag sends one value
a frame and ends with a frame of ones; an Air packs records of its data format E1, and ends with none.
Source: docs.ruuvi.com, bluetooth-connection/nordic-uart-service-nus, "Read logged history" and "… - Ruuvi Air".
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from edge.drivers.ble.codec import ruuvi
from edge.drivers.ble.codec.advert import QUIET_POINTS, AdvertError, Value, humidity, missing

SERVICE = "6e400001-b5a3-f393-e0a9-e50e24dcca9e"
WRITE = "6e400002-b5a3-f393-e0a9-e50e24dcca9e"  # the device's RX
NOTIFY = "6e400003-b5a3-f393-e0a9-e50e24dcca9e"  # the device's TX

_ENVIRONMENT, _AIR = 0x3A, 0x3B
_READ, _WRITTEN, _READ_MANY, _WRITTEN_MANY = 0x11, 0x10, 0x21, 0x20
_SINGLE = {  # point, unit, exponent, signed, and what stands for none: as in what is broadcast (ruuvi.py)
    0x30: ("temperature", "CEL", -2, True, -(2**31)),
    0x31: ("humidity", "P1", -2, False, 2**32 - 1),
    0x32: ("pressure", "PAL", 0, False, 2**32 - 1),
}
_REQUEST = struct.Struct(">BBBII")
_FRAME = struct.Struct(">BBBI4s")
_AIR_HEAD = struct.Struct(">BBBBB")
_AIR_RECORD = 38  # bytes: 4 of time, 34 of E1 without its address
_ADDRESS_BYTES = 6


class Entry(NamedTuple):
    """Values that the device wrote down at a time (UTC seconds, of the asker's clock)."""

    at_s: int
    values: tuple[Value, ...]


def request(*, now_s: int, since_s: int, air: bool) -> bytes:
    """Ask for everything written down since a time; there is no way to ask for an end."""
    place, operation = (_AIR, _READ_MANY) if air else (_ENVIRONMENT, _READ)
    return _REQUEST.pack(place, place, operation, now_s, since_s)


def parse_request(data: bytes) -> tuple[int, int, bool]:
    """(now_s, since_s, air) of a request, for the simulator. Raises AdvertError."""
    if len(data) != _REQUEST.size:
        raise AdvertError(f"Ruuvi log: a request has {_REQUEST.size} bytes, {len(data)} came")
    place, _, operation, now_s, since_s = _REQUEST.unpack(data)
    if (place, operation) not in ((_ENVIRONMENT, _READ), (_AIR, _READ_MANY)):
        raise AdvertError(f"Ruuvi log: 0x{place:02X} with operation 0x{operation:02X} is no request known here")
    return now_s, since_s, place == _AIR


def decode(frame: bytes) -> list[Entry] | None:
    """The entries of one notification; None: that was all. Frames of other endpoints are no entries.

    Raises AdvertError for a frame that is cut off or has another shape.
    """
    if len(frame) < 3:
        raise AdvertError(f"Ruuvi log: a frame of {len(frame)} bytes")
    if frame[0] == _AIR and frame[2] == _WRITTEN_MANY:
        return _decode_air(frame)
    if frame[0] != _ENVIRONMENT or frame[2] != _WRITTEN:
        return []  # a heartbeat, which the device sends to whoever is connected
    if len(frame) != _FRAME.size:
        raise AdvertError(f"Ruuvi log: a frame has {_FRAME.size} bytes, {len(frame)} came")
    _, source, _, at_s, raw = _FRAME.unpack(frame)
    if at_s == 0xFFFFFFFF and raw == b"\xff" * 4:
        return None
    if source not in _SINGLE:
        return []
    return [Entry(at_s, (_single(source, raw),))]


def _single(source: int, raw: bytes) -> Value:
    point, unit, exponent, signed, none = _SINGLE[source]
    mantissa = int.from_bytes(raw, "big", signed=signed)
    if mantissa == none:
        return missing(point, unit, exponent)
    return humidity(mantissa, exponent) if point == "humidity" else Value(point, unit, mantissa, exponent)


def _decode_air(frame: bytes) -> list[Entry] | None:
    if len(frame) < _AIR_HEAD.size:
        raise AdvertError(f"Ruuvi Air log: a frame of {len(frame)} bytes")
    _, _, _, count, size = _AIR_HEAD.unpack_from(frame)
    if count == 0:
        return None
    if size != _AIR_RECORD or len(frame) != _AIR_HEAD.size + count * size:
        raise AdvertError(f"Ruuvi Air log: {count} records of {size} bytes in a frame of {len(frame)}")
    found: list[Entry] = []
    for at in range(_AIR_HEAD.size, len(frame), size):
        body = frame[at + 4 : at + size] + b"\xff" * _ADDRESS_BYTES
        message = ruuvi.decode(body)
        values = tuple(v for v in message.values if v.point != "illuminance" and v.point not in QUIET_POINTS)
        found.append(Entry(int.from_bytes(frame[at : at + 4], "big"), values))
    return found


def encode_tag(entries: list[tuple[int, int, int, int]]) -> list[bytes]:
    """The frames of a tag for the simulator: (at_s, hundredths of °C, hundredths of %, Pa), then the end."""
    frames: list[bytes] = []
    for at_s, temperature, moist, pressure in entries:
        frames += [
            _FRAME.pack(_ENVIRONMENT, 0x30, _WRITTEN, at_s, temperature.to_bytes(4, "big", signed=True)),
            _FRAME.pack(_ENVIRONMENT, 0x31, _WRITTEN, at_s, moist.to_bytes(4, "big")),
            _FRAME.pack(_ENVIRONMENT, 0x32, _WRITTEN, at_s, pressure.to_bytes(4, "big")),
        ]
    return [*frames, _FRAME.pack(_ENVIRONMENT, _ENVIRONMENT, _WRITTEN, 0xFFFFFFFF, b"\xff" * 4)]


def encode_air(records: list[tuple[int, bytes]], *, per_frame: int = 6) -> list[bytes]:
    """The frames of an Air for the simulator: (at_s, an E1 message as broadcast), then the end."""
    frames = []
    for at in range(0, len(records), per_frame):
        part = records[at : at + per_frame]
        body = b"".join(at_s.to_bytes(4, "big") + e1[: _AIR_RECORD - 4] for at_s, e1 in part)
        frames.append(_AIR_HEAD.pack(_AIR, _AIR, _WRITTEN_MANY, len(part), _AIR_RECORD) + body)
    return [*frames, _AIR_HEAD.pack(_AIR, _AIR, _WRITTEN_MANY, 0, _AIR_RECORD)]
