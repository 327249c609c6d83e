"""Blocks of accepted packs become rows of `series` and `tail`: one row per pack and block, columns kept as sent.

Called inside ingest's transaction; everything here can be rebuilt from the packs. Times are corrected as far as it is
known (cloud/telemetry/corrections.py); believed times stay beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, insert, select, tuple_

from cloud.db.tables import scan, series, tail
from cloud.telemetry import corrections
from cloud.telemetry.boots import BootKey, Stored
from cloud.telemetry.corrections import PackName
from cloud.telemetry.wall import wall_times
from wire.course import NOTHING, Course
from wire.pack import Pack

KEYS_PER_QUERY = 500  # well below SQLite's limit of 32,766 bound values

SeriesKey = tuple[str, str, str]  # gateway, channel, unit


def record(conn: Connection, packs: Sequence[Stored]) -> set[PackName]:
    """Store readings, scans and corrections of packs in the caller's transaction.

    Returns the packs of which corrections count for nothing, because their boot has more than CORRECTIONS_MAX.
    """
    told = corrections.record(conn, packs)
    corrected = corrections.courses(conn, told.before.keys() | {key for one in packs for key in _boots(one.pack)})
    keys = {(one.pack.gateway, block.channel, block.unit) for one in packs for block in one.pack.blocks}
    ids = _series_ids(conn, keys)
    tails = [row for one in packs for row in _tail_rows(one, ids, corrected)]
    if tails:
        conn.execute(insert(tail), tails)
    scans = [row for one in packs for row in _scan_rows(one, corrected)]
    if scans:
        conn.execute(insert(scan), scans)
    corrections.reproject(conn, told.before, corrected)
    return told.exceeding


def _boots(pack: Pack) -> set[BootKey]:
    seen = {block.boot_id for block in pack.blocks} | {seen.stamp.boot_id for seen in pack.scans}
    return {(pack.gateway, boot_id) for boot_id in seen}


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


def _tail_rows(
    one: Stored, ids: dict[SeriesKey, int], corrected: Mapping[BootKey, Course]
) -> Iterable[dict[str, object]]:
    ordinal = 0
    for block in one.pack.blocks:
        walls = wall_times(block)  # the wall clock may have stepped back within a block
        course = corrected.get((one.pack.gateway, block.boot_id), NOTHING)
        from_ms, to_ms = corrections.span(block, course, walls)
        yield {
            "pack_id": one.id,
            "first_ordinal": ordinal,
            "series_id": ids[one.pack.gateway, block.channel, block.unit],
            "count": len(block.values),
            "from_ms": from_ms,
            "to_ms": to_ms,
            "believed_from_ms": min(walls),
            "believed_to_ms": max(walls),
            "boot_id": block.boot_id,
            "from_monotonic_ms": block.base_monotonic_ms,
            "to_monotonic_ms": block.base_monotonic_ms + sum(block.dt_ms),
            "future": to_ms > one.received_ms + corrections.FUTURE_MS,
            "body": msgspec.msgpack.encode(block),
        }
        ordinal += len(block.values)


def _scan_rows(one: Stored, corrected: Mapping[BootKey, Course]) -> Iterable[dict[str, object]]:
    pack = one.pack
    first = sum(len(block.values) for block in pack.blocks)
    for ordinal, (seen, place) in enumerate(zip(pack.scans, one.places, strict=True), start=first):
        stamp = seen.stamp
        holds = corrected.get((pack.gateway, stamp.boot_id), NOTHING).at(stamp.monotonic_ms)
        yield {
            "pack_id": one.id,
            "ordinal": ordinal,
            "gateway": pack.gateway,
            "stream": pack.stream,
            "seq": pack.seq,
            "channel": seen.channel,
            "code": seen.code,
            "symbology": seen.symbology,
            "observed_ms": stamp.observed_at_ms + (holds.offset_ms if holds else 0),
            "believed_ms": stamp.observed_at_ms,
            "boot_id": stamp.boot_id,
            "monotonic_ms": stamp.monotonic_ms,
            "clock": int(stamp.clock),
            "quality": int(seen.quality),
            "place_stream": place.stream,
            "place_seq": place.seq,
            "place_position": place.position,
        }
