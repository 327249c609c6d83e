"""The Merkle tree of RFC 6962 §2.1 with SHA-256: leaf and node hashes, the root, a growing frontier, a tree in memory.

Pure arithmetic on 32-byte hashes. A leaf's index and its data are the caller's; what is hashed into a leaf is
the caller's documented choice. The root of nothing is SHA-256 of nothing, as the RFC says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

HASH_BYTES = 32
SIZE_BYTES = 8
SIZE_MAX = 2**63 - 1  # a tree size must fit every database's signed 64-bit integer
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962 §2.1: MTH({}) = SHA-256()

_LEAF, _NODE = b"\x00", b"\x01"  # RFC 6962 §2.1: the prefixes that keep a leaf from posing as a node


class TreeError(ValueError):
    """A hash or a stored frontier is not what it should be; `str()` says where and why."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 || data). RFC 6962 §2.1."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256(0x01 || left || right). RFC 6962 §2.1. Raises TreeError."""
    _require_hash(left, "left child")
    _require_hash(right, "right child")
    return hashlib.sha256(_NODE + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, in order: MTH of RFC 6962 §2.1. Raises TreeError for anything but hashes.

    The level-by-level form: an odd node at the end of a level moves up unchanged, which gives the RFC's
    split at the largest power of two below n without recursion.
    """
    level = list(leaf_hashes)
    for at, leaf in enumerate(level):
        _require_hash(leaf, f"leaf {at}")
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        paired = len(level) // 2 * 2
        above = [hashlib.sha256(_NODE + level[at] + level[at + 1]).digest() for at in range(0, paired, 2)]
        level = above + level[paired:]
    return level[0]


class Frontier(msgspec.Struct, frozen=True):
    """All that must be kept of a tree to append to it and to know its root: at most 63 hashes.

    peaks: the roots of the full subtrees the leaves fall into, largest (leftmost) first; there is one for
    every bit that is set in `size`.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf hash. Raises TreeError for anything but a hash."""
        _require_hash(leaf, f"leaf {self.size}")
        if self.size >= SIZE_MAX:
            raise TreeError(f"the tree is full: {SIZE_MAX} leaves")
        peaks = list(self.peaks)
        merged = leaf
        carry = self.size
        while carry & 1:  # like adding 1 in binary: every full subtree of equal size is merged
            merged = node_hash(peaks.pop(), merged)
            carry >>= 1
        return Frontier(self.size + 1, (*peaks, merged))

    def extend(self, leaves: Sequence[bytes]) -> Frontier:
        """The frontier with more leaf hashes, in order. Raises TreeError."""
        grown = self
        for leaf in leaves:
            grown = grown.append(leaf)
        return grown

    def root(self) -> bytes:
        """The root of the tree of `size` leaves: the peaks folded from the right. RFC 6962 §2.1."""
        if not self.peaks:
            return EMPTY_ROOT
        folded = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            folded = node_hash(peak, folded)
        return folded

    def to_bytes(self) -> bytes:
        """The size as 8 bytes, big-endian, then the peaks: what `from_bytes` reads."""
        return self.size.to_bytes(SIZE_BYTES, "big") + b"".join(self.peaks)

    @staticmethod
    def from_bytes(data: bytes) -> Frontier:
        """Read a stored frontier; the number of peaks must fit the size. Raises TreeError."""
        if len(data) < SIZE_BYTES:
            raise TreeError(f"frontier: {len(data)} bytes, at least {SIZE_BYTES} are needed")
        size = int.from_bytes(data[:SIZE_BYTES], "big")
        if size > SIZE_MAX:
            raise TreeError(f"frontier: size {size} is beyond {SIZE_MAX}")
        expected = SIZE_BYTES + HASH_BYTES * size.bit_count()
        if len(data) != expected:
            raise TreeError(f"frontier: {len(data)} bytes for {size} leaves, {expected} expected")
        peaks = (data[at : at + HASH_BYTES] for at in range(SIZE_BYTES, expected, HASH_BYTES))
        return Frontier(size, tuple(peaks))


class Levels:
    """A whole tree in memory, two hashes a leaf: it answers for every full subtree, and so makes proofs.

    Invariant: level n holds, in order, the roots of all full subtrees of 2**n leaves.
    """

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for leaf in leaf_hashes:
            self.append(leaf)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash. Raises TreeError for anything but a hash."""
        _require_hash(leaf, f"leaf {self.size}")
        whole = leaf
        for level in range(self.size.bit_length() + 1):
            if level == len(self._levels):
                self._levels.append([])
            row = self._levels[level]
            row.append(whole)
            if len(row) & 1:
                return
            whole = node_hash(row[-2], row[-1])

    def node(self, level: int, index: int) -> bytes:
        """The root over the leaves [index * 2**level, (index + 1) * 2**level). Raises TreeError if not full."""
        if level < 0 or index < 0 or (index + 1) << level > self.size:
            raise TreeError(f"no full subtree {index} of level {level} in a tree of {self.size}")
        return self._levels[level][index]


def _require_hash(value: bytes, where: str) -> None:
    if len(value) != HASH_BYTES:
        raise TreeError(f"{where}: not a SHA-256 ({HASH_BYTES} bytes)")
