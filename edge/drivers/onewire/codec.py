"""Files of the Linux 1-wire driver ↔ temperatures of DS18B20 and its kin. Pure; driver and simulator share it.

`w1_slave` gives the nine bytes of the scratchpad twice, and the kernel's verdicts:

    72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
    72 01 4b 46 7f ff 0e 10 57 t=23125

`temperature` gives thousandths of a degree, and nothing to check them by. Source: the kernel's
Documentation/w1/slaves/w1_therm.rst; DS18B20 data sheet (19-7487 Rev 6), table 1, figure 4 and figure 9.

What a sensor says that has not measured is refused, however right its checksum: 85 °C after power-on, 127.9375 °C when
the conversion had too little power, and nine zeros, which a short circuit gives and whose checksum is right.
"""

from __future__ import annotations

import re

import msgspec

from edge.drivers.serial_line.checksum import crc8_maxim
from wire.observation import Quality

SIXTEENTH_EXPONENT = -4  # 1/16 °C = 0.0625
MILLI_EXPONENT = -3
FILE_MAX_BYTES = 256  # w1_slave has 75; the kernel gives a page at most
POWER_ON = 85
UNFINISHED = 0x07FF  # 127.9375 °C
LOW, HIGH = -55, 125  # °C: what the sensors measure
AGREE = 16 * 16  # sixteen-thousandths: the kernel rounds to thousandths, by rules that changed between versions
HALVES = "10"  # family of the DS18S20, whose steps are halves of a degree
_LINES = re.compile(
    r"(?P<bytes>(?:[0-9a-f]{2} ){9}): crc=(?P<crc>[0-9a-f]{2}) (?P<verdict>YES|NO)\s*\n"
    r"(?P<again>(?:[0-9a-f]{2} ){9})t=(?P<milli>-?\d{1,6})\s*",
    re.ASCII,
)
_MILLI = re.compile(r"-?\d{1,6}\s*", re.ASCII)


class Untrue(ValueError):
    """The sensor, or the kernel, gave something that is no temperature; `str()` says what and why."""


class Temperature(msgspec.Struct, frozen=True):
    """mantissa × 10^exponent °C."""

    mantissa: int
    exponent: int
    quality: Quality


def read_slave(text: str, family: str) -> Temperature:
    """The temperature of a `w1_slave` file. family: the first two digits of the sensor's id. Raises Untrue."""
    match = _LINES.fullmatch(text)
    if match is None:
        raise Untrue(f"{text[:60]!r} is not what w1_slave says" if text.strip() else "the bus gave nothing")
    scratchpad = bytes.fromhex(match["bytes"])
    if match["verdict"] != "YES" or crc8_maxim(scratchpad):
        raise Untrue("the checksum is wrong: a long or loose cable, or two sensors answering at once")
    if not any(scratchpad):
        raise Untrue("nothing but zeros: a short circuit between data and ground")
    raw, milli = int.from_bytes(scratchpad[:2], "little", signed=True), int(match["milli"])
    if family == HALVES:  # finer than its own steps: the kernel works it out of the count that remains
        found = _judged(milli, MILLI_EXPONENT)
    else:
        if raw == UNFINISHED:
            raise Untrue("127.9375 °C is what it says when a measurement had too little power: connect its VDD")
        if abs(raw * 1000 - milli * 16) > AGREE:
            raise Untrue(f"the kernel says {milli} thousandths, its bytes say {raw * 625} ten-thousandths")
        found = _judged((raw & ~0 << _undefined_bits(scratchpad[4])) * 625, SIXTEENTH_EXPONENT)
    return found


def read_milli(text: str) -> Temperature:
    """The temperature of a `temperature` file. Raises Untrue."""
    if _MILLI.fullmatch(text) is None:
        raise Untrue(f"{text[:60]!r} is not what the file temperature says" if text.strip() else "the bus gave nothing")
    milli = int(text)
    if milli in {127_937, 127_938}:
        raise Untrue("127.937 °C is what it says when a measurement had too little power: connect its VDD")
    return _judged(milli, MILLI_EXPONENT)


def encode_slave(sixteenths: int, *, scratchpad: bytes | None = None) -> str:
    """What w1_slave says of a DS18B20 at `sixteenths` / 16 °C, or of these eight bytes."""
    body = scratchpad or sixteenths.to_bytes(2, "little", signed=True) + bytes.fromhex("4b467fff0c10")
    whole = body + bytes([crc8_maxim(body)])
    text = whole.hex(" ")
    milli = int.from_bytes(body[:2], "little", signed=True) * 1000 // 16
    return f"{text} : crc={whole[8]:02x} YES\n{text} t={milli}\n"


def _judged(mantissa: int, exponent: int) -> Temperature:
    unit = 10**-exponent
    if mantissa == POWER_ON * unit:
        raise Untrue("85 °C is what it says before it has measured: its power drops, or is shared by too many")
    quality = Quality.OK if LOW * unit <= mantissa <= HIGH * unit else Quality.OUT_OF_RANGE
    return Temperature(mantissa, exponent, quality)


def _undefined_bits(configuration: int) -> int:
    """Bits of a measurement that mean nothing at this resolution: 9 to 12 bits (data sheet, figure 10)."""
    return 3 - (configuration >> 5 & 3)
