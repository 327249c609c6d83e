"""Frames of serial UHF modules with the M100/QM100 chip (YRM100, JRD-4035 and their many names) ↔ bytes. Sans-IO.

    BB · type · command · length (2 bytes) · parameters · checksum · 7E

type: 00 command, 01 answer, 02 notice of a tag. checksum: the sum of all from type to the parameters, modulo 256.
Source: "M100/QM100 UHF RFID firmware command manual" (MagicRF; M5Stack publishes it as Unit-RFID-UHF-Protocol-EN).

BB and 7E occur inside frames as well, so a frame begins where BB, a possible length, 7E at its end and the checksum
agree; whatever stands before is skipped and counted. A notice is only believed when the CRC-16 that the tag itself
sent over its PC word and EPC fits: the 8-bit sum lets one damaged frame in 256 through.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import NamedTuple

BEGIN, END = 0xBB, 0x7E
COMMAND, ANSWER, NOTICE = 0x00, 0x01, 0x02
FRAME_BYTES = 7  # around the parameters
PARAMETERS_MAX_BYTES = 80  # a notice has 5 and an EPC of at most 62; module information is some 20

INFORMATION, INVENTORY, MANY, STOP, SET_POWER, FAILED = 0x03, 0x22, 0x27, 0x28, 0xB6, 0xFF
NO_TAG = 0x15  # error code: nobody answered, or nobody was understood
ROUNDS_MAX = 0xFFFF  # of one MANY; a module then stops by itself

#: Error codes of FAILED (manual, "execution failed").
_ERRORS = {
    0x09: "reading failed",
    0x0E: "wrong parameter",
    0x10: "writing failed",
    0x13: "locking failed",
    0x15: "no tag",
    0x16: "wrong access password",
    0x17: "wrong command",
    0x20: "no frequency was free",
}


class Frame(NamedTuple):
    """One frame that fits its checksum."""

    type: int
    command: int
    parameters: bytes = b""


class Noise(NamedTuple):
    """Bytes that belong to no frame; they were skipped."""

    size_bytes: int


class Seen(NamedTuple):
    """A tag, as a notice tells of it."""

    epc: bytes
    rssi_dbm: int


class Decoder:
    """Cuts a byte stream into frames, however the bytes arrive, and finds back after damage."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes wait for the rest of a frame."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame | Noise]:
        """Take what arrived; give what became complete, in order."""
        self._held += data
        return self._cut(final=False)

    def settle(self) -> list[Frame | Noise]:
        """The line has rested: what is unfinished is no frame, though one may stand behind its first byte."""
        return self._cut(final=True)

    def _cut(self, *, final: bool) -> list[Frame | Noise]:
        held, at, noise = self._held, 0, 0
        result: list[Frame | Noise] = []
        while at < len(held):
            size = _size(held, at)
            if size is None and not final:
                break
            frame = None if not size else _frame(held, at, size)
            if frame is None:
                noise += 1
                at += 1
                continue
            assert size is not None
            if noise:
                result.append(Noise(noise))
                noise = 0
            result.append(frame)
            at += size
        if noise:
            result.append(Noise(noise))
        del held[:at]
        return result


def _size(held: bytearray, at: int) -> int | None:
    """How long a frame that began here would be; 0: none can, None: too early to say."""
    left = len(held) - at
    if held[at] != BEGIN or (left > 1 and held[at + 1] not in {COMMAND, ANSWER, NOTICE}):
        return 0
    if left > 3 and held[at + 3]:
        return 0
    if left > 4:
        size = FRAME_BYTES + held[at + 4]
        if held[at + 4] > PARAMETERS_MAX_BYTES:
            return 0
        return size if left >= size else None
    return None


def _frame(held: bytearray, at: int, size: int) -> Frame | None:
    if held[at + size - 1] != END or sum(held[at + 1 : at + size - 2]) & 0xFF != held[at + size - 2]:
        return None
    return Frame(held[at + 1], held[at + 2], bytes(held[at + 5 : at + size - 2]))


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    body = bytes([frame.type, frame.command]) + len(frame.parameters).to_bytes(2) + frame.parameters
    return bytes([BEGIN]) + body + bytes([sum(body) & 0xFF, END])


def ask_information() -> bytes:
    """The command to which every module answers: its hardware version."""
    return encode(Frame(COMMAND, INFORMATION, b"\0"))


def start(rounds: int = ROUNDS_MAX) -> bytes:
    """The command to look for tags, round after round (0x22 is reserved)."""
    return encode(Frame(COMMAND, MANY, b"\x22" + rounds.to_bytes(2)))


def stop() -> bytes:
    """The command to stop looking."""
    return encode(Frame(COMMAND, STOP))


def set_power(power_dbm: float) -> bytes:
    """The command to send with so much power, in steps of 0.01 dB."""
    return encode(Frame(COMMAND, SET_POWER, round(power_dbm * 100).to_bytes(2)))


def notice(seen: Seen) -> Frame:
    """What a module says of a tag."""
    words = len(seen.epc) // 2
    tag = (words << 11).to_bytes(2) + seen.epc
    return Frame(NOTICE, INVENTORY, (seen.rssi_dbm & 0xFF).to_bytes() + tag + _crc(tag))


def seen_in(frame: Frame) -> Seen | None:
    """The tag of a notice. None when it contradicts itself: lengths or the tag's CRC don't fit, or it has no EPC."""
    data = frame.parameters
    if len(data) < 5:
        return None
    tag, crc = data[1:-2], data[-2:]
    size = 2 * (tag[0] >> 3)  # the PC word begins with 5 bits: how many words the EPC has (Gen2 §6.3.2.1.2.2)
    if not size or len(tag) != 2 + size or _crc(tag) != crc:
        return None
    return Seen(tag[2:], (data[0] ^ 0x80) - 0x80)


def failure(frame: Frame) -> tuple[int, str]:
    """Code and words of a FAILED answer."""
    code = frame.parameters[0] if frame.parameters else 0
    return code, _ERRORS.get(code, f"error {code:02X}")


def _crc(data: bytes) -> bytes:
    """CRC-16 of Gen2 (annex F): CCITT polynomial, preset FFFF, complemented."""
    return (crc_hqx(data, 0xFFFF) ^ 0xFFFF).to_bytes(2)
