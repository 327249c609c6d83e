"""Proofs that a leaf is in a tree, and that a tree grew out of another without a change (RFC 6962 §2.1.1, §2.1.2).

Verification follows RFC 9162 §2.1.3.2 and §2.1.4.2, which fix for every position how many hashes a proof has: any
other number is refused, so that there is exactly one proof for one statement. Subtrees are those of
draft-ietf-plants-merkle-tree-certs §4: leaves `start` to `end` - 1 where `start` is a multiple of the smallest power
of two that is not less than `end - start`. A consistency proof is the proof for the subtree that starts at 0.

Proofs are made from `Nodes`: a function that knows the root of every full subtree. `tree.Levels` is one in memory,
`tile.TileNodes` one over stored tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from standards.tlog.tree import EMPTY_ROOT, HASH_BYTES, SIZE_MAX, node_hash

PROOF_MAX_HASHES = 64  # a tree of SIZE_MAX leaves is 63 levels high; a consistency proof has one hash more

#: (level, index) → the root of the full subtree over the leaves [index * 2**level, (index + 1) * 2**level).
Nodes = Callable[[int, int], bytes]

_Range = tuple[int, int]


class ProofError(ValueError):
    """A proof does not prove what is claimed, or the claim makes no sense; `str()` says why."""


# --- which subtrees a proof is made of --------------------------------------------------------------------------------


def inclusion_ranges(index: int, size: int) -> list[_Range]:
    """The leaves [start, end) under each hash of an inclusion proof, in the proof's order: PATH of RFC 6962 §2.1.1."""
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    start, end = 0, size
    ranges = []
    while end - start > 1:
        split = _split(start, end)
        if index < split:
            ranges.append((split, end))
            end = split
        else:
            ranges.append((start, split))
            start = split
    return ranges[::-1]


def consistency_ranges(size1: int, size2: int) -> list[_Range]:
    """As `inclusion_ranges`, for a consistency proof: PROOF of RFC 6962 §2.1.2. Nothing when the sizes are equal."""
    if not 0 < size1 <= size2 <= SIZE_MAX:
        raise ProofError(f"a tree of {size2} leaves has no proof of consistency with one of {size1}")
    return subtree_ranges(0, size1, size2)


def subtree_ranges(start: int, end: int, size: int) -> list[_Range]:
    """As `inclusion_ranges`, for a subtree's consistency with a tree: SUBTREE_PROOF of the draft's §4.4."""
    require_subtree(start, end)
    if not end <= size <= SIZE_MAX:
        raise ProofError(f"the subtree [{start}, {end}) is not in a tree of {size}")
    low, high = 0, size
    known = True  # whether the verifier has the hash of what is left: only of the whole subtree
    ranges = []
    while (low, high) != (start, end):
        split = _split(low, high)
        if end <= split:
            ranges.append((split, high))
            high = split
        elif start >= split:
            ranges.append((low, split))
            low = split
        else:
            ranges.append((low, split))
            low = start = split
            known = False
    if not known:
        ranges.append((start, end))
    return ranges[::-1]


def require_subtree(start: int, end: int) -> None:
    """Raise ProofError unless [start, end) is a subtree: not empty, and `start` a multiple of its rounded-up size."""
    if not 0 <= start < end <= SIZE_MAX or start % (1 << (end - start - 1).bit_length()):
        raise ProofError(f"[{start}, {end}) is not a subtree")


def _split(start: int, end: int) -> int:
    """Where RFC 6962 divides [start, end): behind the largest power of two that is less than its size."""
    return start + (1 << (end - start - 1).bit_length() - 1)


# --- making -----------------------------------------------------------------------------------------------------------


def range_root(nodes: Nodes, start: int, end: int) -> bytes:
    """The root over the leaves of a subtree, from the full subtrees it is made of. Raises ProofError."""
    if start == end == 0:
        return EMPTY_ROOT
    require_subtree(start, end)
    peaks = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(nodes(level, start >> level))
        start += 1 << level
    folded = peaks.pop()
    while peaks:
        folded = node_hash(peaks.pop(), folded)
    return folded


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves. RFC 6962 §2.1.1. Raises ProofError."""
    return [range_root(nodes, start, end) for start, end in inclusion_ranges(index, size)]


def consistency_proof(nodes: Nodes, size1: int, size2: int) -> list[bytes]:
    """The proof that the tree of `size2` leaves begins with the one of `size1`. RFC 6962 §2.1.2. Raises ProofError."""
    return [range_root(nodes, start, end) for start, end in consistency_ranges(size1, size2)]


def subtree_proof(nodes: Nodes, start: int, end: int, size: int) -> list[bytes]:
    """The proof that a subtree is part of the tree of `size` leaves. Raises ProofError."""
    return [range_root(nodes, low, high) for low, high in subtree_ranges(start, end, size)]


# --- verifying --------------------------------------------------------------------------------------------------------


def root_from_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to. RFC 9162 §2.1.3.2. Raises ProofError for a proof of the wrong shape.

    It proves nothing until it is compared with a root that is trusted.
    """
    expected = len(inclusion_ranges(index, size))
    _require_count(proof, expected, f"an inclusion proof of leaf {index} in a tree of {size}")
    _require_hashes(leaf=leaf)
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        # at the right edge all further siblings are to the left; the RFC skips levels there only to count them
        on_left = at & 1 or at == last
        found = node_hash(sibling, found) if on_left else node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return found


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofError unless `leaf` (a leaf hash) is leaf `index` of the tree with this size and root."""
    _require_hashes(root=root)
    _require_same(root_from_inclusion(leaf, index=index, size=size, proof=proof), root, "root")


def verify_subtree_inclusion(
    leaf: bytes, *, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofError unless `leaf` is leaf `index` of the log, in the subtree [start, end) with this root."""
    require_subtree(start, end)
    if not start <= index < end:
        raise ProofError(f"leaf {index} is not in the subtree [{start}, {end})")
    verify_inclusion(leaf, index=index - start, size=end - start, proof=proof, root=root)


def verify_consistency(*, size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofError unless the tree (size2, root2) begins with the tree (size1, root1). RFC 9162 §2.1.4.2.

    Nothing can be proven about an empty tree: from 0 only the step to 0 holds, with the root of nothing twice.
    """
    _require_hashes(root1=root1, root2=root2)
    if size1 == size2 == 0:
        _require_count(proof, 0, "a consistency proof of the empty tree with itself")
        _require_same(EMPTY_ROOT, root1, "root1")
        _require_same(EMPTY_ROOT, root2, "root2")
        return
    consistency_ranges(size1, size2)
    found1, found2 = _subtree_roots(0, size1, size2, proof, root1)
    _require_same(found1, root1, "root1")
    _require_same(found2, root2, "root2")


def verify_subtree_consistency(
    *, start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise ProofError unless the leaves [start, end) of the tree (size, root) have the root `subtree_root`.

    No leaves have the root of nothing, wherever they are not; this says nothing about `root`.
    """
    _require_hashes(subtree_root=subtree_root, root=root)
    if 0 <= start == end <= size <= SIZE_MAX:
        _require_count(proof, 0, "a proof of no leaves")
        _require_same(EMPTY_ROOT, subtree_root, "subtree_root")
        if size == 0:
            _require_same(EMPTY_ROOT, root, "root")
        return
    found_inner, found_outer = _subtree_roots(start, end, size, proof, subtree_root)
    _require_same(found_inner, subtree_root, "subtree_root")
    _require_same(found_outer, root, "root")


def _subtree_roots(start: int, end: int, size: int, proof: Sequence[bytes], claimed: bytes) -> tuple[bytes, bytes]:
    """The roots of the subtree and of the tree that a proof leads to. The draft's §4.4.3.

    `claimed` is the subtree's root: the proof begins with it where the subtree is a full one of the tree.
    """
    expected = len(subtree_ranges(start, end, size))
    _require_count(proof, expected, f"a proof of the leaves [{start}, {end}) in a tree of {size}")
    first, last, tree_last = start, end - 1, size - 1
    while first != last and (last == tree_last or last & 1):  # up to the lowest subtree that both have
        first, last, tree_last = first >> 1, last >> 1, tree_last >> 1
    rest = iter(proof)
    inner = outer = claimed if first == last else next(rest)
    for sibling in rest:
        if last & 1 or last == tree_last:
            if first < last:
                inner = node_hash(sibling, inner)
            outer = node_hash(sibling, outer)
            while not last & 1 and last:
                first, last, tree_last = first >> 1, last >> 1, tree_last >> 1
        else:
            outer = node_hash(outer, sibling)
        first, last, tree_last = first >> 1, last >> 1, tree_last >> 1
    return inner, outer


def _require_count(proof: Sequence[bytes], expected: int, what: str) -> None:
    if len(proof) != expected:
        raise ProofError(f"proof: {len(proof)} hashes; {what} has {expected}")
    for at, one in enumerate(proof):
        _require_hashes(**{f"proof[{at}]": one})


def _require_hashes(**hashes: bytes) -> None:
    for where, value in hashes.items():
        if len(value) != HASH_BYTES:
            raise ProofError(f"{where}: {len(value)} bytes, a SHA-256 has {HASH_BYTES}")


def _require_same(found: bytes, claimed: bytes, where: str) -> None:
    if found != claimed:
        raise ProofError(f"{where}: the proof leads to {found.hex()}, not to {claimed.hex()}")
