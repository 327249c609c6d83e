"""The streams of a gateway in the order it went through them: how far each hangs together, and why the next began.

A stream goes on in another one when the buffer's file was replaced, set aside, or turned out to be a copy. It is
disputed when the record has packs under numbers beyond the head that the next stream names, another pack under that
head's number, or packs that were refused because their number was taken: then two buffers wrote it.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Row, func, literal, select

from cloud.db.tables import conflict, finding, pack, succession
from cloud.ingest.finding import TWO_COPIES


class Succession(msgspec.Struct, frozen=True):
    """A stream and the one it went on from. began_ms: when the first pack of the new one was received."""

    gateway: str
    stream: bytes
    prior_stream: bytes
    last_seq: int
    began_ms: int
    disputed: bool


def successions(conn: Connection, limit: int) -> list[Succession]:
    """Where streams went on in another one, the newest first."""
    query = (
        select(succession, pack.c.received_ms)
        .join_from(succession, pack, pack.c.id == succession.c.pack_id)
        .order_by(succession.c.pack_id.desc())
        .limit(limit)
    )
    return [
        Succession(
            gateway=row.gateway,
            stream=row.stream,
            prior_stream=row.prior_stream,
            last_seq=row.last_seq,
            began_ms=row.received_ms,
            disputed=_is_disputed(conn, row),
        )
        for row in conn.execute(query).all()
    ]


def _is_disputed(conn: Connection, row: Row[tuple[object, ...]]) -> bool:
    prior = (pack.c.gateway == row.gateway, pack.c.stream == row.prior_stream)
    beyond = select(func.max(pack.c.seq)).where(*prior)
    if (conn.scalar(beyond) or 0) > row.last_seq:
        return True
    refused = select(literal(1)).where(conflict.c.gateway == row.gateway, conflict.c.stream == row.prior_stream)
    copies = select(literal(1)).where(
        finding.c.kind == TWO_COPIES, finding.c.gateway == row.gateway, finding.c.stream == row.prior_stream
    )
    return any(conn.scalar(query.limit(1)) is not None for query in (refused, copies))
