"""Asks one Modbus unit one thing and judges what comes back, byte by byte. Pure but for `ask`.

The driver's library says only that no valid frame came. An installer must know more: nothing at all (no such unit),
two answers to one question (two devices with one address), or rubble (noise, or a collision of such answers).
Frames: Modbus over Serial Line V1.02 §2.5.1; exception answers: Application Protocol V1.1b3 §7.
"""

from __future__ import annotations

import asyncio
import struct
from enum import Enum
from typing import NamedTuple

import serialx

ANSWER_MAX_BYTES = 512  # two of the longest frames
QUIET_MIN_S = 0.02  # USB adapters hand bytes on in bundles of 16 ms


class Verdict(Enum):
    """What came back."""

    SILENT = "silent"
    ANSWER = "answer"
    DOUBLE = "double"  # a whole answer, and more behind it
    RUBBLE = "rubble"  # bytes, and no frame of this unit among them
    STRANGER = "stranger"  # a whole answer of another unit


class Request(NamedTuple):
    """A read of registers: function 3 or 4."""

    function: int
    address: int
    registers: int

    def frame(self, unit_id: int) -> bytes:
        """As it goes over the line."""
        body = struct.pack(">BBHH", unit_id, self.function, self.address, self.registers)
        return body + struct.pack("<H", crc16(body))


class Judged(NamedTuple):
    """A verdict and its evidence. exception: the code of an exception answer, 0 for registers."""

    verdict: Verdict
    data: bytes = b""
    exception: int = 0


def crc16(data: bytes) -> int:
    """CRC-16 of Modbus: polynomial 0xA001 reflected, start 0xFFFF (Serial Line V1.02 §6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def judge(request: Request, unit_id: int, data: bytes) -> Judged:
    """What `data`, all that came after the request, is."""
    asked = request.frame(unit_id)
    data = data.removeprefix(asked)  # of an adapter that hears itself
    if not data:
        return Judged(Verdict.SILENT)
    size = _frame_size(data)
    if size is None or len(data) < size or struct.pack("<H", crc16(data[: size - 2])) != data[size - 2 : size]:
        return Judged(Verdict.RUBBLE, data)
    if data[0] != unit_id:
        return Judged(Verdict.STRANGER, data)
    if data[1] & 0x7F != request.function:
        return Judged(Verdict.RUBBLE, data)
    if len(data) > size:
        return Judged(Verdict.DOUBLE, data)
    return Judged(Verdict.ANSWER, data, data[2] if data[1] & 0x80 else 0)


async def ask(
    port: serialx.AsyncSerial, request: Request, unit_id: int, *, timeout_s: float, character_s: float
) -> Judged:
    """Send a request and judge all that comes until the line is quiet. Raises OSError."""
    await port.write(request.frame(unit_id))
    quiet_s = max(QUIET_MIN_S, 4 * character_s)
    on_the_wire_s = 8 * character_s
    data = await _read(port, timeout_s + on_the_wire_s)
    while data and len(data) < ANSWER_MAX_BYTES:
        more = await _read(port, quiet_s)
        if not more:
            break
        data += more
    await asyncio.sleep(quiet_s if data else 0)
    return judge(request, unit_id, data)


async def _read(port: serialx.AsyncSerial, wait_s: float) -> bytes:
    try:
        async with asyncio.timeout(wait_s):
            data = await port.read(ANSWER_MAX_BYTES)
    except TimeoutError:
        return b""
    if not data:
        raise OSError("the port was closed at the other end")
    return data


def _frame_size(data: bytes) -> int | None:
    if len(data) < 3:
        return None
    return 5 if data[1] & 0x80 else 5 + data[2]
