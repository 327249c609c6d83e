"""Proofs: every leaf and every growth of small trees, whoever made them, and nothing but the one right proof."""

from __future__ import annotations

import json
from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.tlog.proof import (
    PROOF_MAX_HASHES,
    ProofError,
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    inclusion_ranges,
    range_root,
    subtree_proof,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from standards.tlog.tree import EMPTY_ROOT, SIZE_MAX, Levels, TreeError, leaf_hash, node_hash, root

OWN = json.loads((Path(__file__).parents[2] / "vectors" / "merkle" / "proofs.json").read_text())
LEAVES = [leaf_hash(b"leaf %d" % at) for at in range(40)]
TREE = Levels(LEAVES)
ROOTS = [root(LEAVES[:size]) for size in range(len(LEAVES) + 1)]
ALL_SIZES = range(1, 34)


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def is_subtree(start: int, end: int) -> bool:
    """The draft's definition in its own words."""
    ceiling = 1
    while ceiling < end - start:
        ceiling *= 2
    return start % ceiling == 0


# --- right proofs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", OWN["inclusion"], ids=lambda one: f"{one['index']} of {one['size']}")
def test_own_inclusion_vectors_hold(one: dict) -> None:
    proof = unhex(one["proof"])
    assert inclusion_proof(TREE.node, one["index"], one["size"]) == proof
    verify_inclusion(
        LEAVES[one["index"]], index=one["index"], size=one["size"], proof=proof, root=bytes.fromhex(one["root"])
    )


@pytest.mark.parametrize("one", OWN["consistency"], ids=lambda one: f"{one['size1']} to {one['size2']}")
def test_own_consistency_vectors_hold(one: dict) -> None:
    proof = unhex(one["proof"])
    root1, root2 = unhex([one["root1"], one["root2"]])
    assert consistency_proof(TREE.node, one["size1"], one["size2"]) == proof
    verify_consistency(size1=one["size1"], size2=one["size2"], root1=root1, root2=root2, proof=proof)


@pytest.mark.parametrize("one", OWN["subtree"], ids=lambda one: f"{one['start']}-{one['end']} of {one['size']}")
def test_own_subtree_vectors_hold(one: dict) -> None:
    proof = unhex(one["proof"])
    inner, outer = unhex([one["subtree_root"], one["root"]])
    start, end, size = one["start"], one["end"], one["size"]
    assert subtree_proof(TREE.node, start, end, size) == proof
    verify_subtree_consistency(start=start, end=end, size=size, subtree_root=inner, root=outer, proof=proof)


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    for size in ALL_SIZES:
        for index in range(size):
            proof = inclusion_proof(TREE.node, index, size)
            verify_inclusion(LEAVES[index], index=index, size=size, proof=proof, root=ROOTS[size])


def test_every_growth_of_every_small_tree_is_proven() -> None:
    for size2 in ALL_SIZES:
        for size1 in range(1, size2 + 1):
            proof = consistency_proof(TREE.node, size1, size2)
            verify_consistency(size1=size1, size2=size2, root1=ROOTS[size1], root2=ROOTS[size2], proof=proof)


def test_every_subtree_of_every_small_tree_is_proven() -> None:
    for size in ALL_SIZES:
        for end in range(1, size + 1):
            for start in range(end):
                if is_subtree(start, end):
                    inner = root(LEAVES[start:end])
                    assert range_root(TREE.node, start, end) == inner
                    verify_subtree_consistency(
                        start=start,
                        end=end,
                        size=size,
                        subtree_root=inner,
                        root=ROOTS[size],
                        proof=subtree_proof(TREE.node, start, end, size),
                    )
                else:
                    with pytest.raises(ProofError, match="not a subtree"):
                        subtree_proof(TREE.node, start, end, size)


def test_leaf_of_a_subtree_is_proven_and_one_outside_is_not() -> None:
    proof = inclusion_proof(Levels(LEAVES[8:11]).node, 1, 3)
    inner = root(LEAVES[8:11])
    verify_subtree_inclusion(LEAVES[9], index=9, start=8, end=11, proof=proof, root=inner)
    with pytest.raises(ProofError, match="not in the subtree"):
        verify_subtree_inclusion(LEAVES[9], index=1, start=8, end=11, proof=proof, root=inner)
    with pytest.raises(ProofError, match="not a subtree"):
        verify_subtree_inclusion(LEAVES[9], index=9, start=9, end=12, proof=proof, root=inner)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=90, unique=True), st.data())
def test_pymerkle_agrees_on_random_trees(entries: list[bytes], data: st.DataObject) -> None:
    peer = pymerkle.InmemoryTree(algorithm="sha256")
    # pymerkle can also hash without RFC 6962's prefixes; it must not here
    assert (peer.leaf_prefix, peer.node_prefix) == (b"\x00", b"\x01")
    peer.append_entries(entries)
    ours = Levels(leaf_hash(entry) for entry in entries)
    size = data.draw(st.integers(1, len(entries)))
    index = data.draw(st.integers(0, size - 1))
    size1 = data.draw(st.integers(1, size))
    root1, root2 = range_root(ours.node, 0, size1), range_root(ours.node, 0, size)
    assert (root1, root2) == (peer.get_root(size1), peer.get_root(size))
    leaf = leaf_hash(entries[index])

    proof = inclusion_proof(ours.node, index, size)
    verify_inclusion(leaf, index=index, size=size, proof=proof, root=peer.get_root(size))
    theirs = peer.prove_inclusion(index + 1, size)  # counts from 1
    pymerkle.verify_inclusion(leaf, root2, theirs, index=index + 1, size=size)
    assert sorted([*proof, leaf]) == sorted(theirs.path)

    growth = consistency_proof(ours.node, size1, size)
    verify_consistency(size1=size1, size2=size, root1=peer.get_root(size1), root2=peer.get_root(size), proof=growth)
    pymerkle.verify_consistency(root1, root2, peer.prove_consistency(size1, size), prior_size=size1, later_size=size)


def test_no_proof_is_longer_than_the_limit() -> None:
    for index, size in ((0, SIZE_MAX), (SIZE_MAX - 1, SIZE_MAX), (2**62, 2**62 + 1)):
        assert len(inclusion_ranges(index, size)) <= 63
    assert (
        max(len(consistency_ranges(size, SIZE_MAX)) for size in (1, 2**62 - 1, 2**62, SIZE_MAX - 1)) == PROOF_MAX_HASHES
    )


# --- wrong proofs -----------------------------------------------------------------------------------------------------


def mutations(proof: list[bytes]) -> list[list[bytes]]:
    """Every proof that is nearly this one."""
    other = leaf_hash(b"other")
    flipped = [[*proof[:at], bytes([one[0] ^ 1]) + one[1:], *proof[at + 1 :]] for at, one in enumerate(proof)]
    cut = [[*proof[:at], *proof[at + 1 :]] for at in range(len(proof))]
    longer = [[*proof[:at], extra, *proof[at:]] for at in range(len(proof) + 1) for extra in (other, EMPTY_ROOT)]
    swapped = [[*proof[: at - 1], proof[at], proof[at - 1], *proof[at + 1 :]] for at in range(1, len(proof))]
    return flipped + cut + longer + swapped


def test_no_other_proof_proves_a_leaf() -> None:
    for size in (1, 2, 3, 7, 8, 13):
        for index in range(size):
            for wrong in mutations(inclusion_proof(TREE.node, index, size)):
                with pytest.raises(ProofError):
                    verify_inclusion(LEAVES[index], index=index, size=size, proof=wrong, root=ROOTS[size])


def test_no_other_proof_proves_a_growth() -> None:
    for size1, size2 in ((1, 1), (1, 2), (2, 3), (3, 7), (4, 7), (6, 8), (8, 13), (9, 13)):
        for wrong in mutations(consistency_proof(TREE.node, size1, size2)):
            with pytest.raises(ProofError):
                verify_consistency(size1=size1, size2=size2, root1=ROOTS[size1], root2=ROOTS[size2], proof=wrong)


def test_no_other_proof_proves_a_subtree() -> None:
    for start, end, size in ((0, 1, 1), (4, 8, 11), (8, 11, 13), (2, 4, 7), (4, 7, 11), (12, 13, 13)):
        for wrong in mutations(subtree_proof(TREE.node, start, end, size)):
            with pytest.raises(ProofError):
                verify_subtree_consistency(
                    start=start,
                    end=end,
                    size=size,
                    subtree_root=root(LEAVES[start:end]),
                    root=ROOTS[size],
                    proof=wrong,
                )


def test_proof_holds_for_one_position_only() -> None:
    proof = inclusion_proof(TREE.node, 5, 11)
    for size in range(-1, 20):
        for index in range(-1, 20):
            if index == 5 and 8 < size <= 16:
                continue  # the same path: a root binds no size, the signed checkpoint around both does
            with pytest.raises(ProofError):
                verify_inclusion(LEAVES[5], index=index, size=size, proof=proof, root=ROOTS[11])


def test_growth_out_of_other_roots_is_refused() -> None:
    for size1, size2 in ((1, 1), (1, 8), (3, 7), (4, 8), (7, 8), (8, 8)):
        proof = consistency_proof(TREE.node, size1, size2)
        for roots in ((ROOTS[size1], ROOTS[20]), (ROOTS[20], ROOTS[size2]), (EMPTY_ROOT, ROOTS[size2])):
            with pytest.raises(ProofError, match="the proof leads to"):
                verify_consistency(size1=size1, size2=size2, root1=roots[0], root2=roots[1], proof=proof)


def test_changed_history_is_found() -> None:
    changed = Levels([*LEAVES[:2], leaf_hash(b"forged"), *LEAVES[3:12]])
    proof = consistency_proof(changed.node, 7, 12)
    with pytest.raises(ProofError, match="root1"):
        verify_consistency(size1=7, size2=12, root1=ROOTS[7], root2=range_root(changed.node, 0, 12), proof=proof)


def test_shrinking_and_growing_from_nothing_are_refused() -> None:
    for size1, size2 in ((8, 7), (0, 1), (0, 8), (-1, 3), (1, SIZE_MAX + 1)):
        with pytest.raises(ProofError):
            verify_consistency(size1=size1, size2=size2, root1=ROOTS[1], root2=ROOTS[1], proof=[])


def test_empty_tree_is_consistent_with_itself_only() -> None:
    verify_consistency(size1=0, size2=0, root1=EMPTY_ROOT, root2=EMPTY_ROOT, proof=[])
    for root1, root2, proof in (
        (ROOTS[1], ROOTS[1], []),
        (EMPTY_ROOT, ROOTS[1], []),
        (EMPTY_ROOT, EMPTY_ROOT, [ROOTS[1]]),
    ):
        with pytest.raises(ProofError):
            verify_consistency(size1=0, size2=0, root1=root1, root2=root2, proof=proof)


def test_no_leaves_are_consistent_with_any_tree_and_have_the_root_of_nothing() -> None:
    def check(*, at: int, size: int, inner: bytes, proof: list[bytes]) -> None:
        verify_subtree_consistency(start=at, end=at, size=size, subtree_root=inner, root=ROOTS[size], proof=proof)

    for at, size in ((0, 0), (0, 5), (3, 5), (5, 5)):
        check(at=at, size=size, inner=EMPTY_ROOT, proof=[])
        for inner, proof in ((ROOTS[1], []), (EMPTY_ROOT, [ROOTS[1]])):
            with pytest.raises(ProofError):
                check(at=at, size=size, inner=inner, proof=proof)
    with pytest.raises(ProofError, match="not a subtree"):
        check(at=6, size=5, inner=EMPTY_ROOT, proof=[])
    with pytest.raises(ProofError, match="root"):
        verify_subtree_consistency(start=0, end=0, size=0, subtree_root=EMPTY_ROOT, root=ROOTS[1], proof=[])


def test_node_cannot_be_shown_as_a_leaf() -> None:
    pair = node_hash(LEAVES[0], LEAVES[1])
    with pytest.raises(ProofError):
        verify_inclusion(pair, index=0, size=4, proof=[node_hash(LEAVES[2], LEAVES[3])], root=ROOTS[4])


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33)])
def test_what_is_no_hash_is_refused_by_name(bad: bytes) -> None:
    good = LEAVES[0]
    with pytest.raises(ProofError, match="leaf"):
        verify_inclusion(bad, index=0, size=1, proof=[], root=good)
    with pytest.raises(ProofError, match="root"):
        verify_inclusion(good, index=0, size=1, proof=[], root=bad)
    with pytest.raises(ProofError, match=r"proof\[0\]"):
        verify_inclusion(good, index=0, size=2, proof=[bad], root=good)
    with pytest.raises(ProofError, match="root2"):
        verify_consistency(size1=1, size2=1, root1=good, root2=bad, proof=[])


def test_refusal_says_how_long_the_proof_should_be() -> None:
    with pytest.raises(ProofError, match="proof: 1 hashes; an inclusion proof of leaf 5 in a tree of 8 has 3"):
        verify_inclusion(LEAVES[5], index=5, size=8, proof=[LEAVES[4]], root=ROOTS[8])


def test_levels_answer_for_full_subtrees_only() -> None:
    grown = Levels()
    for size, leaf in enumerate(LEAVES[:19], start=1):
        grown.append(leaf)
        assert grown.size == size
    assert grown.node(4, 0) == ROOTS[16]
    for level, index in ((4, 1), (5, 0), (0, 19), (-1, 0), (0, -1)):
        with pytest.raises(TreeError, match="no full subtree"):
            grown.node(level, index)
    with pytest.raises(TreeError, match="leaf 19"):
        grown.append(b"short")
