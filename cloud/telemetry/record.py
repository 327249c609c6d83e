"""Blocks of accepted packs become rows of `series` and `tail`: one row per pack and block, columns kept as sent.

Called inside ingest's transaction; everything here can be rebuilt from the packs. Times are corrected as far as it is
known (cloud/telemetry/corrections.py); believed times stay beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, insert

from cloud.db.bulk import find, insert_rows
from cloud.db.tables import scan, series, tail
from cloud.telemetry import corrections
from cloud.telemetry.boots import BootKey, Stored
from cloud.telemetry.corrections import PackName
from cloud.telemetry.wall import wall_times
from wire.course import NOTHING, Course
from wire.pack import Pack

_TAIL = [
    tail.c[name]
    for name in (
        *("pack_id", "first_ordinal", "series_id", "count", "from_ms", "to_ms", "believed_from_ms", "believed_to_ms"),
        *("boot_id", "from_monotonic_ms", "to_monotonic_ms", "future", "body"),
    )
]

_encode = msgspec.msgpack.Encoder().encode

SeriesKey = tuple[str, str, str]  # gateway, channel, unit


def record(conn: Connection, packs: Sequence[Stored]) -> set[PackName]:
    """Store readings, scans and corrections of packs in the caller's transaction.

    Returns the packs of which corrections count for nothing, because their boot has more than CORRECTIONS_MAX.
    """
    told = corrections.record(conn, packs)
    corrected = store_rows(conn, packs, told.before.keys())
    corrections.reproject(conn, told.before, corrected)
    return told.exceeding


def store_rows(conn: Connection, packs: Sequence[Stored], also: Iterable[BootKey] = ()) -> dict[BootKey, Course]:
    """Store readings and scans with the times that hold by the corrections that are there.

    Returns what holds in the boots of these packs, and in others that are asked for.
    """
    corrected = corrections.courses(conn, {*also, *(key for one in packs for key in _boots(one.pack))})
    keys = {(one.pack.gateway, block.channel, block.unit) for one in packs for block in one.pack.blocks}
    ids = _series_ids(conn, keys)
    insert_rows(conn, _TAIL, [row for one in packs for row in _tail_rows(one, ids, corrected)])
    scans = [row for one in packs if one.pack.scans for row in _scan_rows(one, corrected)]
    if scans:
        conn.execute(insert(scan), scans)
    return corrected


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
    by = (series.c.gateway, series.c.channel, series.c.unit)
    rows = find(conn, [*by, series.c.id], (by[0], by[2], by[1]), {(gateway, unit, of) for gateway, of, unit in keys})
    return {(gateway, channel, unit): series_id for gateway, channel, unit, series_id in rows}


def _tail_rows(
    one: Stored, ids: dict[SeriesKey, int], corrected: Mapping[BootKey, Course]
) -> Iterable[tuple[object, ...]]:
    """In the order of _TAIL."""
    ordinal, gateway, newest_ms = 0, one.pack.gateway, one.received_ms + corrections.FUTURE_MS
    for block in one.pack.blocks:
        count, took_ms = len(block.values), sum(block.dt_ms)
        if block.wall_dt_ms:  # the wall clock may have stepped back within a block
            walls = wall_times(block)
            believed_from_ms, believed_to_ms = min(walls), max(walls)
        else:
            believed_from_ms, believed_to_ms = block.base_wall_ms, block.base_wall_ms + took_ms
        from_ms, to_ms = believed_from_ms, believed_to_ms
        if corrected and (course := corrected.get((gateway, block.boot_id))):
            from_ms, to_ms = corrections.span(block, course, wall_times(block))
        yield (
            one.id,
            ordinal,
            ids[gateway, block.channel, block.unit],
            count,
            from_ms,
            to_ms,
            believed_from_ms,
            believed_to_ms,
            block.boot_id,
            block.base_monotonic_ms,
            block.base_monotonic_ms + took_ms,
            to_ms > newest_ms,
            _encode(block),
        )
        ordinal += count


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
