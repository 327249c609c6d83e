"""Forgetting: the readings of packs whose bytes are to be removed go from the tail and from chunks.

For retention, in the transaction that removes the bytes: they say which chunks hold what of them. A chunk is made anew
from what is left, or goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from sqlalchemy import Connection, delete, select, update

from cloud.db.tables import chunk, chunk_body, pack, series, tail
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.body import Body
from cloud.telemetry.chunk import DAY_MS, ChunkKey, describe, hours_of, received_of, timed
from cloud.telemetry.corrections import courses
from wire.course import NOTHING
from wire.envelope import open_envelope
from wire.pack import Pack, read_payload

_AT_ONCE = 500


def forget(conn: Connection, pack_ids: Collection[int]) -> int:
    """Forget the readings of these packs, in the caller's write transaction; returns how many chunks that changed.

    Their bytes must still be there. Raises WireError, BodyDamaged.
    """
    keys: set[tuple[str, ChunkKey]] = set()
    ids: dict[str, dict[tuple[str, str], int]] = {}
    ordered = sorted(pack_ids)
    for at in range(0, len(ordered), _AT_ONCE):
        some = ordered[at : at + _AT_ONCE]
        conn.execute(delete(tail).where(tail.c.pack_id.in_(some)))
        for envelope in conn.scalars(select(pack.c.envelope).where(pack.c.id.in_(some))).all():
            one = read_payload(open_envelope(envelope))
            if one.gateway not in ids:
                ids[one.gateway] = _series_of(conn, one.gateway)
            keys.update(_keys(one, ids[one.gateway]))
    gone = np.array(ordered, np.int64)
    return sum(_make_anew(conn, gateway, key, gone) for gateway, key in sorted(keys))


def _series_of(conn: Connection, gateway: str) -> dict[tuple[str, str], int]:
    """The ids of a gateway's series, by channel and unit."""
    rows = conn.execute(select(series).where(series.c.gateway == gateway))
    return {(row.channel, row.unit): row.id for row in rows}


def _keys(one: Pack, ids: Mapping[tuple[str, str], int]) -> Iterator[tuple[str, ChunkKey]]:
    """The chunks of a pack's blocks."""
    for block in one.blocks:
        day = block.base_monotonic_ms // DAY_MS
        key = ChunkKey(ids[block.channel, block.unit], block.boot_id, day, bool(one.carried_from))
        yield one.gateway, key


def _make_anew(conn: Connection, gateway: str, key: ChunkKey, gone: np.ndarray[tuple[int], np.dtype[np.int64]]) -> bool:
    stored = conn.scalar(select(chunk_body.c.body).where(key.where(chunk_body)))
    if stored is None:
        return False
    whole = chunk_bodies.decode(stored)
    kept = chunk_bodies.select_blocks(whole, ~np.isin(whole.pack_id, gone))
    if kept is None:
        conn.execute(delete(chunk).where(key.where(chunk)))
        conn.execute(delete(chunk_body).where(key.where(chunk_body)))
    elif len(kept.count) < len(whole.count):
        _put(conn, gateway, key, kept)
    return kept is None or len(kept.count) < len(whole.count)


def _put(conn: Connection, gateway: str, key: ChunkKey, kept: Body) -> None:
    boot = gateway, key.boot_id
    now = timed(kept, courses(conn, {boot}).get(boot, NOTHING))
    columns = describe(now, received_of(conn, kept)) | {"hours": hours_of(now, of_copies=key.carried)}
    conn.execute(update(chunk).where(key.where(chunk)).values(**columns))
    conn.execute(update(chunk_body).where(key.where(chunk_body)).values(body=chunk_bodies.encode(kept)))
