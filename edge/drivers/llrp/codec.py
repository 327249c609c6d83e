"""LLRP messages ↔ bytes: what a reader says, and how it is told to read tags. Sans-IO.

LLRP 1.0.1 (EPCglobal, 2007). A message is 3 reserved bits, 3 of version, 10 of type, 32 of length, 32 of id, and its
body (§16.1). Parameters in it are TLV (6 reserved bits, 10 of type, 16 of length, §16.2.1.1) or TV (a set bit, 7 of
type, and a value whose size the type tells, §16.2.1.2). What isn't needed here is skipped, vendors' extensions too.

A body that makes no sense gives `Damaged` and the next message is read; a header that makes none means that the place
in the stream is lost (`StreamLost`): only a new connection helps. Held are MESSAGE_MAX_BYTES at most.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct(">HII")
MESSAGE_MAX_BYTES = 256 * 1024  # a reader reports each tag, or some hundreds; one report of a tag has 70 bytes
TEXT_MAX_CHARACTERS = 300  # of what a reader says about an error
VERSIONS = frozenset({1, 2})  # 1.0.1 and 1.1: the same in all that is used here

ADD_ROSPEC, DELETE_ROSPEC, START_ROSPEC, ENABLE_ROSPEC = 20, 21, 22, 24
GET_READER_CAPABILITIES, SET_READER_CONFIG, CLOSE_CONNECTION = 1, 3, 14
RO_ACCESS_REPORT, KEEPALIVE, READER_EVENT_NOTIFICATION, KEEPALIVE_ACK, ERROR_MESSAGE = 61, 62, 63, 72, 100
_CAPABILITIES_RESPONSE = 11
_ANSWERS = frozenset({11, 12, 13, 4, 30, 31, 32, 33, 34, 35, 36, ERROR_MESSAGE})

CONNECTED = 0  # ConnectionAttemptEvent (§13.1.6.14.13)
TAKEN = frozenset({1, 2})  # another client, or the reader itself, has the connection

#: Sizes of TV values by type (§16.2.7, table of TV parameters).
_TV_BYTES = {
    1: 2, 2: 8, 3: 8, 4: 8, 5: 8, 6: 1, 7: 2, 8: 2, 9: 4, 10: 2,
    11: 2, 12: 2, 13: 12, 14: 2, 15: 2, 16: 4, 17: 2, 18: 4, 19: 2, 20: 2,
}  # fmt: skip
_ANTENNA, _FIRST_UTC, _FIRST_UPTIME, _LAST_UTC, _LAST_UPTIME, _RSSI, _COUNT, _EPC_96 = 1, 2, 3, 4, 5, 6, 8, 13
_TAG_REPORT, _EPC_DATA, _STATUS, _EVENT_DATA = 240, 241, 287, 246
_EXCEPTION_EVENT, _ANTENNA_EVENT, _CONNECTION_EVENT, _CLOSE_EVENT, _OVERFLOW_EVENT = 252, 255, 256, 257, 251
_GENERAL_CAPABILITIES, _REGULATORY_CAPABILITIES, _UHF_BAND, _POWER_ENTRY = 137, 143, 144, 145


class StreamLost(ValueError):
    """The bytes are not LLRP, or no longer: the connection is of no use any more."""


class Tag(NamedTuple):
    """One line of a report. The times are the reader's own clock's, in microseconds: hints, nothing more."""

    epc: bytes
    antenna: int | None = None
    rssi_dbm: int | None = None
    reads: int = 1
    first_us: int | None = None
    last_us: int | None = None


class Report(NamedTuple):
    """RO_ACCESS_REPORT. blank: how many tags in it have no EPC at all, and so no name."""

    tags: list[Tag]
    blank: int = 0


class KeepAlive(NamedTuple):
    """KEEPALIVE: wants a KEEPALIVE_ACK with its id."""

    message_id: int


class Event(NamedTuple):
    """READER_EVENT_NOTIFICATION. connection: the status of the attempt (CONNECTED, TAKEN or another failure).

    antenna: (number, whether it is connected). exception: what went wrong in the reader's own words.
    overflow: reports were lost, because the reader's memory was full. closed: it ends the connection.
    """

    connection: int | None = None
    antenna: tuple[int, bool] | None = None
    exception: str = ""
    overflow: bool = False
    closed: bool = False


class Answer(NamedTuple):
    """A response, or ERROR_MESSAGE. status 0 is success (§14.1.1)."""

    kind: int
    message_id: int
    status: int
    text: str


class Capabilities(NamedTuple):
    """GET_READER_CAPABILITIES_RESPONSE. maker: IANA enterprise number. powers: index → transmit power in dBm."""

    message_id: int
    antennas: int
    maker: int
    model: int
    firmware: str
    powers: dict[int, float]


class Damaged(NamedTuple):
    """A message whose body makes no sense; it was skipped."""

    reason: str


class Other(NamedTuple):
    """A message that nobody here needs."""

    kind: int


Message = Report | KeepAlive | Event | Answer | Capabilities | Damaged | Other


class Decoder:
    """Cuts a byte stream into messages, however the bytes arrive."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of a message wait for its end."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Message]:
        """Take what arrived; give what became complete, in order.

        Raises StreamLost when nothing sensible can follow; what was complete before it was given by the call before.
        """
        held = self._held
        held += data
        found: list[Message] = []
        at = 0
        while len(held) - at >= HEADER.size:
            word, length, message_id = HEADER.unpack_from(held, at)
            if word >> 10 not in VERSIONS or not HEADER.size <= length <= MESSAGE_MAX_BYTES:
                if found:
                    break
                raise StreamLost(f"{bytes(held[at : at + HEADER.size]).hex(' ')} is not the header of an LLRP message")
            if len(held) - at < length:
                break
            body = bytes(held[at + HEADER.size : at + length])
            at += length
            found.append(_message(word & 0x3FF, message_id, body))
        del held[:at]
        return found


def _message(kind: int, message_id: int, body: bytes) -> Message:
    try:
        if kind == RO_ACCESS_REPORT:
            tags = [_tag(body, at, end) for at, end in _children(body, 0, len(body), _TAG_REPORT)]
            named = [tag for tag in tags if tag.epc]
            return Report(named, len(tags) - len(named))
        if kind == KEEPALIVE:
            return KeepAlive(message_id)
        if kind == READER_EVENT_NOTIFICATION:
            return _event(body)
        if kind == _CAPABILITIES_RESPONSE and _status(body)[0] == 0:
            return _capabilities(message_id, body)
        if kind in _ANSWERS:
            return Answer(kind, message_id, *_status(body))
    except (struct.error, IndexError, ValueError) as error:
        return Damaged(f"message of type {kind} with {len(body)} bytes: {error}")
    return Other(kind)


def _parameters(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end of the value) of each parameter in data[at:end]. Raises ValueError."""
    while at < end:
        first = data[at]
        if first & 0x80:
            kind = first & 0x7F
            size = _TV_BYTES.get(kind)
            if size is None:
                raise ValueError(f"TV parameter {kind} is unknown")
            start, at = at + 1, at + 1 + size
        else:
            if end - at < 4:
                raise ValueError("a parameter is cut off")
            kind = (first & 0x03) << 8 | data[at + 1]
            size = data[at + 2] << 8 | data[at + 3]
            if size < 4:
                raise ValueError(f"parameter {kind} has a length of {size}")
            start, at = at + 4, at + size
        if at > end:
            raise ValueError(f"parameter {kind} is longer than what holds it")
        yield kind, start, at


def _children(data: bytes, at: int, end: int, kind: int) -> Iterator[tuple[int, int]]:
    """Start and end of each parameter of one type."""
    return ((start, stop) for found, start, stop in _parameters(data, at, end) if found == kind)


def _tag(data: bytes, at: int, end: int) -> Tag:
    epc, antenna, rssi_dbm, count, first_us, last_us = b"", None, None, 1, None, None
    for kind, start, stop in _parameters(data, at, end):
        if kind == _EPC_96:
            epc = data[start:stop]
        elif kind == _ANTENNA:
            antenna = data[start] << 8 | data[start + 1]
        elif kind == _RSSI:
            rssi_dbm = (data[start] ^ 0x80) - 0x80
        elif kind == _COUNT:
            count = max(1, data[start] << 8 | data[start + 1])
        elif kind in {_FIRST_UTC, _FIRST_UPTIME}:
            first_us = int.from_bytes(data[start:stop])
        elif kind in {_LAST_UTC, _LAST_UPTIME}:
            last_us = int.from_bytes(data[start:stop])
        elif kind == _EPC_DATA:
            epc = _bit_string(data, start, stop)
    return Tag(epc, antenna, rssi_dbm, count, first_us, last_us)


def _bit_string(data: bytes, at: int, end: int) -> bytes:
    (bits,) = struct.unpack_from(">H", data, at)
    size = -(-bits // 8)
    if at + 2 + size > end:
        raise ValueError(f"an EPC of {bits} bits is cut off")
    return data[at + 2 : at + 2 + size]


def _text(data: bytes, at: int, end: int) -> str:
    (size,) = struct.unpack_from(">H", data, at)
    if at + 2 + size > end:
        raise ValueError("a text is cut off")
    text = data[at + 2 : at + 2 + size].decode("utf-8", "replace")[:TEXT_MAX_CHARACTERS]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _status(body: bytes) -> tuple[int, str]:
    for at, end in _children(body, 0, len(body), _STATUS):
        (code,) = struct.unpack_from(">H", body, at)
        return code, _text(body, at + 2, end)
    raise ValueError("no LLRPStatus")


def _event(body: bytes) -> Event:
    found = Event()
    for outer, outer_end in _children(body, 0, len(body), _EVENT_DATA):
        for kind, at, end in _event_parts(body, outer, outer_end):
            if kind == _CONNECTION_EVENT:
                found = found._replace(connection=struct.unpack_from(">H", body, at)[0])
            elif kind == _ANTENNA_EVENT:
                connected, antenna = struct.unpack_from(">BH", body, at)
                found = found._replace(antenna=(antenna, connected == 1))
            elif kind == _EXCEPTION_EVENT:
                found = found._replace(exception=_text(body, at, end) or "an exception without a name")
            elif kind == _OVERFLOW_EVENT:
                found = found._replace(overflow=True)
            elif kind == _CLOSE_EVENT:
                found = found._replace(closed=True)
    return found


def _event_parts(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    for kind, start, stop in _parameters(body, at, end):
        if stop - start >= 2 or kind in {_CLOSE_EVENT, _OVERFLOW_EVENT}:
            yield kind, start, stop


def _capabilities(message_id: int, body: bytes) -> Capabilities:
    antennas, maker, model, firmware = 0, 0, 0, ""
    powers: dict[int, float] = {}
    for kind, at, end in _parameters(body, 0, len(body)):
        if kind == _GENERAL_CAPABILITIES:
            antennas, _, maker, model = struct.unpack_from(">HHII", body, at)
            firmware = _text(body, at + 12, end)
        elif kind == _REGULATORY_CAPABILITIES:
            for band, band_end in _children(body, at + 4, end, _UHF_BAND):
                for entry, _ in _children(body, band, band_end, _POWER_ENTRY):
                    index, centi_dbm = struct.unpack_from(">Hh", body, entry)
                    powers[index] = centi_dbm / 100
    return Capabilities(message_id, antennas, maker, model, firmware, powers)
