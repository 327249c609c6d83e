"""The container of a bundle: a line of text, then records, each a letter, a length and a body (docs/bundle.md §2).

Invariant: one content has one form. Every byte is the first line, a letter, a length, or in a body that is held
against what it must be; so no byte can be changed, added or left out without a reader seeing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

FIRST_LINE = b"coldproof evidence bundle 1\n"
_ANY_VERSION = b"coldproof evidence bundle "
LENGTH_BYTES = 4
INDEX_BYTES = 8
LEAVES_MAX = 1_000_000  # a lot with a pack every five seconds for two months; more goes into bundles of periods
BUNDLE_MAX_BYTES = 4 * 1024**3

SUMMARY, SUBJECT, CHECKPOINT, VKEY, INDICES, NODES = b"SHCVIN"
KEY, REVOCATION, PACK, EVENT, EVIDENCE, DECISION = b"KRPEFD"

_MIB = 1024 * 1024
#: Letter → the most bytes its body may have; in the order in which records stand.
LIMITS = {
    SUMMARY: 8 * _MIB,
    SUBJECT: 4 * _MIB,
    CHECKPOINT: 1_000_000,  # as a note may have
    VKEY: 1_000,
    INDICES: INDEX_BYTES * LEAVES_MAX,
    NODES: 64 * 2 * LEAVES_MAX,
    KEY: 256,
    REVOCATION: 16 * 1024,
    PACK: 256 * 1024 + INDEX_BYTES,
    EVENT: 4 * _MIB,
    EVIDENCE: 64 * _MIB,
    DECISION: 64 * 1024,
}
NAMES = {
    SUMMARY: "summary",
    SUBJECT: "subject",
    CHECKPOINT: "checkpoint",
    VKEY: "verifier key",
    INDICES: "list of leaves",
    NODES: "proof",
    KEY: "gateway key",
    REVOCATION: "revocation",
    PACK: "pack",
    EVENT: "event",
    EVIDENCE: "evidence version",
    DECISION: "decision",
}
#: Letter → what its leaf in the ledger is called (docs/ledger.md §1). Bodies of these begin with the leaf's index.
LEAF_KINDS = {
    KEY: b"key",
    REVOCATION: b"key",
    PACK: b"pack",
    EVENT: b"event",
    EVIDENCE: b"evidence",
    DECISION: b"decision",
}
_ONCE = frozenset({SUMMARY, SUBJECT, CHECKPOINT, INDICES, NODES})
_RANK = {letter: at for at, letter in enumerate(LIMITS)}


class Unusable(ValueError):
    """The input is no bundle that this program can read; `str()` says why and what to do."""


class Broken(ValueError):
    """A bundle is not what it must be. `record` names the first bad record, `why` says what is wrong with it."""

    def __init__(self, record: str, why: str) -> None:
        super().__init__(f"{record}: {why}")
        self.record = record
        self.why = why


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record. number: 1, 2, 3 … in the file; at: where it begins there."""

    number: int
    at: int
    letter: int
    body: bytes

    @property
    def name(self) -> str:
        """What people call it."""
        return f"record {self.number} ({NAMES[self.letter]}, at byte {self.at})"

    @property
    def leaf(self) -> int:
        """The index of its leaf; only of records that have one."""
        return int.from_bytes(self.body[:INDEX_BYTES], "big")

    @property
    def payload(self) -> bytes:
        """The bytes its leaf is over; only of records that have one."""
        return self.body[INDEX_BYTES:]


def framed(letter: int, body: bytes) -> bytes:
    """A record as it stands in the file. Raises Broken for a body beyond its limit."""
    if len(body) > LIMITS[letter]:
        raise Broken(NAMES[letter], f"has {len(body)} bytes, that of a bundle has at most {LIMITS[letter]}")
    return bytes([letter]) + len(body).to_bytes(LENGTH_BYTES, "big") + body


def with_leaf(leaf: int, payload: bytes) -> bytes:
    """The body of a record that has a leaf."""
    return leaf.to_bytes(INDEX_BYTES, "big") + payload


def require_first_line(line: bytes) -> None:
    """Raise Unusable unless a file that begins so is a bundle of this version."""
    if line == FIRST_LINE:
        return
    if not line.startswith(_ANY_VERSION):
        raise Unusable("this is no evidence bundle: its first line is not `coldproof evidence bundle 1`")
    version = line.removeprefix(_ANY_VERSION).split(b"\n")[0]
    if version.isdigit() and version != b"1":
        raise Unusable(
            f"this is a bundle of version {version.decode()}, this program reads 1: install a newer coldproof"
        )
    raise Unusable("the first line of this bundle is damaged")


def records(file: BinaryIO, *, size: int) -> Iterator[Record]:
    """The records of a bundle of `size` bytes, one after the other, from behind the first line to the end.

    Their order, lengths and number are checked, and that those with a leaf have one. Raises Broken.
    """
    at, number, before = len(FIRST_LINE), 0, -1
    while at < size:
        number += 1
        head = file.read(1 + LENGTH_BYTES)
        where = f"record {number} (at byte {at})"
        if len(head) < 1 + LENGTH_BYTES:
            raise Broken(where, "the file ends inside it: the bundle is truncated")
        letter, length = head[0], int.from_bytes(head[1:], "big")
        _require_place(letter, before, where)
        if length > LIMITS[letter]:
            raise Broken(where, f"says it has {length} bytes, a {NAMES[letter]} has at most {LIMITS[letter]}")
        if length > size - at - len(head):
            raise Broken(where, f"says it has {length} bytes, the file ends after {size - at - len(head)} of them")
        body = file.read(length)
        if len(body) != length:
            raise Broken(where, "the file ended while it was read")
        if letter in LEAF_KINDS and length <= INDEX_BYTES:
            raise Broken(where, "is too short to hold anything")
        yield Record(number, at, letter, body)
        at += len(head) + length
        before = letter


def _require_place(letter: int, before: int, where: str) -> None:
    if letter not in _RANK:
        raise Broken(where, f"begins with the byte {letter:#04x}, which begins no record")
    rank, least = _RANK[letter], _RANK.get(before, -1)
    if rank < least:
        raise Broken(where, f"a {NAMES[letter]} stands behind a {NAMES[before]}, where none may stand")
    if rank == least and letter in _ONCE:
        raise Broken(where, f"a second {NAMES[letter]}")
    missing = [one for one in (*_ONCE, VKEY) if least < _RANK[one] < rank]
    if missing:
        first = min(missing, key=_RANK.__getitem__)
        raise Broken(where, f"a {NAMES[letter]}, where the {NAMES[first]} must stand")
