"""Numbers that two packs claim: the first is in the record, the others beside it. For the checks page."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, insert, select

from cloud.db.tables import conflict, pack
from cloud.ingest.accept import Candidate
from cloud.ingest.arrival import Arrival

KEPT_MAX = 16  # of one number: more of them prove nothing new, and are kept in the quarantine's bounds


class Conflict(msgspec.Struct, frozen=True):
    """One number of a stream. hash: of the pack in the record; others: how many more claim to be it."""

    gateway: str
    stream: bytes
    seq: int
    hash: bytes
    others: int
    newest_ms: int


def newest(conn: Connection, limit: int) -> list[Conflict]:
    """The disputed numbers, the last disputed first."""
    last = func.max(conflict.c.received_ms).label("newest_ms")
    query = (
        select(pack.c.gateway, pack.c.stream, pack.c.seq, pack.c.hash, func.count().label("others"), last)
        .join_from(conflict, pack, pack.c.id == conflict.c.pack_id)
        .group_by(pack.c.id)
        .order_by(last.desc(), pack.c.id.desc())
        .limit(limit)
    )
    return [Conflict(**row) for row in conn.execute(query).mappings()]


def keep(conn: Connection, arrival: Arrival, candidate: Candidate) -> bool:
    """Keep the second envelope beside the first; False when there are enough of them."""
    gateway, stream, seq = candidate.identity
    pack_id = conn.execute(
        select(pack.c.id).where(pack.c.gateway == gateway, pack.c.stream == stream, pack.c.seq == seq)
    ).scalar_one()
    known = set(conn.scalars(select(conflict.c.hash).where(conflict.c.pack_id == pack_id)))
    if candidate.hash in known:
        return True
    if len(known) >= KEPT_MAX:
        return False
    row = {
        "pack_id": pack_id,
        "gateway": gateway,
        "stream": stream,
        "seq": seq,
        "hash": candidate.hash,
        "envelope": arrival.payload,
        "received_ms": arrival.received_ms,
    }
    conn.execute(insert(conflict).values(row))
    return True
