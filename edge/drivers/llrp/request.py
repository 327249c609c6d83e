"""What a client says to an LLRP reader, as bytes. LLRP 1.0.1 §16.1 (messages) and §16.2 (parameters). Pure.

One ROSpec, ours: all chosen antennas until it is deleted, one report per tag seen, with antenna, strength, count and
the reader's times.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from edge.drivers.llrp import codec

VERSION = 1  # 1.0.1: every reader speaks it
ALL = 0  # of ROSpecs, of antennas, of capabilities
ROSPEC = 1
_GEN2 = 1  # EPCglobal Class 1 Generation 2
_PERIODIC = 1
_UPON_N_TAGS = 2
_POPULATION = 32  # how many tags are expected at once; only tunes the air protocol

#: READER_EVENT_NOTIFICATION kinds to hear of (§13.1.6.4): buffer level, exception, antenna.
_EVENTS = (4, 3, 8)
#: TagReportContentSelector (§13.1.6.3.1): antenna id, channel index off, peak RSSI, first seen, last seen, count.
_CONTENT = 0b0001_0111_1000_0000


def message(kind: int, message_id: int, body: bytes = b"") -> bytes:
    """One message."""
    return codec.HEADER.pack(VERSION << 10 | kind, codec.HEADER.size + len(body), message_id) + body


def get_capabilities(message_id: int) -> bytes:
    """GET_READER_CAPABILITIES, all of them."""
    return message(codec.GET_READER_CAPABILITIES, message_id, bytes([ALL]))


def set_config(message_id: int, *, keepalive_ms: int) -> bytes:
    """SET_READER_CONFIG: which events to tell, and a KEEPALIVE every `keepalive_ms`. Nothing is reset."""
    events = b"".join(_tlv(245, struct.pack(">HB", kind, 0x80)) for kind in _EVENTS)
    keepalive = _tlv(220, struct.pack(">BI", _PERIODIC, keepalive_ms))
    return message(codec.SET_READER_CONFIG, message_id, b"\0" + _tlv(244, events) + keepalive)


def delete_rospecs(message_id: int) -> bytes:
    """DELETE_ROSPEC, all: what somebody else left behind would be reported with ours."""
    return message(codec.DELETE_ROSPEC, message_id, struct.pack(">I", ALL))


def add_rospec(message_id: int, *, antennas: Sequence[int], session: int, power_index: int | None) -> bytes:
    """ADD_ROSPEC with ours. antennas: none for all. session: of Gen2, 0 to 3. power_index: of the reader's table."""
    start = _tlv(179, b"\0")  # by START_ROSPEC only
    stop = _tlv(182, struct.pack(">BI", 0, 0))
    chosen = list(antennas) or [ALL]
    body = struct.pack(f">H{len(chosen)}H", len(chosen), *chosen)
    body += _tlv(184, struct.pack(">BI", 0, 0)) + _tlv(
        186, struct.pack(">HB", 1, _GEN2) + _antenna(session, power_index)
    )
    report = _tlv(238, struct.pack(">H", _CONTENT) + _tlv(348, b"\0"))
    return message(
        codec.ADD_ROSPEC,
        message_id,
        _tlv(
            177,
            struct.pack(">IBB", ROSPEC, 0, 0)
            + _tlv(178, start + stop)
            + _tlv(183, body)
            + _tlv(237, struct.pack(">BH", _UPON_N_TAGS, 1) + report),
        ),
    )


def enable_rospec(message_id: int) -> bytes:
    """ENABLE_ROSPEC, ours."""
    return message(codec.ENABLE_ROSPEC, message_id, struct.pack(">I", ROSPEC))


def start_rospec(message_id: int) -> bytes:
    """START_ROSPEC, ours."""
    return message(codec.START_ROSPEC, message_id, struct.pack(">I", ROSPEC))


def keepalive_ack(message_id: int) -> bytes:
    """KEEPALIVE_ACK."""
    return message(codec.KEEPALIVE_ACK, message_id)


def close_connection(message_id: int) -> bytes:
    """CLOSE_CONNECTION."""
    return message(codec.CLOSE_CONNECTION, message_id)


def _antenna(session: int, power_index: int | None) -> bytes:
    """AntennaConfiguration for all antennas of the ROSpec."""
    power = b"" if power_index is None else _tlv(224, struct.pack(">HHH", 1, 1, power_index))
    singulation = _tlv(336, struct.pack(">BHI", session << 6, _POPULATION, 0))
    return _tlv(222, struct.pack(">H", ALL) + power + _tlv(330, b"\0" + singulation))


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, 4 + len(value)) + value
