"""Bytes of a sensor that writes lines ↔ the text of whole lines whose checksum is right. Pure; driver and simulator
share it. What a line says is layout.py's matter.

A line is [prefix] text [mark checksum] end. Never more than `line_max` bytes are held. A line that is no such thing is
Damaged, and the next one is read again; lines with another prefix are none of ours and passed over. What comes before
the first end is the tail of a line whose head nobody has: without a checksum it could read as another number (`1.3` of
`21.3`), so it is never believed, until `begin` says that a line begins here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from edge.drivers.serial_line import checksum

END_LINE = "line"
LINE_MAX_BYTES = 4096  # JSON of a weather station with thirty points has about 1 KiB
Encoding = Literal["ascii", "utf-8", "latin-1"]


class Framing(msgspec.Struct, frozen=True):
    """How a line looks. end: `line` (CR, LF or both), or the characters themselves.

    checksum_skip: characters at the beginning that it does not cover (the `$` of NMEA). checksum_over_mark: whether it
    covers the mark. checksum_order: which byte of a CRC-16 is written first.
    """

    end: str = END_LINE
    encoding: Encoding = "utf-8"
    line_max: Annotated[int, msgspec.Meta(ge=8, le=LINE_MAX_BYTES)] = 512
    prefix: str = ""
    checksum: checksum.Kind | None = None
    checksum_mark: str = "*"
    checksum_skip: int = 0
    checksum_over_mark: bool = False
    checksum_order: Literal["big", "little"] = "big"


class Line(msgspec.Struct, frozen=True):
    """A whole line, without prefix, mark, checksum and end."""

    text: str


class Damaged(msgspec.Struct, frozen=True):
    """Bytes that are no line, and why."""

    size_bytes: int
    why: str


class Decoder:
    """Cuts a byte stream into lines, however the bytes arrive. Never holds more than one line's worth."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._end = _end_pattern(framing)
        self._prefix = framing.prefix.encode(framing.encoding)
        self._longest_end = 2 if framing.end == END_LINE else len(framing.end.encode(framing.encoding))
        self._held = bytearray()
        self._dropped = 0  # bytes of an overlong line that are gone already
        self._joined = False  # whether we have seen the beginning of a line

    @property
    def pending(self) -> int:
        """How many bytes of a line wait for its end."""
        return len(self._held) + self._dropped

    @property
    def joined(self) -> bool:
        """Whether what comes next begins a line, or goes on in one that we saw begin."""
        return self._joined

    def feed(self, data: bytes) -> list[Line | Damaged]:
        """Take what arrived; give what became complete, in order. Empty lines are nothing."""
        self._held += data
        found: list[Line | Damaged] = []
        start = 0
        for end in self._end.finditer(self._held):
            found += self._line(bytes(self._held[start : end.start()]))
            self._joined = True
            start = end.end()
        del self._held[:start]
        if len(self._held) > self._framing.line_max + self._longest_end:
            kept = self._longest_end - 1  # may be the beginning of an end that is still under way
            self._dropped += len(self._held) - kept
            del self._held[: len(self._held) - kept]
        return found

    def begin(self) -> int:
        """What comes next begins a line; returns how many bytes of an unfinished one are given up."""
        given_up = self.discard()
        self._joined = True
        return given_up

    def discard(self) -> int:
        """Forget an unfinished line, because its rest will not come; returns how many bytes it had."""
        size = self.pending
        self._held.clear()
        self._dropped = 0
        self._joined = False
        return size

    def _line(self, raw: bytes) -> list[Line | Damaged]:
        dropped, self._dropped = self._dropped, 0
        size = dropped + len(raw)
        if not size:
            return []
        if not self._joined and self._framing.checksum is None:
            return []
        if not dropped and not raw.startswith(self._prefix):
            return []
        if size > self._framing.line_max:
            return [Damaged(size, f"longer than {self._framing.line_max} bytes (line_max)")]
        try:
            text = _checked(self._framing, raw).decode(self._framing.encoding)
        except UnicodeDecodeError:
            return [Damaged(size, f"not {self._framing.encoding} text")] if self._joined else []
        except ValueError as error:
            return [Damaged(size, str(error))] if self._joined else []
        return [Line(text.removeprefix(self._framing.prefix))]


class Echo:
    """Takes the request itself off the front of what comes after it: two-wire RS-485 adapters hear themselves.

    Only a request that is a line: an answer may well begin like one that is none.
    """

    def __init__(self, framing: Framing, request: bytes) -> None:
        self._request = request if _end_pattern(framing).search(request) else b""
        self._held = b""

    def taken_off(self, data: bytes) -> bytes:
        """What of the bytes that arrived is none; what may yet turn out to be one is held back."""
        held, self._held = self._held + data, b""
        if self._request and self._request.startswith(held) and held != self._request:
            self._held = held
            return b""
        body = held.removeprefix(self._request)
        self._request = b""
        return body


def encode(framing: Framing, text: str) -> bytes:
    """The bytes of a line that says `text`. Raises ValueError when it holds its own end, or is too long."""
    body = (framing.prefix + text).encode(framing.encoding)
    if framing.checksum is not None:
        mark = framing.checksum_mark.encode(framing.encoding)
        body += mark + _digits(framing, body, mark)
    if _end_pattern(framing).search(body) or len(body) > framing.line_max:
        raise ValueError("the text holds the end of a line, or is longer than one may be")
    return body + ("\r\n" if framing.end == END_LINE else framing.end).encode(framing.encoding)


def _checked(framing: Framing, raw: bytes) -> bytes:
    """The line without its checksum. Raises ValueError when that is missing or wrong."""
    if framing.checksum is None:
        return raw
    mark = framing.checksum_mark.encode(framing.encoding)
    count = checksum.hex_digits(framing.checksum)
    body, between, sent = raw[: -count - len(mark)], raw[-count - len(mark) : -count], raw[-count:]
    if len(raw) < count + len(mark) or between != mark or re.fullmatch(rb"[0-9A-Fa-f]+", sent) is None:
        raise ValueError(f"no {framing.checksum} checksum at its end ({framing.checksum_mark}, {count} digits)")
    if _digits(framing, body, mark) != sent.upper():
        raise ValueError(f"its {framing.checksum} checksum is wrong")
    return body


def _digits(framing: Framing, body: bytes, mark: bytes) -> bytes:
    assert framing.checksum is not None
    covered = body[framing.checksum_skip :] + (mark if framing.checksum_over_mark else b"")
    size = checksum.hex_digits(framing.checksum) // 2
    value = checksum.compute(framing.checksum, covered)
    return value.to_bytes(size, framing.checksum_order).hex().upper().encode()


def _end_pattern(framing: Framing) -> re.Pattern[bytes]:
    if framing.end == END_LINE:
        return re.compile(rb"[\r\n]")
    return re.compile(re.escape(framing.end.encode(framing.encoding)))
