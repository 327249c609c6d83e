"""A Modbus slave, bytes in and bytes out: the witness against the library that the gateway's driver uses.

Own framing and protocol on purpose, no Modbus library; what the registers mean is the drivers' codec.
Functions 1 to 4; exception codes 1 (function), 2 (address), 3 (count), 4 (the probe is broken and the device says so)
and 6 (busy). Framing: RTU with CRC, TCP with MBAP. Used by rtu_bus.py and tcp_probe.py.
Source: Modbus Application Protocol V1.1b3 §6.1–§6.4, §7; Modbus over Serial Line V1.02 §2.5.1;
Modbus Messaging on TCP/IP V1.0b §3.1.3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from edge.drivers.modbus.codec import CodecError, Point, Profile, encode, plan
from firmware_sim.devices import ailments
from firmware_sim.devices.ailments import Ailment, is_busy, measured
from firmware_sim.devices.log import Value

BIT_TABLES, REGISTER_TABLES = (1, 2), (3, 4)  # by the function that reads them: coils, discrete inputs; holding, input
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, BUSY, TARGET_SILENT = 1, 2, 3, 4, 6, 0x0B
MAX_COUNT = 125  # registers in one answer: 250 bytes fit a PDU of 253
MAX_BITS = 2000  # 250 bytes, too
MAX_RTU_BYTES = 256  # address 1 + PDU 253 + CRC 2
MBAP_BYTES = 7
MAX_MBAP_LENGTH = 254  # unit id 1 + PDU 253
REQUEST_BYTES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8}  # RTU requests of fixed length

Source = ailments.Source


class ModbusError(Exception):
    """An exception answer with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Unit(NamedTuple):
    """One slave: its register map, where the values of its points come from, and what is wrong with it.

    It has the registers that its profile reads, and answers exception 2 for all others, as the strict ones do.
    """

    unit_id: int
    device: str
    gateway: str
    profile: Profile
    sources: dict[str, Source]
    failure: Literal["sentinel", "exception"] = "sentinel"
    ailments: Sequence[Ailment] = ()


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


class _Table(NamedTuple):
    """One of the four tables of a device: which addresses there are, and the points at each of them."""

    addresses: frozenset[int]
    points: dict[int, list[Point]]


def _read(unit: Unit, function: int, pdu: bytes, at_ms: int) -> Answer:
    tables = _tables(unit.profile)
    if function not in tables and function not in REGISTER_TABLES:
        raise ModbusError(ILLEGAL_FUNCTION)
    if len(pdu) != 5:
        raise ModbusError(ILLEGAL_VALUE)
    start, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= (MAX_BITS if function in BIT_TABLES else MAX_COUNT):
        raise ModbusError(ILLEGAL_VALUE)
    wanted = range(start, start + count)
    table = tables.get(function, _Table(frozenset(), {}))
    if not table.addresses >= set(wanted):
        raise ModbusError(ILLEGAL_ADDRESS)
    if is_busy(unit.ailments, at_ms):
        raise ModbusError(BUSY)
    words: dict[int, int] = dict.fromkeys(wanted, 0)
    values = []
    for point in {point.name: point for address in wanted for point in table.points.get(address, ())}.values():
        own, value = _sample(unit, point, at_ms)
        for address, word in enumerate(own, point.register):
            words[address] = words.get(address, 0) | word  # bits and bytes of several points share a register
        values += [value] if point.register in wanted else []
    return Answer(bytes([function]) + _data(function, [words[address] for address in wanted]), values)


def _data(function: int, words: list[int]) -> bytes:
    """Byte count and data: V1.1b3 §6.1 (bits, the first one lowest) and §6.3 (registers)."""
    if function in REGISTER_TABLES:
        return bytes([2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
    packed = sum(bit << at for at, bit in enumerate(words)).to_bytes(-(-len(words) // 8), "little")
    return bytes([len(packed)]) + packed


_TABLES_MAX = 256  # profiles of one simulation; a test may make many
_tables_of: dict[int, tuple[Profile, dict[int, _Table]]] = {}  # by id(profile), which is kept alive here


def _tables(profile: Profile) -> dict[int, _Table]:
    known = _tables_of.get(id(profile))
    if known is None:
        if len(_tables_of) >= _TABLES_MAX:
            _tables_of.clear()
        known = _tables_of[id(profile)] = profile, _map(profile)
    return known[1]


def _map(profile: Profile) -> dict[int, _Table]:
    found: dict[int, _Table] = {}
    for block in plan(profile):
        table = found.setdefault(block.function, _Table(frozenset(), {}))
        addresses = table.addresses | {*range(block.address, block.address + block.count)}
        for point in block.point:
            for address in range(point.register, point.register + point.width):
                table.points.setdefault(address, []).append(point)
        found[block.function] = _Table(addresses, table.points)
    return found


def _sample(unit: Unit, point: Point, at_ms: int) -> tuple[list[int], Value]:
    step = Decimal(1).scaleb(point.exponent)
    value = measured(unit.sources[point.name], unit.ailments, at_ms, step) if point.type != "bit" else None
    told_by_bit = value is None and point.fault is not None
    if point.type == "bit":
        value = _flag(unit, point, at_ms)
    elif value is None and unit.failure == "exception":
        raise ModbusError(DEVICE_FAILURE)
    try:
        words = [0] * point.width if told_by_bit else encode(point, value)
    except CodecError as error:  # the register cannot say it: the device has nothing true to answer
        raise ModbusError(DEVICE_FAILURE) from error
    mantissa = None if value is None else int(value.scaleb(-point.exponent))
    return words, Value(unit.device, f"{unit.gateway}/{unit.device}/{point.name}", mantissa, point.exponent)


def _flag(unit: Unit, point: Point, at_ms: int) -> Decimal | None:
    """A bit says what its source says; one that tells of a broken probe is set while that is broken."""
    told = [other for other in unit.profile.points if other.fault == point.name]
    if any(unit.sources[other.name](at_ms) is None for other in told):
        return Decimal(1)
    return unit.sources[point.name](at_ms)
