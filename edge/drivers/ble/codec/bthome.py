"""BTHome v2, plain and encrypted (AES-CCM), and the measurements of v1. Pure.

v2 is service data of 0xFCD2: device information (bit 0 encrypted, bit 1 address included, bit 2 on trigger only, bits
5–7 version), [address], objects; encrypted: ciphertext, counter (4 bytes), tag (4 bytes), with the nonce
address ‖ UUID ‖ device information ‖ counter. v1 is 0x181C, and 0x181E encrypted: each object is preceded by its
length and type of number (bthome_1.py). Source: bthome.io/format, /encryption and /v1. What an object of a later
version is, nobody can know, nor how long: what follows it is passed over, and the message says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from edge.drivers.ble.codec import bthome_objects as kinds
from edge.drivers.ble.codec.advert import AdvertError, Message, Value, humidity, is_address, short_uuid
from edge.drivers.ble.codec.bthome_1 import items_1
from edge.drivers.ble.codec.bthome_objects import SIZES, Item
from wire.observation import Quality

V2 = short_uuid(0xFCD2)
V1_PLAIN, V1_ENCRYPTED = short_uuid(0x181C), short_uuid(0x181E)
KEY_BYTES = 16
_TAG_BYTES = 4
_TAIL_BYTES = 8  # counter and tag
_RESTARTED_BELOW = 100  # a counter that fell to this little began anew (battery changed) rather than was replayed


class Replayed(AdvertError):
    """An encrypted advert whose counter is not ahead of the last one's."""


class Decoder:
    """The decoder of one device: knows its key and the counter of its last encrypted advert.

    Invariant: a counter is remembered only of an advert whose tag was right.
    """

    def __init__(self, address: str, bindkey: bytes | None = None) -> None:
        if not is_address(address) and bindkey is not None:
            raise AdvertError(f"BTHome: {address[:40]!r} is no Bluetooth address, and the key needs one")
        if bindkey is not None and len(bindkey) != KEY_BYTES:
            raise AdvertError(f"BTHome: the bindkey has {KEY_BYTES} bytes (32 hex digits), not {len(bindkey)}")
        self._mac = bytes.fromhex(address.replace(":", "")) if is_address(address) else b""
        self._cipher = None if bindkey is None else AESCCM(bindkey, tag_length=_TAG_BYTES)
        self._counter: int | None = None
        self._restarted = False

    def decode(self, service_data: dict[str, bytes]) -> Message:
        """What the device says. Raises AdvertError; Replayed for a counter that is not ahead."""
        self._restarted, before = False, self._counter
        if V2 in service_data:
            message = self._version_2(service_data[V2])
        elif V1_PLAIN in service_data:
            self._refuse_plain()
            message = _message("bthome-1", items_1(service_data[V1_PLAIN]), "")
        elif V1_ENCRYPTED in service_data:
            plain = self._decrypt(service_data[V1_ENCRYPTED], self._mac + b"\x1e\x18", b"\x11")
            message = _message("bthome-1", items_1(plain), "")
        else:
            raise AdvertError("BTHome: no service data of 0xFCD2; is this a BTHome device, and is it set to v2?")
        if self._restarted:
            message.info["counter"] = "began anew: battery changed?"
        if self._counter != before:
            number = self._counter if message.number is None else message.number
            return msgspec.structs.replace(message, number=number, counted=True)
        return message

    def _version_2(self, data: bytes) -> Message:
        if not data:
            raise AdvertError("BTHome: no data behind the service's number")
        information, payload, mac = data[0], data[1:], self._mac
        if information >> 5 != 2:
            raise AdvertError(
                f"BTHome: version {information >> 5}, known here are 1 and 2; set the device to version 2"
            )
        if information & 0x02:
            if len(payload) < 6:
                raise AdvertError(f"BTHome: {len(payload)} bytes where the address of the device should be")
            mac, payload = payload[5::-1], payload[6:]
            if self._mac and mac != self._mac:
                raise AdvertError(f"BTHome: tells another address ({mac.hex(':')}) than it was sent from")
        if information & 0x01:
            payload = self._decrypt(payload, mac + b"\xd2\xfc" + bytes([information]), None)
        else:
            self._refuse_plain()
        items, rest = _items_2(payload)
        return _message("bthome-2", items, rest)

    def _refuse_plain(self) -> None:
        if self._cipher is not None:
            raise AdvertError(
                "BTHome: not encrypted, although a bindkey is configured: somebody else may be sending in its name; "
                "take the bindkey out if the device was reset"
            )

    def _decrypt(self, data: bytes, nonce: bytes, associated: bytes | None) -> bytes:
        if self._cipher is None:
            raise AdvertError("BTHome: encrypted; configure its bindkey (32 hex digits, shown when it was paired)")
        if len(data) <= _TAIL_BYTES:
            raise AdvertError(f"BTHome: {len(data)} bytes are too short for an encrypted advert")
        count, tag = data[-_TAIL_BYTES:-_TAG_BYTES], data[-_TAG_BYTES:]
        try:
            plain = self._cipher.decrypt(nonce + count, data[:-_TAIL_BYTES] + tag, associated)
        except InvalidTag:
            raise AdvertError("BTHome: the bindkey does not fit; is it the one of this device?") from None
        self._follow(int.from_bytes(count, "little"))
        return plain

    def _follow(self, counter: int) -> None:
        last = self._counter
        if last is not None and counter <= last:
            if counter >= _RESTARTED_BELOW or last < _RESTARTED_BELOW:
                raise Replayed(
                    f"BTHome: counter {counter} is not ahead of {last}: an old advert sent again, by the device or by "
                    "somebody else"
                )
            self._restarted = True
        self._counter = counter


def _items_2(payload: bytes) -> tuple[list[Item], str]:
    """The objects of a v2 payload, and what is to be said of a rest that could not be read."""
    items: list[Item] = []
    at = 0
    while at < len(payload):
        code, start = payload[at], at + 1
        if code in (kinds.TEXT, kinds.RAW, kinds.COMMAND):
            if start == len(payload):
                raise AdvertError(f"BTHome: object 0x{code:02X} is cut off before its length")
            size, start = payload[start], start + 1
            size = 1 + (size & 0x1F) if code == kinds.COMMAND else size
        elif code in SIZES:
            size = SIZES[code]
        else:
            return items, f"object 0x{code:02X} is not known here; {len(payload) - at} bytes were passed over"
        if start + size > len(payload):
            raise AdvertError(f"BTHome: object 0x{code:02X} needs {size} bytes, {len(payload) - start} are left")
        items.append((code, payload[start : start + size]))
        at = start + size
    return items, ""


def _message(name: str, items: Sequence[Item | Value], rest: str) -> Message:
    values: list[Value] = []
    switches: set[str] = set()
    presses: set[str] = set()
    info = {"rest": rest} if rest else {}
    number = None
    for item in items:
        if isinstance(item, Value):
            values.append(item)
            continue
        code, data = item
        if code == kinds.PACKET_ID:
            number = data[0]
        elif code in kinds.NUMBERS:
            values.append(_number(kinds.NUMBERS[code], data))
        elif code in kinds.SWITCHES:
            point = kinds.SWITCHES[code]
            values.append(_switch(point, data[0]))
            switches.add(point)
        else:
            _other(code, data, values, presses, info)
    apart = _apart(values, switches, presses)
    return Message(name, apart, number, frozenset(switches), frozenset(presses), info)


def _number(kind: kinds.Object, data: bytes) -> Value:
    mantissa = int.from_bytes(data, "little", signed=kind.signed) * kind.step
    if kind.point == "humidity":
        return humidity(mantissa, kind.exponent)
    return Value(kind.point, kind.unit, mantissa, kind.exponent)


def _switch(point: str, raw: int) -> Value:
    return Value(point, "C62", raw, 0, Quality.OK if raw <= 1 else Quality.OUT_OF_RANGE)


def _other(code: int, data: bytes, values: list[Value], presses: set[str], info: dict[str, str]) -> None:
    """Events become a number told at once (which press; steps to the right); the rest is no number."""
    if code == kinds.BUTTON:
        if data[0] in kinds.PRESSES:
            values.append(Value("button", "C62", data[0]))
            presses.add("button")
            info["button"] = kinds.PRESSES[data[0]]
    elif code == kinds.DIMMER:
        if data[0] in (1, 2):
            values.append(Value("dimmer", "C62", -data[1] if data[0] == 1 else data[1]))
            presses.add("dimmer")
    elif code == kinds.TEXT:
        info["text"] = data.decode("utf-8", errors="replace")
    elif code == kinds.RAW:
        info["raw"] = data.hex()
    elif code == kinds.COMMAND:
        info["command"] = data.hex()
    elif code == kinds.TIMESTAMP:
        info["timestamp"] = str(int.from_bytes(data, "little"))
    elif code == kinds.DEVICE_TYPE:
        info["device_type"] = str(int.from_bytes(data, "little"))
    elif code in (kinds.FIRMWARE_4, kinds.FIRMWARE_3):
        info["firmware"] = ".".join(str(part) for part in reversed(data))


def _apart(values: list[Value], *kinds_of_event: set[str]) -> tuple[Value, ...]:
    """Several objects of one kind are numbered in their order: temperature_1, temperature_2."""
    points = [value.point for value in values]
    if len(set(points)) == len(points):
        return tuple(values)
    counted: dict[str, int] = {}
    found: list[Value] = []
    for value in values:
        if points.count(value.point) == 1:
            found.append(value)
            continue
        counted[value.point] = counted.get(value.point, 0) + 1
        point = f"{value.point}_{counted[value.point]}"
        for points_of in kinds_of_event:
            if value.point in points_of:
                points_of.add(point)
        found.append(Value(point, value.unit, value.mantissa, value.exponent, value.quality))
    return tuple(found)


def encode_2(
    objects: list[Item], *, address: str = "", bindkey: bytes | None = None, counter: int = 0, on_trigger: bool = False
) -> bytes:
    """Service data of 0xFCD2 for the simulator: objects as (id, little-endian bytes); encrypted with a key."""
    payload = b"".join(bytes([code]) + data for code, data in objects)
    information = 0x40 | (0x04 if on_trigger else 0)
    if bindkey is None:
        return bytes([information]) + payload
    head = bytes([information | 0x01])
    count = counter.to_bytes(4, "little")
    nonce = bytes.fromhex(address.replace(":", "")) + b"\xd2\xfc" + head + count
    sealed = AESCCM(bindkey, tag_length=_TAG_BYTES).encrypt(nonce, payload, None)
    return head + sealed[:-_TAG_BYTES] + count + sealed[-_TAG_BYTES:]
