"""The ledger: an append-only Merkle log (RFC 6962 §2.1) that grows in the same transaction as what it records.

A leaf's data is `kind`, a zero byte and the SHA-256 of the recorded bytes (of a pack: its envelope exactly as
it was sent). Invariants: leaves are numbered from 0 without holes; `ledger_state` always holds the frontier over
exactly these leaves; a transaction that rolls back leaves neither number nor leaf behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from cloud.db.bulk import insert_rows
from cloud.db.tables import leaf, ledger_state
from cloud.errors import Fatal, Retryable
from standards.tlog.tree import HASH_BYTES, Frontier, TreeError, leaf_hash

#: What may be recorded.
KINDS = frozenset({"pack", "event", "evidence", "decision", "key", "hold", "pruning", "signer", "epoch"})


class LedgerDamaged(Fatal):
    """The stored right edge of the tree is not one: the database was damaged or edited."""


class LeafDamaged(Retryable):
    """Leaves are missing or changed: checkpoints and proofs wait for them to be put right, recording goes on."""


class Leaf(msgspec.Struct, frozen=True):
    """One thing to record: its kind, the SHA-256 of its bytes, and a word to find it by."""

    kind: str
    hash: bytes
    ref: str


class Head(msgspec.Struct, frozen=True):
    """How many leaves the log has, and the root over all of them."""

    size: int
    root: bytes


def leaf_data(kind: str, payload_hash: bytes) -> bytes:
    """The bytes that are hashed into a leaf."""
    if kind not in KINDS:
        raise ValueError(f"leaf kind {kind!r}, known kinds: {', '.join(sorted(KINDS))}")
    if len(payload_hash) != HASH_BYTES:
        raise ValueError(f"leaf of kind {kind}: the hash has {len(payload_hash)} bytes, SHA-256 has {HASH_BYTES}")
    return kind.encode("ascii") + b"\x00" + payload_hash


def payload_hash(payload: bytes) -> bytes:
    """What a leaf commits to of the recorded bytes: their SHA-256."""
    return hashlib.sha256(payload).digest()


def append(conn: Connection, kind: str, *, payload: bytes, ref: str) -> int:
    """Record `payload` (its SHA-256) in the caller's write transaction; returns the index of its leaf."""
    return append_many(conn, [Leaf(kind, payload_hash(payload), ref)])


def append_many(conn: Connection, leaves: Sequence[Leaf]) -> int:
    """Record several in order, in the caller's write transaction; returns the index of the first one.

    For no leaves it is the index the next one will get.
    """
    frontier = _frontier(conn)
    first = frontier.size
    if not leaves:
        return first
    grown = frontier.extend([leaf_hash(leaf_data(one.kind, one.hash)) for one in leaves])
    rows = [(index, one.kind, one.hash, one.ref) for index, one in enumerate(leaves, start=first)]
    insert_rows(conn, [leaf.c.leaf_index, leaf.c.kind, leaf.c.hash, leaf.c.ref], rows)
    _keep(conn, frontier, grown)
    return first


def head(conn: Connection) -> Head:
    """Size and root of the log as this connection sees it."""
    frontier = _frontier(conn)
    return Head(frontier.size, frontier.root())


def read_leaf(conn: Connection, leaf_index: int) -> Leaf | None:
    """The leaf with this index, None when the log is not that long."""
    row = conn.execute(select(leaf).where(leaf.c.leaf_index == leaf_index)).one_or_none()
    return None if row is None else Leaf(row.kind, row.hash, row.ref)


def read_data(conn: Connection, start: int, end: int) -> list[bytes]:
    """The data of the leaves [start, end), all of which must be there. Raises LeafDamaged."""
    query = select(leaf.c.leaf_index, leaf.c.kind, leaf.c.hash).order_by(leaf.c.leaf_index)
    found: list[bytes] = []
    for row in conn.execute(query.where(leaf.c.leaf_index >= start, leaf.c.leaf_index < end)):
        if row.leaf_index != start + len(found):
            break
        try:
            found.append(leaf_data(row.kind, row.hash))
        except ValueError as error:
            raise LeafDamaged(f"leaf {row.leaf_index}: {error}; `coldproof cloud fsck` says more") from error
    if len(found) != end - start:
        raise LeafDamaged(f"leaf {start + len(found)}: is missing; `coldproof cloud fsck` says more")
    return found


def _frontier(conn: Connection) -> Frontier:
    stored = conn.scalar(select(ledger_state.c.frontier))
    if stored is None:
        return Frontier()
    try:
        return Frontier.from_bytes(stored)
    except TreeError as error:
        raise LedgerDamaged(f"ledger_state: {error}; nothing more is recorded, restore the database") from error


def _keep(conn: Connection, before: Frontier, grown: Frontier) -> None:
    row = {"size": grown.size, "frontier": grown.to_bytes()}
    if before.size == 0:
        conn.execute(insert(ledger_state).values(id=1, **row))
    else:
        conn.execute(update(ledger_state).values(row))
