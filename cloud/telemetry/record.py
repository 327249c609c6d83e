"""Blocks of accepted packs become rows of `series` and `tail`: one row per pack and block, columns kept as sent.

Called inside ingest's transaction; everything here can be rebuilt from the packs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec
from sqlalchemy import Connection, insert, select, tuple_

from cloud.db.tables import scan, series, tail
from wire.pack import Block, Pack

KEYS_PER_QUERY = 500  # well below SQLite's limit of 32,766 bound values

SeriesKey = tuple[str, str, str]  # gateway, channel, unit


def record(conn: Connection, packs: Sequence[tuple[int, Pack]]) -> None:
    """Store readings and scans of packs, each given with the id of its row, in the caller's transaction."""
    ids = _series_ids(conn, {(pack.gateway, block.channel, block.unit) for _, pack in packs for block in pack.blocks})
    tails = [row for pack_id, pack in packs for row in _tail_rows(pack_id, pack, ids)]
    if tails:
        conn.execute(insert(tail), tails)
    scans = [row for pack_id, pack in packs for row in _scan_rows(pack_id, pack)]
    if scans:
        conn.execute(insert(scan), scans)


def wall_times(block: Block) -> list[int]:
    """When each row was observed, as believed by the gateway, UTC ms."""
    steps = block.wall_dt_ms or block.dt_ms
    return list(accumulate(steps[1:], initial=block.base_wall_ms))


def _series_ids(conn: Connection, keys: set[SeriesKey]) -> dict[SeriesKey, int]:
    known = _known_series(conn, keys)
    for gateway, channel, unit in sorted(keys - known.keys()):
        row = insert(series).values(gateway=gateway, channel=channel, unit=unit)
        added = conn.execute(row).inserted_primary_key
        assert added is not None
        known[gateway, channel, unit] = added[0]
    return known


def _known_series(conn: Connection, keys: set[SeriesKey]) -> dict[SeriesKey, int]:
    ordered = sorted(keys)
    known: dict[SeriesKey, int] = {}
    name = tuple_(series.c.gateway, series.c.channel, series.c.unit)
    for at in range(0, len(ordered), KEYS_PER_QUERY):
        for row in conn.execute(select(series).where(name.in_(ordered[at : at + KEYS_PER_QUERY]))):
            known[row.gateway, row.channel, row.unit] = row.id
    return known


def _tail_rows(pack_id: int, pack: Pack, ids: dict[SeriesKey, int]) -> Iterable[dict[str, object]]:
    ordinal = 0
    for block in pack.blocks:
        walls = wall_times(block)  # the wall clock may have stepped back within a block
        yield {
            "pack_id": pack_id,
            "first_ordinal": ordinal,
            "series_id": ids[pack.gateway, block.channel, block.unit],
            "count": len(block.values),
            "from_ms": min(walls),
            "to_ms": max(walls),
            "body": msgspec.msgpack.encode(block),
        }
        ordinal += len(block.values)


def _scan_rows(pack_id: int, pack: Pack) -> Iterable[dict[str, object]]:
    first = sum(len(block.values) for block in pack.blocks)
    for ordinal, seen in enumerate(pack.scans, start=first):
        yield {
            "pack_id": pack_id,
            "ordinal": ordinal,
            "gateway": pack.gateway,
            "stream": pack.stream,
            "seq": pack.seq,
            "channel": seen.channel,
            "code": seen.code,
            "symbology": seen.symbology,
            "observed_ms": seen.stamp.observed_at_ms,
            "quality": int(seen.quality),
        }
