"""What evidence was computed on, and whether that still stands: told without computing the evidence again.

Computing takes seconds for a long journey, and is done outside the write lock. Whoever writes what rests on it asks
here first, in the write transaction. Evidence rests on packs of the gateways that measured or scanned, on events, on
the registry, and on nothing having been pruned: each of these but the registry is a leaf of the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, literal, select

from cloud.db.tables import event, gateway, leaf, pack, place, product, profile, sensor_binding
from cloud.ledger import log

_TABLES = (gateway, place, sensor_binding, profile, product)
_OTHERS = ("pruning", "epoch")  # leaves after which nothing is taken for granted


class Basis(msgspec.Struct, frozen=True):
    """A moment of the record: how many leaves the log had, and a fingerprint of the registry."""

    leaves: int
    registry: bytes


def basis(conn: Connection) -> Basis:
    """The record as this transaction sees it."""
    digest = hashlib.sha256()
    for table in _TABLES:
        for row in conn.execute(select(table).order_by(*table.primary_key.columns)):
            digest.update(msgspec.msgpack.encode(tuple(row)))
    return Basis(log.head(conn).size, digest.digest())


def stands(conn: Connection, on: Basis, gateways: Collection[str]) -> bool:
    """Whether evidence that was computed on `on` and rests on these gateways would be the same now.

    False also where that cannot be told cheaply, as after any new event.
    """
    now = basis(conn)
    if now.registry != on.registry or now.leaves < on.leaves:
        return False
    if now.leaves == on.leaves:
        return True
    news = (
        select(literal(1)).select_from(event).where(event.c.leaf_index >= on.leaves),
        select(literal(1)).select_from(leaf).where(leaf.c.leaf_index >= on.leaves, leaf.c.kind.in_(_OTHERS)),
        select(literal(1))
        .select_from(pack)
        .where(pack.c.leaf_index >= on.leaves, pack.c.gateway.in_(sorted(gateways))),
    )
    return all(conn.scalar(query.limit(1)) is None for query in news)
