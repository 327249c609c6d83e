"""What the EPC decoders share: the decoded EPC, its errors, and a reader of bits. GS1 EPC Tag Data Standard (TDS)."""

from __future__ import annotations

from typing import Literal

import msgspec

from standards.gs1 import digital_link
from standards.gs1.application_identifier import CHARACTERS, QUALIFIERS

Rule = Literal["hex", "header", "length", "partition", "range", "characters", "terminator", "reserved", "encoding"]


class EpcError(ValueError):
    """A tag's EPC cannot be decoded. `rule` names the broken rule, `str()` says what and where.

    hex: not hex digits. header: no EPC scheme begins so. length: too few bits, or bits behind the scheme's end.
    partition: no such company prefix length. range: a number too large for its field. characters: not allowed there.
    terminator: a text without its end. reserved: bits that must be zero. encoding: an encoding that TDS has not.
    """

    def __init__(self, rule: Rule, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


class Epc(msgspec.Struct, frozen=True):
    """One decoded EPC.

    scheme: the binary coding scheme, e.g. `sgtin-96`. uri: the pure identity (`urn:epc:id:…`); the schemes of TDS 2
    don't tell the length of the company prefix, so theirs is the GS1 Digital Link. elements: (AI, value), primary key
    first; empty for schemes outside GS1 (GID, USDoD, ADI). more: bits behind them that were not decoded, as hex.
    """

    scheme: str
    filter: int | None
    uri: str
    tag_uri: str | None
    elements: tuple[tuple[str, str], ...]
    more: str = ""

    def get(self, ai: str) -> str | None:
        """The value of an AI, or None."""
        return dict(self.elements).get(ai)

    @property
    def element_string(self) -> str:
        """The key as people write it, `(01)…(21)…`; empty outside GS1."""
        return "".join(f"({ai}){value}" for ai, value in self.elements)

    @property
    def digital_link(self) -> str:
        """The canonical GS1 Digital Link; empty outside GS1."""
        return link_of(self.elements)


def link_of(elements: tuple[tuple[str, str], ...]) -> str:
    """The canonical GS1 Digital Link URI of decoded elements, primary key first; empty for none."""
    if not elements:
        return ""
    key, values = elements[0][0], dict(elements)
    path = [key, *(ai for group in QUALIFIERS[key] for ai in group if ai in values)]
    query = "&".join(f"{ai}={digital_link.escape(value)}" for ai, value in elements if ai not in path)
    stem = digital_link.CANONICAL_STEM + "".join(f"/{ai}/{digital_link.escape(values[ai])}" for ai in path)
    return stem + (f"?{query}" if query else "")


class Bits:
    """Reads a bit string from the front. Raises EpcError (length) when it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._size = self.left = len(data) * 8

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        if count > self.left:
            raise EpcError("length", f"ends after {self._size} bits, at least {self._size - self.left + count} belong")
        self.left -= count
        return (self._value >> self.left) & ((1 << count) - 1)

    def peek(self) -> int:
        """All that is left, as a number; it stays."""
        return self._value & ((1 << self.left) - 1)

    def copy(self) -> Bits:
        """Another reader, at the same place."""
        other = Bits(b"")
        other._value, other._size, other.left = self._value, self._size, self.left
        return other

    def rest(self) -> int:
        """All that is left, as a number."""
        return self.take(self.left)


def text_of(bits: Bits, characters: int, what: str) -> str:
    """A field of 7-bit characters, ended by a zero character or full. TDS §14.4.2."""
    found = [bits.take(7) for _ in range(characters)]
    end = found.index(0) if 0 in found else characters
    if any(found[end:]):
        raise EpcError("terminator", f"{what}: characters stand behind its end")
    return gs1_text("".join(map(chr, found[:end])), what)


def gs1_text(text: str, what: str) -> str:
    """`text`, if all of it are GS1 characters and there is one."""
    if not text:
        raise EpcError("characters", f"{what} is empty")
    for character in text:
        if character not in CHARACTERS:
            raise EpcError("characters", f"{what}: {character!r} is not a GS1 character")
    return text


def digits_of(value: int, digits: int, what: str) -> str:
    """`value` with exactly so many digits; none at all must be 0."""
    if value >= 10**digits:
        raise EpcError("range", f"{what} {value} has more than {digits} digits")
    return f"{value:0{digits}d}" if digits else ""
