"""Checksums that sensors put at the end of a line, in hexadecimal. Pure.

`sum8`: the sum of the bytes modulo 256. `xor`: the exclusive or of them, as in NMEA 0183. `crc8`: CRC-8/SMBUS
(polynomial 0x07). `crc8-maxim`: CRC-8/MAXIM-DOW (0x31 reflected), of 1-wire devices. `crc16-modbus`: CRC-16/MODBUS
(0x8005 reflected, from 0xFFFF). Names, parameters and check values: the catalogue of parametrised CRC algorithms,
reveng.sourceforge.io/crc-catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor
from typing import Literal

Kind = Literal["sum8", "xor", "crc8", "crc8-maxim", "crc16-modbus"]


def compute(kind: Kind, data: bytes) -> int:
    """The checksum of `data`."""
    return _KINDS[kind][1](data)


def hex_digits(kind: Kind) -> int:
    """How many hexadecimal digits it is written with."""
    return _KINDS[kind][0]


def crc8_maxim(data: bytes) -> int:
    """CRC-8/MAXIM-DOW; 0 over data that ends with its own."""
    return _reflected(data, start=0, polynomial=0x8C)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def _reflected(data: bytes, *, start: int, polynomial: int) -> int:
    crc = start
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ polynomial if crc & 1 else crc >> 1
    return crc


_KINDS: dict[Kind, tuple[int, Callable[[bytes], int]]] = {
    "sum8": (2, lambda data: sum(data) & 0xFF),
    "xor": (2, lambda data: reduce(xor, data, 0)),
    "crc8": (2, _crc8),
    "crc8-maxim": (2, crc8_maxim),
    "crc16-modbus": (4, lambda data: _reflected(data, start=0xFFFF, polynomial=0xA001)),
}
