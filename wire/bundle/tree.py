"""The proof that some leaves are in a tree, written from the root down (docs/bundle.md §4). Pure.

For every inner node above a proven leaf the two hashes below it, in preorder. The first pair hashes to the root that
the checkpoint signs, each further one to a hash that a pair before it holds. So a reader knows at every step that what
it has read is the tree's, and names the very hash, or later the very record, that is not.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from standards.tlog.tree import HASH_BYTES, leaf_hash

PAIR_BYTES = 2 * HASH_BYTES

#: (start, end) → the root over these leaves of the tree.
RangeRoot = Callable[[int, int], bytes]


class TreeProofError(ValueError):
    """The proof does not lead from the root to the leaves; `str()` says where."""


def leaf_of(kind: bytes, payload: bytes) -> bytes:
    """The hash of the leaf over recorded bytes (docs/ledger.md §1)."""
    return leaf_hash(kind + b"\x00" + hashlib.sha256(payload).digest())


def make(range_root: RangeRoot, indices: Sequence[int], size: int) -> bytes:
    """The proof of these leaves, ascending and each once, in the tree of `size` leaves. Raises TreeProofError."""
    _require_indices(indices, size)
    pairs = [range_root(start, split) + range_root(split, end) for start, split, end in _inner(indices, size)]
    return b"".join(pairs)


def leaves(proof: bytes, indices: Sequence[int], *, size: int, root: bytes) -> dict[int, bytes]:
    """Index → leaf hash, of exactly these leaves of the tree with this size and root. Raises TreeProofError."""
    _require_indices(indices, size)
    if size == 1:
        _require_end(proof, 0)
        return {0: root}
    found: dict[int, bytes] = {}
    expected = [root]  # of the inner nodes still to be visited, the next one last
    at = 0
    for start, split, end in _inner(indices, size):
        pair = proof[at : at + PAIR_BYTES]
        if len(pair) < PAIR_BYTES:
            raise TreeProofError(f"ends where the hashes of the leaves {start} to {end - 1} must stand")
        if hashlib.sha256(b"\x01" + pair).digest() != expected.pop():
            above = "the root that the checkpoint signs" if at == 0 else "the hash above them"
            place = f"hashes {at // HASH_BYTES + 1} and {at // HASH_BYTES + 2} (of the leaves {start} to {end - 1})"
            raise TreeProofError(f"{place} don't lead to {above}")
        at += PAIR_BYTES
        for low, high, digest in ((split, end, pair[HASH_BYTES:]), (start, split, pair[:HASH_BYTES])):
            if not _any(indices, low, high):
                continue
            if high - low == 1:
                found[low] = digest
            else:
                expected.append(digest)
    _require_end(proof, at)
    return found


def _inner(indices: Sequence[int], size: int) -> Iterator[tuple[int, int, int]]:
    """The inner nodes above these leaves in preorder, as (start, split, end)."""
    stack = [(0, size)] if size > 1 else []
    while stack:
        start, end = stack.pop()
        split = start + (1 << (end - start - 1).bit_length() - 1)  # RFC 6962 §2.1
        yield start, split, end
        stack += [one for one in ((split, end), (start, split)) if one[1] - one[0] > 1 and _any(indices, *one)]


def _require_end(proof: bytes, at: int) -> None:
    if at != len(proof):
        raise TreeProofError(f"has {len(proof) - at} bytes more than it must have")


def _any(indices: Sequence[int], start: int, end: int) -> bool:
    at = bisect_left(indices, start)
    return at < len(indices) and indices[at] < end


def _require_indices(indices: Sequence[int], size: int) -> None:
    if not indices:
        raise TreeProofError("names no leaf")
    if any(later <= earlier for earlier, later in pairwise(indices)):
        raise TreeProofError("does not name its leaves in order, each once")
    if indices[0] < 0 or indices[-1] >= size:
        raise TreeProofError(f"names leaf {indices[-1]}, the tree has {size}")
