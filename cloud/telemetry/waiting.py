"""What waits in the tail to be folded: for which chunks, since when, and its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from cloud.db.names import AT_ONCE
from cloud.db.tables import pack, tail
from cloud.telemetry.chunk import DAY_MS, ChunkKey, carries, key_of

TailRow = tuple[int, int, int, bool, bytes]  # pack id, first ordinal, count, future, body
Place = tuple[int, int, int]  # pack id, first ordinal, count

_DAY = (tail.c.from_monotonic_ms // DAY_MS).label("day")
_CARRIES = carries(tail.c.pack_id).label("carried")


def together(key: ChunkKey) -> tuple[bytes, int, bool, int]:
    """Sorts chunks of one boot and day side by side, as their rows stand in the tail."""
    return key.boot_id, key.day, key.carried, key.series_id


def in_tail(conn: Connection, after_series: int, limit: int) -> tuple[list[ChunkKey], int | None]:
    """Chunks that rows of the tail belong to, those of a boot and day side by side, at most `limit`.

    They are of the next series behind this one; with the last series, None when there are no more.
    """
    query = select(tail.c.series_id, tail.c.boot_id, _DAY, _CARRIES).distinct()
    query = query.where(tail.c.series_id > after_series).order_by(tail.c.series_id).limit(limit)
    keys = [key_of(row) for row in conn.execute(query)]
    if len(keys) < limit:
        return sorted(keys, key=together), None
    whole = [key for key in keys if key.series_id < keys[-1].series_id] or keys
    return sorted(whole, key=together), whole[-1].series_id


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
    looked = (
        select(
            tail.c.series_id,
            tail.c.boot_id,
            _DAY,
            _CARRIES,
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


_OF_BOOT_AND_DAY = (
    tail.c.boot_id == bindparam("boot_id"),
    tail.c.from_monotonic_ms.between(bindparam("begins"), bindparam("ends")),
)
_IS_CARRIED = carries(tail.c.pack_id) == bindparam("carried")
#: The packs in which a chunk has rows in the tail, the earliest first.
_PACKS = (
    select(tail.c.pack_id)
    .where(tail.c.series_id == bindparam("series_id"), *_OF_BOOT_AND_DAY, _IS_CARRIED)
    .order_by(tail.c.from_monotonic_ms, tail.c.pack_id)
    .limit(bindparam("most"))
)
#: How many rows chunks of one boot and day have in the tail.
_COUNTS = (
    select(tail.c.series_id, func.count().label("rows"))
    .where(tail.c.series_id.in_(bindparam("series_ids", expanding=True)), *_OF_BOOT_AND_DAY, _IS_CARRIED)
    .group_by(tail.c.series_id)
)


def _rows_in_packs(series_id: ColumnElement[int]) -> Select[Any]:
    columns = tail.c.series_id, tail.c.pack_id, tail.c.first_ordinal, tail.c.count, tail.c.future, tail.c.body
    return (
        select(*columns)
        .where(tail.c.pack_id.in_(bindparam("pack_ids", expanding=True)), *_OF_BOOT_AND_DAY)
        .where(series_id.in_(bindparam("series_ids", expanding=True)))
        .order_by(tail.c.pack_id, tail.c.first_ordinal)
        .limit(bindparam("most"))
    )


_ROWS_OF_ONE = _rows_in_packs(tail.c.series_id)
_ROWS = _rows_in_packs(tail.c.series_id + 0)  # no index is found for that: several series are read pack by pack


def rows_of(conn: Connection, keys: Sequence[ChunkKey], room: int) -> tuple[dict[int, list[TailRow]], set[int]]:
    """By series at most `room` rows of chunks of one boot and day, and the series that may have more.

    Series that are sealed together lie side by side, so they are read by the packs of one of them: row by row through
    the index would take three times as long.
    """
    first, series_ids = keys[0], [key.series_id for key in keys]
    begins = first.day * DAY_MS
    asked = {"series_ids": series_ids, "boot_id": first.boot_id, "begins": begins, "ends": begins + DAY_MS - 1}
    rows: dict[int, list[TailRow]] = {series_id: [] for series_id in series_ids}
    totals: dict[int, int] | None = None
    seen: set[int] = set()
    for series_id in series_ids:
        if totals is not None and len(rows[series_id]) >= totals.get(series_id, 0):
            continue
        lead = asked | {"series_id": series_id, "carried": first.carried, "most": room}
        packs = conn.scalars(_PACKS, lead).all()
        room -= _take(conn, [pack_id for pack_id in dict.fromkeys(packs) if pack_id not in seen], rows, asked, room)
        if room <= 0 or len(packs) == lead["most"]:
            return rows, {of for of, some in rows.items() if totals is None or len(some) < totals.get(of, 0)}
        seen.update(packs)
        if totals is None:
            totals = {row.series_id: row.rows for row in conn.execute(_COUNTS, lead)}
    return rows, set()


def _take(
    conn: Connection, packs: Sequence[int], rows: dict[int, list[TailRow]], asked: dict[str, Any], room: int
) -> int:
    """Add what these packs have of what is asked for, as long as there is room; how many rows that were."""
    taken = 0
    query = _ROWS if len(rows) > 1 else _ROWS_OF_ONE
    for at in range(0, len(packs), AT_ONCE):
        found = conn.execute(query, asked | {"pack_ids": packs[at : at + AT_ONCE], "most": room - taken}).all()
        for series_id, pack_id, ordinal, count, future, body in found:
            rows[series_id].append((pack_id, ordinal, count, future, body))
        taken += len(found)
        if taken >= room:
            break
    return taken
