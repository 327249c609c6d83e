"""What a driver saw: a Reading (a number) or a Scan (a code). The first noun on the data's way.

Instants are integer milliseconds since the Unix epoch, UTC; numbers are decimals, mantissa × 10^exponent,
so that 21.37 °C is (2137, -2) on every machine and nothing is rounded on the way.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache

import msgspec

CHANNEL_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")
UNIT_PATTERN = re.compile(r"[A-Z0-9]{2,3}")
CHANNEL_MAX, UNIT_MAX = 127, 3  # characters: no longer text is looked at, or remembered
NAMES_KEPT = 4_096  # the same names come again and again, and each block of each pack is checked
CODE_MAX_BYTES = 4096  # a QR code holds at most 2,953 bytes (ISO/IEC 18004); an EPC far less
MIN_EXPONENT, MAX_EXPONENT = -9, 9
INT64_MAX = 2**63 - 1
BOOT_ID_BYTES = 16
MAX_TIME_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last instant ISO 8601 can write


class Quality(IntEnum):
    """How far a reading may be trusted. Only OK readings enter statistics."""

    OK = 0
    SENSOR_ERROR = 1  # the device answered, and said that its probe has failed
    OUT_OF_RANGE = 2  # outside what the device can measure
    STALE = 3  # the device has been silent for more than two intervals
    TEST = 4  # made by a person trying the installation: never evidence


class ClockState(IntEnum):
    """How far the gateway's wall clock could be trusted when it looked at it."""

    SYNCED = 0
    HOLDOVER = 1  # was synced in this boot, the source is lost
    UNSYNCED = 2


class Stamp(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One look at the gateway's clocks.

    `observed_at_ms` is the wall clock as believed; `monotonic_ms` counts within the boot and never steps.
    Within a boot, order is monotonic order, whatever the wall clock did.
    """

    observed_at_ms: int
    monotonic_ms: int
    boot_id: bytes
    clock: ClockState


class Reading(msgspec.Struct, frozen=True, gc=False, tag=0, array_like=True):
    """One number of one channel; `mantissa` is None where there was no number to read.

    channel: `device/point`, e.g. `room-3/air`. unit: UN/ECE Recommendation 20 code, e.g. CEL.
    """

    channel: str
    unit: str
    mantissa: int | None
    exponent: int
    stamp: Stamp
    quality: Quality = Quality.OK

    @property
    def value(self) -> Decimal | None:
        """The number as a decimal, exactly as the device gave it."""
        return None if self.mantissa is None else Decimal(self.mantissa).scaleb(self.exponent)


class Scan(msgspec.Struct, frozen=True, gc=False, tag=1, array_like=True):
    """One code as a scanner or RFID reader gave it, byte for byte (in Latin-1 when it was not UTF-8).

    symbology: the AIM identifier without `]` (`C1`, `d2`, `Q3`), `epc` for a tag, or empty when unknown.
    """

    channel: str
    code: str
    symbology: str
    stamp: Stamp
    quality: Quality = Quality.OK
    antenna: int | None = None
    rssi_dbm: int | None = None
    count: int = 1
    first_seen_ms: int | None = None
    last_seen_ms: int | None = None


Observation = Reading | Scan


def is_channel(text: str) -> bool:
    """Whether `text` may name a channel (`device/point`)."""
    return len(text) <= CHANNEL_MAX and _is_channel(text)


def is_unit_code(text: str) -> bool:
    """Whether `text` has the form of a Rec 20 code: 2 or 3 upper-case letters or digits."""
    return len(text) <= UNIT_MAX and _is_unit_code(text)


@lru_cache(NAMES_KEPT)
def _is_channel(text: str) -> bool:
    return CHANNEL_PATTERN.fullmatch(text) is not None


@lru_cache(NAMES_KEPT)
def _is_unit_code(text: str) -> bool:
    return UNIT_PATTERN.fullmatch(text) is not None
