"""A channel over a long time: min, max, mean and count in about n buckets; and its last reading.

Exact, over tail, chunks and whatever came late: integers are added up, and what is asked for is snapped to a grid that
stands still (multiples of the width since 1970, UTC), which the answer states. Buckets of whole hours are added up from
the hours of chunks; shorter ones, and what has no hours, from rows. Copies whose original is here count for nothing,
as in telemetry/query.py, nor does what was sealed again after a damage: of a gateway that had one, rows are read, for
hours do not know. Readings that are no numbers of quality `ok` are counted as `others`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, func, select

from cloud.db.tables import chunk, series, tail
from cloud.telemetry import body
from cloud.telemetry.chunk import (
    BODIES_AT_ONCE,
    OF_CHANNEL,
    Timed,
    Window,
    copies_left_out,
    decode,
    facts,
    is_left_out,
    timed,
    with_body,
)
from cloud.telemetry.column import Ints
from cloud.telemetry.corrections import courses
from cloud.telemetry.doubled import damaged, once
from cloud.telemetry.query import ReadingRow, readings
from cloud.telemetry.rollup import HOUR_MS, Bucket, Rows, Sums, unpack_hours
from wire.course import NOTHING
from wire.observation import MAX_TIME_MS, Quality
from wire.pack import Block

BUCKETS_MAX = 10_000
#: Widths below an hour, each a part of it.
SHORT_MS = tuple(1000 * s for s in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800))
_EVER_MS = 2 * MAX_TIME_MS
_LOOK_BACK_MS = (0, HOUR_MS, 24 * HOUR_MS, 32 * 24 * HOUR_MS, 2 * _EVER_MS)


class Envelope(msgspec.Struct, frozen=True):
    """The readings of a channel in one unit, in [from_ms, to_ms), by buckets of one width; empty ones are left out."""

    unit: str
    from_ms: int
    to_ms: int
    width_ms: int
    buckets: list[Bucket]


_WITHOUT_HOURS = OF_CHANNEL.where(chunk.c.hours.is_(None))
_HOURS = OF_CHANNEL.where(chunk.c.hours.is_not(None)).with_only_columns(series.c.unit, chunk.c.hours)
_BODIES, _BODIES_WITHOUT_HOURS = with_body(OF_CHANNEL), with_body(_WITHOUT_HOURS)
_BOOTS, _BOOTS_WITHOUT_HOURS = (
    query.with_only_columns(chunk.c.boot_id).distinct() for query in (OF_CHANNEL, _WITHOUT_HOURS)
)
_TAILS = (
    select(series.c.unit, tail.c.boot_id, tail.c.pack_id, tail.c.first_ordinal, tail.c.body)
    .join_from(series, tail, tail.c.series_id == series.c.id)
    .where(series.c.gateway == bindparam("gateway"), series.c.channel == bindparam("channel"))
    .where(tail.c.to_ms >= bindparam("begins_ms"), tail.c.from_ms < bindparam("ends_ms"))
)


def grid(from_ms: int, to_ms: int, buckets: int) -> tuple[int, int, int]:
    """Start, end and width of at most buckets + 1 buckets that hold [from_ms, to_ms)."""
    least = -(-(to_ms - from_ms) // buckets)
    width_ms = next((one for one in SHORT_MS if one >= least), -(-least // HOUR_MS) * HOUR_MS)
    return from_ms // width_ms * width_ms, -(-to_ms // width_ms) * width_ms, width_ms


def envelope(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int, *, buckets: int) -> list[Envelope]:
    """What a channel measured in [from_ms, to_ms), in about `buckets` buckets; one for each unit it has had."""
    start, end, width_ms = grid(from_ms, to_ms, buckets)
    asked = Window(gateway, channel, start, end)
    sums: defaultdict[str, Sums] = defaultdict(lambda: Sums(width_ms))
    if damaged(conn, gateway):
        _add_once(conn, asked, sums)
    else:
        by_hour = width_ms % HOUR_MS == 0
        if by_hour:
            _add_hours(conn, asked, sums)
        for part in _parts(conn, asked, without_hours=by_hour):
            sums[part.unit].add_rows(part.one.rows(part.counts))
    found = [Envelope(unit, start, end, width_ms, one.buckets(start, end)) for unit, one in sorted(sums.items())]
    return [one for one in found if one.buckets]


def last(conn: Connection, gateway: str, channel: str) -> ReadingRow | None:
    """The reading with the latest time, as corrected; what claims to be from after its own receipt is passed over."""
    reached = _reached(conn, gateway, channel)
    for back_ms in _LOOK_BACK_MS if reached is not None else ():
        rows = readings(conn, gateway, channel, (reached or 0) - back_ms, _EVER_MS)
        known = [row for row in rows if not row.from_future]
        if known:
            return max(reversed(known), key=lambda row: row.observed_ms)  # of equal ones the last in order
    return None


def _reached(conn: Connection, gateway: str, channel: str) -> int | None:
    """The end of what is stored, as far as its times can be true; None where there is nothing."""
    ends = []
    for table, doubtful in ((tail, tail.c.future), (chunk, chunk.c.stale | (chunk.c.future_count > 0))):
        of_it = select(func.max(table.c.to_ms)).join_from(series, table, table.c.series_id == series.c.id)
        of_it = of_it.where(series.c.gateway == gateway, series.c.channel == channel)
        sure = conn.scalar(of_it.where(~doubtful))
        ends.append((sure is not None, sure if sure is not None else conn.scalar(of_it)))
    known = [one for one in ends if one[1] is not None]
    return max(known)[1] if known else None


class _Part(NamedTuple):
    """Rows of one unit and boot. counts: which of them do; the others are copies whose original is here."""

    unit: str
    boot_id: bytes
    one: Timed
    counts: NDArray[np.bool_]


class _Row(NamedTuple):
    """A row that may have been sealed twice."""

    stream: bytes
    boot_id: bytes
    monotonic_ms: int
    believed_ms: int
    mantissa: int | None
    exponent: int
    unit: str
    quality: int
    observed_ms: int


def _add_hours(conn: Connection, asked: Window, sums: defaultdict[str, Sums]) -> None:
    by_unit: defaultdict[str, list[bytes]] = defaultdict(list)
    for unit, hours in conn.execute(_HOURS, asked._asdict()):
        by_unit[unit].append(hours)
    for unit, stored in by_unit.items():
        sums[unit].add_hours(unpack_hours(stored))


def _parts(conn: Connection, asked: Window, *, without_hours: bool = False) -> Iterator[_Part]:
    """All there is in chunks (or only in those without hours) and in the tail that may lie in the window."""
    yield from _of_chunks(conn, asked, without_hours=without_hours)
    yield from _of_tails(conn, asked)


def _of_chunks(conn: Connection, asked: Window, *, without_hours: bool) -> Iterator[_Part]:
    bodies, boots = (_BODIES_WITHOUT_HOURS, _BOOTS_WITHOUT_HOURS) if without_hours else (_BODIES, _BOOTS)
    keys = {(asked.gateway, boot_id) for boot_id in conn.scalars(boots, asked._asdict())}
    if not keys:
        return
    corrected = courses(conn, keys)
    for row in conn.execute(bodies, asked._asdict(), execution_options={"yield_per": BODIES_AT_ONCE}):
        one = timed(decode(row.body), corrected.get((asked.gateway, row.boot_id), NOTHING))
        gone = copies_left_out(conn, [one.body]) if row.carried else {}
        yield _Part(row.unit, row.boot_id, one, ~is_left_out(one.body, gone))


def _of_tails(conn: Connection, asked: Window) -> Iterator[_Part]:
    groups: defaultdict[tuple[str, bytes], list[tuple[int, int, Block]]] = defaultdict(list)
    for row in conn.execute(_TAILS, asked._asdict()):
        block = msgspec.msgpack.decode(row.body, type=Block)
        groups[row.unit, row.boot_id].append((row.pack_id, row.first_ordinal, block))
    corrected = courses(conn, {(asked.gateway, boot_id) for _, boot_id in groups})
    for (unit, boot_id), blocks in groups.items():
        one = timed(body.gather(blocks), corrected.get((asked.gateway, boot_id), NOTHING))
        yield _Part(unit, boot_id, one, ~is_left_out(one.body, copies_left_out(conn, [one.body])))


def _add_once(conn: Connection, asked: Window, sums: defaultdict[str, Sums]) -> None:
    """Rows of a gateway whose file was damaged, without what it sealed twice.

    Only rows that share their monotonic time with another can be such: all others are added up as ever.
    """
    seen: defaultdict[tuple[str, bytes], list[Ints]] = defaultdict(list)
    for part in _parts(conn, asked):
        seen[part.unit, part.boot_id].append(part.one.body.monotonic_ms[part.counts])
    shared = {of: _repeated(np.concatenate(seen.pop(of))) for of in list(seen)}
    alike: list[_Row] = []
    for part in _parts(conn, asked):
        doubtful = part.counts & np.isin(part.one.body.monotonic_ms, shared[part.unit, part.boot_id])
        sums[part.unit].add_rows(part.one.rows(part.counts & ~doubtful))
        alike += _rows(conn, part, np.flatnonzero(doubtful))
    kept = sorted(once(conn, asked.gateway, alike), key=lambda row: row.unit)
    for unit, rows in groupby(kept, key=lambda row: row.unit):
        sums[unit].add_rows(_summed(list(rows)))


def _summed(rows: list[_Row]) -> Rows:
    numbers = [(row.observed_ms, row.mantissa or 0, row.exponent) for row in rows]
    observed_ms, mantissa, exponent = np.array(numbers, np.int64).T
    ok = [row.mantissa is not None and row.quality == Quality.OK for row in rows]
    return Rows(observed_ms, mantissa, exponent, np.array(ok, np.bool_))


def _repeated(values: Ints) -> Ints:
    values = np.sort(values)
    return np.unique(values[1:][values[1:] == values[:-1]])


def _rows(conn: Connection, part: _Part, picked: Ints) -> Iterator[_Row]:
    one, block_of_row = part.one.body, part.one.body.block_of_row
    packs = facts(conn, set(one.pack_id[np.unique(block_of_row[picked])].tolist()))
    for at in picked.tolist():
        block = block_of_row[at]
        yield _Row(
            stream=packs[int(one.pack_id[block])].stream,
            boot_id=part.boot_id,
            monotonic_ms=int(one.monotonic_ms[at]),
            believed_ms=int(one.believed_ms[at]),
            mantissa=None if one.missing[at] else int(one.mantissa[at]),
            exponent=int(one.exponent[block]),
            unit=part.unit,
            quality=int(one.quality[at]),
            observed_ms=int(part.one.observed_ms[at]),
        )
