"""The few packets of MQTT 5 that a publishing client needs. Pure: bytes in, packets out.

A client of the package index costs as much per message as what is to be measured; this one costs a tenth of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
_CONNECT, _SUBSCRIBE = 0x10, 0x82
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
KEEPALIVE_S = 60


class Packet(NamedTuple):
    """kind: the type's number; flags: the low half of its first byte; body: what follows the length."""

    kind: int
    flags: int
    body: bytes


def connect(client_id: str) -> bytes:
    """CONNECT with a clean start."""
    flags = b"\x00\x04MQTT\x05\x02" + KEEPALIVE_S.to_bytes(2, "big") + b"\x00"
    return _packet(_CONNECT, flags + _text(client_id))


def subscribe(packet_id: int, topic: str) -> bytes:
    """SUBSCRIBE at QoS 1."""
    return _packet(_SUBSCRIBE, packet_id.to_bytes(2, "big") + b"\x00" + _text(topic) + b"\x01")


def publish(packet_id: int, topic: bytes, payload: bytes) -> bytes:
    """PUBLISH at QoS 1; `topic` as `topic_name` gives it."""
    return _packet(0x32, topic + packet_id.to_bytes(2, "big") + b"\x00" + payload)


def topic_name(topic: str) -> bytes:
    """A topic as it stands in a PUBLISH."""
    return _text(topic)


def puback(packet_id: int) -> bytes:
    """PUBACK: success."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


class Published(NamedTuple):
    """A PUBLISH taken apart. packet_id: 0 for QoS 0."""

    topic: str
    packet_id: int
    payload: bytes


def read_publish(packet: Packet) -> Published:
    """What a PUBLISH says."""
    body = packet.body
    end = 2 + int.from_bytes(body[:2], "big")
    topic, at, packet_id = body[2:end].decode(), end, 0
    if packet.flags & 0x06:
        packet_id, at = int.from_bytes(body[at : at + 2], "big"), at + 2
    size, at = _length(body, at)
    return Published(topic, packet_id, body[at + size :])


class Reader:
    """Cuts what a socket gives into packets."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole now."""
        self._data += data
        at = 0
        while True:
            try:
                size, body = _length(self._data, at + 1)
            except IndexError:
                break
            if body + size > len(self._data):
                break
            first = self._data[at]
            yield Packet(first >> 4, first & 0x0F, bytes(self._data[body : body + size]))
            at = body + size
        del self._data[:at]


def _packet(first: int, body: bytes) -> bytes:
    size, head = len(body), bytearray([first])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _length(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5 §1.5.5) and the place behind it. Raises IndexError while it is not whole."""
    size = shift = 0
    while True:
        byte = data[at]
        size |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return size, at
