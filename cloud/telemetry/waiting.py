"""What waits in the tail to be folded: for which chunks, since when, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from cloud.db.bulk import find
from cloud.db.tables import pack, tail
from cloud.telemetry.chunk import DAY_MS, ChunkKey, carries

TailRow = tuple[int, int, int, bool, bytes]  # pack id, first ordinal, count, future, body
Place = tuple[int, int, int]  # pack id, first ordinal, count


def together(key: ChunkKey) -> tuple[bytes, int, bool, int]:
    """Sorts chunks of one boot and day side by side, as their rows stand in the tail."""
    return key.boot_id, key.day, key.carried, key.series_id


def in_tail(conn: Connection) -> list[ChunkKey]:
    """The chunks that rows of the tail belong to, those of a boot and day side by side."""
    day = tail.c.from_monotonic_ms // DAY_MS
    query = select(tail.c.series_id, tail.c.boot_id, day, carries(tail.c.pack_id)).distinct()
    found = [ChunkKey(of, boot_id, int(day_), bool(copies)) for of, boot_id, day_, copies in conn.execute(query)]
    return sorted(found, key=together)


class Waiting(NamedTuple):
    """Rows of the tail that belong to one chunk and came in one stream: how many, since when, up to which pack."""

    key: ChunkKey
    gateway: str
    stream: bytes
    rows: int
    since_ms: int
    last_pack: int


def waiting(conn: Connection, after_pack: int, limit: int) -> list[Waiting]:
    """What the next rows of the tail belong to, by pack."""
    day = tail.c.from_monotonic_ms // DAY_MS
    looked = (
        select(
            tail.c.series_id,
            tail.c.boot_id,
            day.label("day"),
            carries(tail.c.pack_id).label("carried"),
            pack.c.gateway,
            pack.c.stream,
            pack.c.received_ms,
            tail.c.pack_id,
        )
        .join_from(tail, pack, pack.c.id == tail.c.pack_id)
        .where(tail.c.pack_id > after_pack)
        .order_by(tail.c.pack_id)
        .limit(limit)
        .subquery()
    )
    c = looked.c
    of = c.series_id, c.boot_id, c.day, c.carried, c.gateway, c.stream
    first = func.min(c.pack_id)
    query = select(*of, func.count(), func.min(c.received_ms), func.max(c.pack_id)).group_by(*of).order_by(first, *of)
    return [
        Waiting(ChunkKey(series_id, boot_id, int(day_), bool(copies)), *rest)
        for series_id, boot_id, day_, copies, *rest in conn.execute(query)
    ]


#: The packs in which a chunk has rows in the tail, the earliest first: from the index alone.
_PACKS = (
    select(tail.c.pack_id)
    .where(tail.c.series_id == bindparam("series_id"), tail.c.boot_id == bindparam("boot_id"))
    .where(tail.c.from_monotonic_ms.between(bindparam("begins"), bindparam("ends")))
    .where(carries(tail.c.pack_id) == bindparam("carried"))
    .order_by(tail.c.from_monotonic_ms, tail.c.pack_id)
    .limit(bindparam("most"))
)
#: How many rows chunks of one boot and day have in the tail.
_COUNTS = (
    select(tail.c.series_id, func.count().label("rows"))
    .where(tail.c.boot_id == bindparam("boot_id"), tail.c.series_id.in_(bindparam("series_ids", expanding=True)))
    .where(tail.c.from_monotonic_ms.between(bindparam("begins"), bindparam("ends")))
    .where(carries(tail.c.pack_id) == bindparam("carried"))
    .group_by(tail.c.series_id)
)
_ROW = [
    tail.c[name]
    for name in ("series_id", "pack_id", "first_ordinal", "count", "future", "boot_id", "from_monotonic_ms", "body")
]


def rows_of(conn: Connection, keys: Sequence[ChunkKey], room: int) -> tuple[dict[int, list[TailRow]], set[int]]:
    """By series about `room` rows of chunks of one boot and day, and the series that may have more.

    Series that are sealed together lie side by side, so they are read by the packs of one of them: row by row through
    the index would take three times as long.
    """
    names = {"boot_id": keys[0].boot_id, "carried": keys[0].carried, "series_ids": [key.series_id for key in keys]}
    day = {"begins": keys[0].day * DAY_MS, "ends": keys[0].day * DAY_MS + DAY_MS - 1}
    rows: dict[int, list[TailRow]] = {key.series_id: [] for key in keys}
    totals: dict[int, int] | None = None
    seen: set[int] = set()
    most = max(room // len(keys), 1)
    for key in keys:
        of = key.series_id
        if totals is not None and len(rows[of]) >= totals.get(of, 0):
            continue
        packs = conn.scalars(_PACKS, key._asdict() | day | {"most": most}).all()
        room -= _take(conn, set(packs) - seen, rows, boot_id=key.boot_id, **day)
        if len(packs) == most or room <= 0:
            return rows, {of for of, some in rows.items() if totals is None or len(some) < totals.get(of, 0)}
        seen.update(packs)
        if totals is None:
            totals = {row.series_id: row.rows for row in conn.execute(_COUNTS, names | day)}
    return rows, set()


def _take(
    conn: Connection, packs: set[int], rows: dict[int, list[TailRow]], *, boot_id: bytes, begins: int, ends: int
) -> int:
    """Add the rows that these packs have of those series, boot and day; how many there were."""
    found = 0
    for of, pack_id, ordinal, count, future, of_boot, at, body in find(
        conn, _ROW, [tail.c.pack_id], {(pack_id,) for pack_id in packs}
    ):
        if of in rows and of_boot == boot_id and begins <= at <= ends:
            rows[of].append((pack_id, ordinal, count, future, body))
            found += 1
    return found
