"""Bytes of a serial scanner ↔ codes. Pure; driver and simulator share it.

A scanner sends [AIM identifier] code suffix. The AIM identifier (ISO/IEC 15424) is `]`, a letter and a modifier,
for example `]C1` for GS1-128; it names the symbology and is taken off the code. The code itself stays as it was
read, control characters such as FNC1 (GS, 0x1D) included.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from wire.observation import CODE_MAX_BYTES

Suffix = Literal["line", "cr", "lf", "crlf", "tab"]
AIM_PATTERN = re.compile(r"\]([A-Za-z][0-9A-Za-z])")
AIM_CHARS = 3

#: What ends a code; `line` takes CR, LF or both.
_ENDS: dict[Suffix, re.Pattern[bytes]] = {
    "line": re.compile(rb"[\r\n]"),
    "cr": re.compile(rb"\r"),
    "lf": re.compile(rb"\n"),
    "crlf": re.compile(rb"\r\n"),
    "tab": re.compile(rb"\t"),
}
_SENT: dict[Suffix, bytes] = {"line": b"\r\n", "cr": b"\r", "lf": b"\n", "crlf": b"\r\n", "tab": b"\t"}


class Code(msgspec.Struct, frozen=True):
    """One code. symbology: the AIM identifier without `]`, empty when the scanner sent none."""

    text: str
    symbology: str


class Overlong(msgspec.Struct, frozen=True):
    """More bytes without a suffix than a code can have; they were dropped, up to the next suffix."""

    size_bytes: int


class Decoder:
    """Cuts a byte stream into codes, however the bytes arrive. Never holds more than one code's worth."""

    def __init__(self, suffix: Suffix = "line", *, aim: bool = True) -> None:
        self._end = _ENDS[suffix]
        self._aim = aim
        self._held = bytearray()
        self._dropped = 0  # bytes of an overlong code that are gone already

    @property
    def pending(self) -> int:
        """How many bytes of a code wait for its end."""
        return len(self._held) + self._dropped

    def feed(self, data: bytes) -> list[Code | Overlong]:
        """Take what arrived; give what became complete, in order. Empty lines are not codes."""
        self._held += data
        found: list[Code | Overlong] = []
        start = 0
        for end in self._end.finditer(self._held):
            found += self._line(bytes(self._held[start : end.start()]))
            start = end.end()
        del self._held[:start]
        if len(self._held) > CODE_MAX_BYTES + AIM_CHARS + 1:  # + the CR of a CR LF that is still under way
            self._dropped += len(self._held)
            # The last byte may be the first of a two-byte suffix.
            del self._held[:-1]
            self._dropped -= 1
        return found

    def discard(self) -> int:
        """Forget an unfinished code, because its rest will not come; returns how many bytes it had."""
        size = self.pending
        self._held.clear()
        self._dropped = 0
        return size

    def _line(self, line: bytes) -> list[Code | Overlong]:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            return [Overlong(dropped + len(line))]
        if not line:
            return []
        code = split(_text(line), aim=self._aim)
        if len(code.text.encode()) > CODE_MAX_BYTES:
            return [Overlong(len(line))]
        return [code] if code.text else []


def split(text: str, *, aim: bool = True) -> Code:
    """Take the AIM identifier off a code, if there is one."""
    found = AIM_PATTERN.match(text) if aim else None
    return Code(text, "") if found is None else Code(text[AIM_CHARS:], found[1])


def encode(code: Code, suffix: Suffix = "line") -> bytes:
    """The bytes by which a scanner sends a code. Raises ValueError when the code holds the suffix itself."""
    line = ((f"]{code.symbology}" if code.symbology else "") + code.text).encode()
    if _ENDS[suffix].search(line):
        raise ValueError(f"the code holds the suffix {suffix!r} that would end it")
    return line + _SENT[suffix]


def _text(line: bytes) -> str:
    """UTF-8, and byte for byte as Latin-1 where it isn't."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
