"""Numbers that two packs claim: the first is in the record, the others beside it. For the checks page."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, func, select

from cloud.db.tables import conflict, pack


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
