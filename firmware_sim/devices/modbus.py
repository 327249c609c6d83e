"""A Modbus slave, bytes in and bytes out: the witness against the library that the gateway's driver uses.

Own framing and protocol on purpose, no Modbus library; what the registers mean is the drivers' codec.
Functions 3 and 4; exception codes 1 (function), 2 (address), 3 (count) and 4 (the probe is broken and the device
says so). Framing: RTU with CRC, TCP with MBAP. Used by rtu_bus.py and tcp_probe.py.
Source: Modbus Application Protocol V1.1b3 §6.3, §6.4, §7; Modbus over Serial Line V1.02 §2.5.1;
Modbus Messaging on TCP/IP V1.0b §3.1.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Literal, NamedTuple

from edge.drivers.modbus.codec import CodecError, Point, Profile, encode
from firmware_sim.devices.log import Value

HOLDING, INPUT = 3, 4  # the functions that read the two register tables
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, TARGET_SILENT = 1, 2, 3, 4, 0x0B
MAX_COUNT = 125  # registers in one answer: 250 bytes fit a PDU of 253
MAX_RTU_BYTES = 256  # address 1 + PDU 253 + CRC 2
MBAP_BYTES = 7
MAX_MBAP_LENGTH = 254  # unit id 1 + PDU 253
REQUEST_BYTES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8}  # RTU requests of fixed length

Source = Callable[[int], Decimal | None]  # what a point measures at a simulated time (ms); None: its probe is broken


class ModbusError(Exception):
    """An exception answer with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Unit(NamedTuple):
    """One slave: its register map, and where the values of its points come from."""

    unit_id: int
    device: str
    gateway: str
    profile: Profile
    sources: dict[str, Source]
    failure: Literal["sentinel", "exception"] = "sentinel"


class Answer(NamedTuple):
    """The PDU to send, and the numbers in it."""

    pdu: bytes
    values: list[Value]


def answer(unit: Unit, pdu: bytes, at_ms: int) -> Answer:
    """What the slave says to a request PDU."""
    function = pdu[0] if pdu else 0
    try:
        return _read(unit, function, pdu, at_ms)
    except ModbusError as error:
        return Answer(bytes([function | 0x80, error.code]), [])


def crc16(data: bytes) -> int:
    """CRC-16 of Modbus: polynomial 0xA001 reflected, start 0xFFFF (Serial Line V1.02 §6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def rtu_frame(unit_id: int, pdu: bytes) -> bytes:
    """Address, PDU, CRC with the low byte first."""
    body = bytes([unit_id]) + pdu
    return body + struct.pack("<H", crc16(body))


def rtu_payload(frame: bytes) -> tuple[int, bytes] | None:
    """(unit id, PDU) of a whole RTU frame; None where the CRC or length is wrong: a slave keeps silent then."""
    if not 4 <= len(frame) <= MAX_RTU_BYTES or struct.pack("<H", crc16(frame[:-2])) != frame[-2:]:
        return None
    return frame[0], frame[1:-2]


class RtuRequests:
    """Cuts a line's bytes into requests: by length where the function tells it, else by silence."""

    def __init__(self) -> None:
        self._bytes = b""

    @property
    def waiting(self) -> bool:
        """Whether there is a piece that only silence can end."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, give whole requests. A piece longer than any frame is thrown away."""
        self._bytes += data
        frames = []
        while (length := self._length()) and len(self._bytes) >= length:
            if rtu_payload(self._bytes[:length]) is None:
                break  # out of step: only silence says where the next request begins
            frames.append(self._bytes[:length])
            self._bytes = self._bytes[length:]
        if len(self._bytes) > MAX_RTU_BYTES:
            self._bytes = b""
        return frames

    def silence(self) -> bytes:
        """The line was silent for 3.5 characters: what is there is one frame."""
        frame, self._bytes = self._bytes, b""
        return frame

    def _length(self) -> int:
        if len(self._bytes) < 2:
            return 0
        if self._bytes[1] in (15, 16):
            return 9 + self._bytes[6] if len(self._bytes) > 6 else 0
        return REQUEST_BYTES.get(self._bytes[1], 0)


class Mbap(NamedTuple):
    """The header of a Modbus TCP message; length counts the unit id and the PDU."""

    transaction: int
    protocol: int
    length: int
    unit_id: int

    @classmethod
    def parse(cls, header: bytes) -> Mbap | None:
        """None for what cannot be Modbus: a slave closes the connection then."""
        mbap = cls(*struct.unpack(">HHHB", header))
        return mbap if mbap.protocol == 0 and 2 <= mbap.length <= MAX_MBAP_LENGTH else None

    def frame(self, pdu: bytes) -> bytes:
        """The answer to this request."""
        return struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, self.unit_id) + pdu


def _read(unit: Unit, function: int, pdu: bytes, at_ms: int) -> Answer:
    if function not in (HOLDING, INPUT):
        raise ModbusError(ILLEGAL_FUNCTION)
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    start, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= MAX_COUNT:
        raise ModbusError(ILLEGAL_VALUE)
    wanted = range(start, start + count)
    points = {
        address: point
        for block in unit.profile.block
        for point in block.point
        if block.function == function
        for address in range(point.register, point.register + point.width)
    }
    if not points.keys() >= set(wanted):
        raise ModbusError(ILLEGAL_ADDRESS)
    registers: dict[int, int] = {}
    values = []
    for point in {points[address].name: points[address] for address in wanted}.values():
        words, value = _sample(unit, point, at_ms)
        registers |= zip(range(point.register, point.register + point.width), words, strict=True)
        values += [value] if point.register in wanted else []
    words = [registers[address] for address in wanted]
    return Answer(bytes([function, 2 * count]) + struct.pack(f">{count}H", *words), values)


def _sample(unit: Unit, point: Point, at_ms: int) -> tuple[list[int], Value]:
    measured = unit.sources[point.name](at_ms)
    if measured is None and unit.failure == "exception":
        raise ModbusError(DEVICE_FAILURE)
    try:
        words = encode(point, measured)
    except CodecError as error:  # the register cannot say it: the device has nothing true to answer
        raise ModbusError(DEVICE_FAILURE) from error
    mantissa = None if measured is None else int(measured.scaleb(-point.exponent))
    return words, Value(unit.device, f"{unit.gateway}/{unit.device}/{point.name}", mantissa, point.exponent)
