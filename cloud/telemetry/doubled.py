"""Readings that a gateway sealed twice because its file was damaged: they count once.

A buffer file that fell back behind its head has open again what was sealed in packs that may have left. The gateway
cannot know, so it declares those packs lost in a new stream, an open end included, and seals the readings once more
(wire.md §4.2). Where the packs had left, the record has both.

The rule: a reading is one with another of the same channel, boot, monotonic and wall time, unit, value and quality if
the other's stream went on from the one's, directly or over others, and each time with a first pack that declares an
open-ended loss of the stream before. The one in the older stream counts. So it makes no difference which came first;
while the older is missing the younger counts.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from sqlalchemy import Connection, select

from cloud.db.tables import declared_loss, pack
from wire.doubled import Ancestors, ancestors


class Row(Protocol):
    """What tells one reading of a channel from another."""

    @property
    def stream(self) -> bytes: ...
    @property
    def boot_id(self) -> bytes: ...
    @property
    def monotonic_ms(self) -> int: ...
    @property
    def believed_ms(self) -> int: ...
    @property
    def mantissa(self) -> int | None: ...
    @property
    def exponent(self) -> int: ...
    @property
    def unit(self) -> str: ...
    @property
    def quality(self) -> int: ...


R = TypeVar("R", bound=Row)


def once(conn: Connection, gateway: str, rows: list[R]) -> list[R]:
    """The readings of one channel without those that are there in an older stream as well."""
    older = damaged(conn, gateway)
    if not older:
        return rows
    streams: dict[object, set[bytes]] = {}
    for row in rows:
        streams.setdefault(_identity(row), set()).add(row.stream)
    nothing: set[bytes] = set()
    return [row for row in rows if not streams[_identity(row)] & older.get(row.stream, nothing)]


def damaged(conn: Connection, gateway: str) -> Ancestors:
    """The streams that went on from a damaged file, each with those before it; none is before another in a ring."""
    query = (
        select(pack.c.stream.label("younger"), declared_loss.c.stream.label("older"))
        .join_from(declared_loss, pack, pack.c.id == declared_loss.c.pack_id)
        .where(declared_loss.c.gateway == gateway, declared_loss.c.last_seq.is_(None), pack.c.seq == 1)
        .where(declared_loss.c.stream != pack.c.stream)
    )
    return ancestors((row.younger, row.older) for row in conn.execute(query))


def _identity(row: Row) -> object:
    return (
        row.boot_id,
        row.monotonic_ms,
        row.believed_ms,
        row.mantissa,
        row.exponent,
        row.unit,
        row.quality,
    )
