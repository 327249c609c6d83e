"""Bytes of a serial scanner ↔ codes. Pure; driver and simulator share it.

A scanner sends [AIM identifier] code suffix. The AIM identifier (ISO/IEC 15424) is `]`, a letter and a modifier,
for example `]C1` for GS1-128; it names the symbology and is taken off the code. FNC1 inside a code comes as GS (0x1D)
or as a substitute that was agreed on, which becomes GS again. Apart from that the code stays as it was read, control
characters included.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from standards.gs1.element_string import SEPARATOR
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
#: Symbols that hold FNC1 between elements; elsewhere a substitute is a character like any other (`#` in an address).
_WITH_FNC1 = frozenset({"C1", "e0", "d2", "Q3", "J1"})


class Code(msgspec.Struct, frozen=True):
    """One code. symbology: the AIM identifier without `]`, empty when the scanner sent none.

    trouble: what the reader itself noticed about it, for people; empty when nothing.
    """

    text: str
    symbology: str
    trouble: str = ""


class Overlong(msgspec.Struct, frozen=True):
    """More bytes without a suffix than a code can have; they were dropped, up to the next suffix."""

    size_bytes: int


class Decoder:
    """Cuts a byte stream into codes, however the bytes arrive. Never holds more than one code's worth."""

    def __init__(self, suffix: Suffix = "line", *, aim: bool = True, fnc1: str = "") -> None:
        self._end = _ENDS[suffix]
        self._aim = aim
        self._fnc1 = fnc1
        self._held = bytearray()
        self._dropped = 0  # bytes of an overlong code that are gone already

    @property
    def pending(self) -> int:
        """How many bytes of a code wait for its end."""
        return len(self._held) + self._dropped

    @property
    def held(self) -> str:
        """What has come of a code that waits for its end."""
        return _text(bytes(self._held))

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
        code = split(_text(line), aim=self._aim, fnc1=self._fnc1)
        if len(code.text.encode()) > CODE_MAX_BYTES:
            return [Overlong(len(line))]
        return [code] if code.text else []


def split(text: str, *, aim: bool = True, fnc1: str = "") -> Code:
    """Take the AIM identifier off a code, if there is one, and make GS of the substitute that stands for FNC1."""
    found = AIM_PATTERN.match(text) if aim else None
    code, symbology = (text, "") if found is None else (text[AIM_CHARS:], found[1])
    if fnc1 and _may_hold_fnc1(code, symbology):
        code = code.replace(fnc1, SEPARATOR)
    return Code(code, symbology)


def encode(code: Code, suffix: Suffix = "line", *, fnc1: str = "") -> bytes:
    """The bytes by which a scanner sends a code. Raises ValueError when the code holds the suffix itself."""
    text = code.text
    if fnc1 and _may_hold_fnc1(text, code.symbology):
        text = text.replace(SEPARATOR, fnc1)
    line = ((f"]{code.symbology}" if code.symbology else "") + text).encode()
    if _ENDS[suffix].search(line):
        raise ValueError(f"the code holds the suffix {suffix!r} that would end it")
    return line + _SENT[suffix]


def _may_hold_fnc1(text: str, symbology: str) -> bool:
    if symbology:
        return symbology in _WITH_FNC1
    return not text[:8].lower().startswith(("http://", "https://"))


def _text(line: bytes) -> str:
    """UTF-8, and byte for byte as Latin-1 where it isn't."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
