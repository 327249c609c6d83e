"""Proofs over the log's own leaves (RFC 6962 §2.1.1, §2.1.2): a few rows each, however long the log is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from cloud.ledger import log, tile
from standards.tlog.proof import ProofError, consistency_proof, inclusion_proof, range_root

TOGETHER = 1_000  # proofs that share what they read: some 20 MB at most


def root_at(conn: Connection, size: int) -> bytes:
    """The root over the first `size` leaves. Raises ProofError when the log is shorter."""
    _require(conn, size)
    return range_root(tile.nodes(conn, size).node, 0, size)


def inclusion(conn: Connection, index: int, size: int) -> list[bytes]:
    """The proof that leaf `index` is in the tree of the first `size` leaves. Raises ProofError when it is not."""
    return inclusion_many(conn, [index], size)[0]


def inclusion_many(conn: Connection, indexes: Sequence[int], size: int) -> list[list[bytes]]:
    """As `inclusion`, of several leaves, in their order; ascending ones cost the least. Raises ProofError."""
    _require(conn, size)
    found = []
    for at in range(0, len(indexes), TOGETHER):
        node = tile.nodes(conn, size).node
        found += [inclusion_proof(node, index, size) for index in indexes[at : at + TOGETHER]]
    return found


def consistency(conn: Connection, size1: int, size2: int) -> list[bytes]:
    """The proof that the tree of `size2` leaves begins with that of `size1`. Raises ProofError."""
    _require(conn, size2)
    return consistency_proof(tile.nodes(conn, size2).node, size1, size2)


def _require(conn: Connection, size: int) -> None:
    there = log.head(conn).size
    if not 0 <= size <= there:
        raise ProofError(f"there is no tree of {size} leaves: the log has {there}")
