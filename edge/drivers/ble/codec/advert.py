"""What a BLE device broadcast, and what was found in it. Pure; every codec of this folder speaks these types.

A value that a device marks as not available becomes quality SENSOR_ERROR without a number; one outside what its
quantity can be is OUT_OF_RANGE and keeps its number. Source of the frame's fields: Bluetooth Core Specification
Supplement v11, Part A §1.4 (manufacturer specific data) and §1.11 (service data).
"""

from __future__ import annotations

import re

import msgspec

from wire.observation import Quality

NAME_MAX = 248  # characters; a local name has at most 248 bytes (Core Specification vol. 3, part C §12.1)
DATA_MAX = 1650  # bytes; the longest chain of extended advertising data (Core Specification vol. 6, part B §2.3.4.9)
_BASE_UUID = "-0000-1000-8000-00805f9b34fb"  # Core Specification vol. 3, part B §2.5.1
_ADDRESS = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}")

#: Points that say how a device is rather than what it measures; recorded only when a configuration names them.
QUIET_POINTS = frozenset({"acceleration_x", "acceleration_y", "acceleration_z", "tx_power"})


class AdvertError(ValueError):
    """An advert that cannot be believed; `str()` says what is wrong and what to do."""


class NothingNew(AdvertError):
    """An advert in order that says nothing new: sent again, or a part of what the device sends."""


class Advert(msgspec.Struct, frozen=True):
    """One advert. service_data: by 128-bit UUID, lower case. rssi_dbm: as the receiver heard it."""

    address: str
    name: str = ""
    rssi_dbm: int | None = None
    manufacturer_data: dict[int, bytes] = {}
    service_data: dict[str, bytes] = {}
    service_uuids: tuple[str, ...] = ()


class Value(msgspec.Struct, frozen=True, gc=False):
    """mantissa × 10^exponent in a Rec 20 unit; mantissa None: the device says that it has no number."""

    point: str
    unit: str
    mantissa: int | None
    exponent: int = 0
    quality: Quality = Quality.OK


class Message(msgspec.Struct, frozen=True):
    """What an advert says. number: of the measurement, None where the format has none.

    numbered: the same bytes again are the same measurement. counted: encrypted with a counter, so that its decoder
    itself refuses what is sent again. switches: points whose turning is told at once; presses:
    points that are an event each time. info: what is not a number (texts, versions, remarks).
    """

    format: str
    values: tuple[Value, ...]
    number: int | None = None
    switches: frozenset[str] = frozenset()
    presses: frozenset[str] = frozenset()
    info: dict[str, str] = {}
    counted: bool = False

    @property
    def numbered(self) -> bool:
        """Whether equal bytes mean one and the same measurement."""
        return self.number is not None


def short_uuid(number: int) -> str:
    """The 128-bit form of a 16-bit UUID."""
    return f"0000{number:04x}{_BASE_UUID}"


def is_address(text: str) -> bool:
    """Whether `text` is a Bluetooth address as we write it: upper case, with colons."""
    return _ADDRESS.fullmatch(text) is not None


def missing(point: str, unit: str, exponent: int = 0) -> Value:
    """A point whose sensor has failed."""
    return Value(point, unit, None, exponent, Quality.SENSOR_ERROR)


def humidity(mantissa: int, exponent: int, point: str = "humidity") -> Value:
    """Relative humidity; beyond 100 % the sensor is faulty or out of calibration (Ruuvi, data format 5)."""
    beyond = mantissa < 0 or mantissa > 100 * 10**-exponent
    return Value(point, "P1", mantissa, exponent, Quality.OUT_OF_RANGE if beyond else Quality.OK)
