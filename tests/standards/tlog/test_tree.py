"""The Merkle tree: RFC 6962's roots, whoever computes them, and a frontier that survives storage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.tlog.tree import EMPTY_ROOT, SIZE_MAX, Frontier, TreeError, leaf_hash, node_hash, root

OWN = json.loads((Path(__file__).parents[2] / "vectors" / "merkle" / "roots.json").read_text())


def _recursive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1 word for word: split at the largest power of two below n."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(_recursive_root(leaves[:split]), _recursive_root(leaves[split:]))


def test_own_vectors_hold() -> None:
    leaves = [leaf_hash(text.encode()) for text in OWN["leaves_utf8"]]
    assert [leaf.hex() for leaf in leaves] == OWN["leaf_hash_hex"]
    for size, expected in enumerate(OWN["root_hex_by_size"]):
        assert root(leaves[:size]).hex() == expected
        assert Frontier().extend(leaves[:size]).root().hex() == expected


@pytest.mark.conformance
def test_published_roots_hold(shared_data: Path) -> None:
    published = json.loads((shared_data / "merkle" / "rfc6962_roots.json").read_text())
    leaves = [leaf_hash(bytes.fromhex(data)) for data in published["leaf_inputs_hex"]]
    assert [leaf.hex() for leaf in leaves] == published["leaf_hash_hex"]
    for size, expected in enumerate(published["root_hex_by_size"]):
        assert root(leaves[:size]).hex() == expected
        assert Frontier().extend(leaves[:size]).root().hex() == expected
    for entry in published["hasher"]:
        if "empty_root" in entry:
            assert EMPTY_ROOT.hex() == entry["empty_root"]
        else:
            data = entry.get("leaf_ascii", "").encode() or bytes.fromhex(entry.get("leaf", ""))
            assert leaf_hash(data).hex() == entry["hash"]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70))
def test_root_is_what_two_other_implementations_say(entries: list[bytes]) -> None:
    peer = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        peer.append_entry(entry)
    leaves = [leaf_hash(entry) for entry in entries]
    assert root(leaves) == peer.get_root() == _recursive_root(leaves)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=8), max_size=130), st.integers(0, 130))
def test_stored_frontier_goes_on_where_it_stopped(entries: list[bytes], stop: int) -> None:
    leaves = [leaf_hash(entry) for entry in entries]
    before = Frontier().extend(leaves[:stop])
    after = Frontier.from_bytes(before.to_bytes()).extend(leaves[stop:])
    assert after.size == len(leaves)
    assert after.root() == root(leaves)
    assert len(after.peaks) == len(leaves).bit_count()
    assert before.root() == root(leaves[:stop])  # appending leaves the old frontier as it was


def test_leaf_cannot_pose_as_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"\x01" + left + right) != node_hash(left, right)


def test_order_of_leaves_matters() -> None:
    one, two = leaf_hash(b"1"), leaf_hash(b"2")
    assert root([one, two]) != root([two, one])


STORED = Frontier().extend([leaf_hash(bytes([at])) for at in range(5)]).to_bytes()


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        STORED[:7],
        STORED[:-1],
        STORED + b"\x00",
        STORED[8:],
        (3).to_bytes(8, "big") + STORED[8 : 8 + 32],
        b"\xff" * 8 + bytes(32 * 64),
        (SIZE_MAX + 1).to_bytes(8, "big") + bytes(32),
    ],
)
def test_hostile_frontier_is_refused(hostile: bytes) -> None:
    with pytest.raises(TreeError):
        Frontier.from_bytes(hostile)


def test_frontier_cut_at_any_byte_is_refused() -> None:
    for at in range(len(STORED)):
        with pytest.raises(TreeError):
            Frontier.from_bytes(STORED[:at])


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33)])
def test_only_hashes_enter_the_tree(bad: bytes) -> None:
    good = bytes(32)
    with pytest.raises(TreeError):
        Frontier().append(bad)
    with pytest.raises(TreeError, match="leaf 1"):
        root([good, bad])
    with pytest.raises(TreeError, match="left"):
        node_hash(bad, good)
    with pytest.raises(TreeError, match="right"):
        node_hash(good, bad)


def test_full_tree_takes_no_more() -> None:
    full = Frontier(SIZE_MAX, (bytes(32),) * 63)
    assert Frontier.from_bytes(full.to_bytes()) == full
    with pytest.raises(TreeError, match="full"):
        full.append(bytes(32))
