"""Readings by series and time, exactly as they were measured.

A reading's time is its corrected one: believed plus the correction that counts for it. Within a boot the order is
monotonic order, whatever the wall clock did; boots are merged by time, so that the whole is in order of time wherever a
boot's clock never stepped back uncorrected. Equal times are kept; nothing depends on when a pack arrived. A copy whose
original is here counts for nothing (telemetry/declared.py), nor does what was sealed again after a damage
(telemetry/doubled.py). Windows are [from_ms, to_ms). A channel without readings
gives an empty list, not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Row, Select, func, literal_column, select

from cloud.db.tables import chunk, pack, series, tail
from cloud.telemetry.chunk import (
    OF_CHANNEL,
    PackFacts,
    Timed,
    Window,
    copies_left_out,
    decode,
    describe,
    facts,
    is_left_out,
    received_of,
    stale_bodies,
    timed,
    with_body,
)
from cloud.telemetry.column import Ints
from cloud.telemetry.corrections import FUTURE_MS, courses
from cloud.telemetry.declared import is_among, left_out
from cloud.telemetry.doubled import once
from cloud.telemetry.wall import wall_times
from wire.course import NOTHING, Course, TimeCorrection
from wire.observation import ClockState, Quality
from wire.pack import Block, Run

LATE_MS = 900_000  # a gateway that is connected delivers within seconds, one that seals offline within minutes


class ReadingRow(msgspec.Struct, frozen=True, gc=False):
    """One stored reading. mantissa × 10^exponent in `unit` (Rec 20); None where there was no number.

    observed_ms = believed_ms + correction.offset_ms; correction is None where nobody corrected the gateway's clock.
    (pack_id, ordinal) leads to the signed bytes it came in.
    """

    observed_ms: int
    believed_ms: int
    correction: TimeCorrection | None
    mantissa: int | None
    exponent: int
    unit: str
    quality: Quality
    clock: ClockState
    boot_id: bytes
    monotonic_ms: int
    thinned: bool
    received_ms: int
    pack_id: int
    stream: bytes
    seq: int
    ordinal: int

    @property
    def time_unset(self) -> bool:
        """Whether nobody ever set the clock that gave this time."""
        return self.clock is ClockState.UNSYNCED and self.correction is None

    @property
    def from_future(self) -> bool:
        """Whether it claims to be from after its own receipt: its time is wrong, and nobody knows by how much."""
        return self.observed_ms > self.received_ms + FUTURE_MS

    @property
    def late(self) -> bool:
        """Whether it was received more than LATE_MS after it was observed."""
        return self.received_ms > self.observed_ms + LATE_MS

    @property
    def value(self) -> Decimal | None:
        """The number, exactly."""
        return None if self.mantissa is None else Decimal(self.mantissa).scaleb(self.exponent)

    @property
    def value_float(self) -> float | None:
        """The number as the float nearest to it; division of integers rounds once, correctly."""
        if self.mantissa is None:
            return None
        scale: int = 10 ** abs(self.exponent)
        return self.mantissa / scale if self.exponent < 0 else float(self.mantissa * scale)


class SeriesSpan(msgspec.Struct, frozen=True):
    """A series, how many readings it has, and when the first and the last were observed."""

    gateway: str
    channel: str
    unit: str
    count: int
    first_ms: int
    last_ms: int


def readings(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[ReadingRow]:
    """The readings of a channel in [from_ms, to_ms), in order; of all its units and qualities."""
    query = _tails(gateway, channel).where(tail.c.to_ms >= from_ms, tail.c.from_ms < to_ms)
    rows = conn.execute(query).all()
    corrected = courses(conn, {(gateway, row.boot_id) for row in rows})
    copies = left_out(conn, query.with_only_columns(pack.c.id))
    found = [
        reading
        for row in rows
        for reading in _expand(row, corrected.get((gateway, row.boot_id), NOTHING))
        if from_ms <= reading.observed_ms < to_ms and not is_among(reading.ordinal, copies.get(row.id))
    ]
    return _ordered(once(conn, gateway, found + _folded(conn, gateway, channel, from_ms, to_ms)))


def stored(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int) -> int:
    """How many readings those blocks and chunks hold that lie in [from_ms, to_ms) as a whole, unread; copies count."""
    found = 0
    for table in (tail, chunk):
        query = select(func.sum(table.c.count)).join_from(series, table, table.c.series_id == series.c.id)
        query = query.where(series.c.gateway == gateway, series.c.channel == channel)
        found += int(conn.scalar(query.where(table.c.from_ms >= from_ms, table.c.to_ms < to_ms)) or 0)
    return found


def count(conn: Connection) -> int:
    """How many readings are stored, in tail and chunks; copies count."""
    return sum(int(conn.scalar(select(func.coalesce(func.sum(table.c.count), 0))) or 0) for table in (tail, chunk))


def future_series(conn: Connection, limit: int = 100) -> list[SeriesSpan]:
    """Series with readings from the future: how many readings their blocks hold, and the span of those blocks."""
    parts = _parts(
        conn,
        select(*_OF_TAILS).where(tail.c.future).group_by(tail.c.series_id),
        select(
            chunk.c.series_id,
            func.sum(chunk.c.future_count),
            func.min(chunk.c.future_from_ms),
            func.max(chunk.c.future_to_ms),
        )
        .where(chunk.c.future_count > literal_column("0"), ~chunk.c.stale)  # with a 0 of its own, or no index serves it
        .group_by(chunk.c.series_id),
    )
    return _spans(conn, [*parts, *_stale_from_future(conn)])[:limit]


def list_series(conn: Connection) -> list[SeriesSpan]:
    """Every series that has readings, by gateway, channel and unit."""
    parts = _parts(
        conn,
        select(*_OF_TAILS).group_by(tail.c.series_id),
        select(chunk.c.series_id, func.sum(chunk.c.count), func.min(chunk.c.from_ms), func.max(chunk.c.to_ms))
        .where(~chunk.c.stale)
        .group_by(chunk.c.series_id),
    )
    stale = (
        (id_, len(one.observed_ms), int(one.observed_ms.min()), int(one.observed_ms.max()))
        for id_, one in stale_bodies(conn)
    )
    return _spans(conn, [*parts, *stale])


_OF_TAILS = tail.c.series_id, func.sum(tail.c.count), func.min(tail.c.from_ms), func.max(tail.c.to_ms)
_Part = tuple[int, int, int, int]  # id of a series, readings, first and last time


def _parts(conn: Connection, *queries: Select[Any]) -> list[_Part]:
    return [(row[0], int(row[1]), row[2], row[3]) for query in queries for row in conn.execute(query)]


def _stale_from_future(conn: Connection) -> Iterator[_Part]:
    for id_, one in stale_bodies(conn):
        told = describe(one, received_of(conn, one.body))
        if told["future_count"]:
            yield id_, told["future_count"], told["future_from_ms"], told["future_to_ms"]


def _spans(conn: Connection, parts: Iterable[_Part]) -> list[SeriesSpan]:
    """Parts of the same series in one, by gateway, channel and unit."""
    found: dict[int, _Part] = {}
    for id_, count_, from_ms, to_ms in parts:
        _, known, first_ms, last_ms = found.get(id_, (id_, 0, from_ms, to_ms))
        found[id_] = id_, known + count_, min(first_ms, from_ms), max(last_ms, to_ms)
    named = conn.execute(select(series).order_by(series.c.gateway, series.c.channel, series.c.unit))
    return [SeriesSpan(row.gateway, row.channel, row.unit, *found[row.id][1:]) for row in named if row.id in found]


def _tails(gateway: str, channel: str) -> Select[Any]:
    return (
        select(
            tail.c.first_ordinal,
            tail.c.body,
            tail.c.boot_id,
            tail.c.from_monotonic_ms,
            tail.c.to_monotonic_ms,
            pack.c.id,
            pack.c.stream,
            pack.c.seq,
            pack.c.received_ms,
        )
        .join_from(series, tail, tail.c.series_id == series.c.id)
        .join(pack, pack.c.id == tail.c.pack_id)
        .where(series.c.gateway == gateway, series.c.channel == channel)
    )


_CHUNKS = with_body(OF_CHANNEL)


def _folded(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[ReadingRow]:
    """Those of them that stand in chunks."""
    window = Window(gateway, channel, from_ms, to_ms)
    rows = conn.execute(_CHUNKS, window._asdict()).all()
    corrected = courses(conn, {(gateway, row.boot_id) for row in rows})
    found, packs, copies = [], set[int](), []
    for row in rows:
        course = corrected.get((gateway, row.boot_id), NOTHING)
        one = timed(decode(row.body), course)
        picked = np.flatnonzero((one.observed_ms >= from_ms) & (one.observed_ms < to_ms))
        if not len(picked):
            continue
        found.append((row, course, one, picked))
        packs.update(one.body.pack_id[np.unique(one.body.block_of_row[picked])].tolist())
        if row.carried:
            copies.append(one.body)
    known, without = facts(conn, packs), copies_left_out(conn, copies)
    return [
        reading
        for row, course, one, picked in found
        for reading in _rows(row, course, one, picked[~is_left_out(one.body, without)[picked]], known)
    ]


def _rows(
    row: Row[Any], course: Course, one: Timed, picked: Ints, known: Mapping[int, PackFacts]
) -> Iterator[ReadingRow]:
    """The picked rows of a chunk."""
    body = one.body
    of_block = body.block_of_row[picked]
    columns = (
        one.observed_ms[picked],
        body.believed_ms[picked],
        body.monotonic_ms[picked],
        body.mantissa[picked],
        body.missing[picked],
        body.quality[picked],
        body.clock[picked],
        body.ordinal[picked],
        body.pack_id[of_block],
        body.exponent[of_block],
        body.thinned[of_block],
    )
    first = course.at(row.from_monotonic_ms)
    everywhere = course.whole(row.from_monotonic_ms, row.to_monotonic_ms)
    for observed, believed, monotonic, mantissa, missing, quality, clock, ordinal, pack_id, exponent, thinned in zip(
        *(values.tolist() for values in columns), strict=True
    ):
        of_pack = known[pack_id]
        yield ReadingRow(
            observed_ms=observed,
            believed_ms=believed,
            correction=first if everywhere else course.at(monotonic),
            mantissa=None if missing else mantissa,
            exponent=exponent,
            unit=row.unit,
            quality=_QUALITIES[quality],
            clock=_CLOCKS[clock],
            boot_id=row.boot_id,
            monotonic_ms=monotonic,
            thinned=bool(thinned),
            received_ms=of_pack.received_ms,
            pack_id=pack_id,
            stream=of_pack.stream,
            seq=of_pack.seq,
            ordinal=ordinal,
        )


def _expand(row: Row[Any], course: Course) -> Iterator[ReadingRow]:
    first = course.at(row.from_monotonic_ms)
    everywhere = course.whole(row.from_monotonic_ms, row.to_monotonic_ms)
    block = msgspec.msgpack.decode(row.body, type=Block)
    qualities = chain(_unrun(block.quality), repeat(0))
    clocks = chain(_unrun(block.clock), repeat(0))
    monotonic = block.base_monotonic_ms
    exponent, unit, boot_id, thinned = block.exponent, block.unit, block.boot_id, block.thinned
    received_ms, pack_id, stream, seq = row.received_ms, row.id, row.stream, row.seq
    columns = zip(wall_times(block), block.dt_ms, block.values, strict=True)
    for ordinal, (believed, step, mantissa) in enumerate(columns, start=row.first_ordinal):
        monotonic += step
        holds = first if everywhere else course.at(monotonic)
        yield ReadingRow(  # by place, for millions of them: the order of its fields
            believed if holds is None else believed + holds.offset_ms,
            believed,
            holds,
            mantissa,
            exponent,
            unit,
            _QUALITIES[next(qualities)],
            _CLOCKS[next(clocks)],
            boot_id,
            monotonic,
            thinned,
            received_ms,
            pack_id,
            stream,
            seq,
            ordinal,
        )


_QUALITIES = tuple(Quality)
_CLOCKS = tuple(ClockState)


def _unrun(runs: list[Run]) -> Iterator[int]:
    return (code for length, code in runs for _ in range(length))


def _ordered(found: list[ReadingRow]) -> list[ReadingRow]:
    """Within a boot by monotonic time; a reading whose clock had stepped back stands behind those it came after."""
    if _is_in_order(found):
        return found
    found.sort(key=_in_boot)
    reached: dict[bytes, int] = {}
    keys = []
    for reading in found:
        stands_ms = max(reading.observed_ms, reached.get(reading.boot_id, reading.observed_ms))
        reached[reading.boot_id] = stands_ms
        keys.append(stands_ms)
    in_order = sorted(range(len(found)), key=keys.__getitem__)  # stable, so monotonic order stays
    return [found[at] for at in in_order]


def _is_in_order(found: list[ReadingRow]) -> bool:
    """Whether they are of one boot and both its clocks only went forward, as nearly always: then nothing moves."""
    boot_id = found[0].boot_id if found else b""
    monotonic_ms, observed_ms = -1, -1
    for reading in found:
        if reading.boot_id != boot_id or reading.monotonic_ms <= monotonic_ms or reading.observed_ms < observed_ms:
            return False
        monotonic_ms, observed_ms = reading.monotonic_ms, reading.observed_ms
    return True


def _in_boot(reading: ReadingRow) -> tuple[bytes, int, bytes, int, int]:
    return reading.boot_id, reading.monotonic_ms, reading.stream, reading.seq, reading.ordinal
