"""Readings by series and time, exactly as they were measured.

Equal times are kept: the order is (observed, boot, monotonic, stream, seq, ordinal), which does not depend on when
a pack arrived. A copy whose original is here counts for nothing (telemetry/declared.py). Windows are [from_ms, to_ms).
A channel without readings gives an empty list, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, func, select

from cloud.db.tables import pack, series, tail
from cloud.telemetry.declared import is_among, left_out
from cloud.telemetry.record import wall_times
from wire.observation import ClockState, Quality
from wire.pack import Block, Run


class ReadingRow(msgspec.Struct, frozen=True, gc=False):
    """One stored reading. mantissa × 10^exponent in `unit` (Rec 20); None where there was no number.

    (pack_id, ordinal) leads to the signed bytes it came in.
    """

    observed_ms: int
    mantissa: int | None
    exponent: int
    unit: str
    quality: Quality
    clock: ClockState
    boot_id: bytes
    monotonic_ms: int
    thinned: bool
    pack_id: int
    stream: bytes
    seq: int
    ordinal: int

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
    copies = left_out(conn, query.with_only_columns(pack.c.id))
    found = [
        reading
        for row in conn.execute(query)
        for reading in _expand(row)
        if from_ms <= reading.observed_ms < to_ms and not is_among(reading.ordinal, copies.get(row.id))
    ]
    found.sort(key=_order)
    return found


def list_series(conn: Connection) -> list[SeriesSpan]:
    """Every series that has readings, by gateway, channel and unit."""
    query = (
        select(
            series.c.gateway,
            series.c.channel,
            series.c.unit,
            func.sum(tail.c.count).label("readings"),
            func.min(tail.c.from_ms).label("first_ms"),
            func.max(tail.c.to_ms).label("last_ms"),
        )
        .join_from(series, tail, tail.c.series_id == series.c.id)
        .group_by(series.c.id)
        .order_by(series.c.gateway, series.c.channel, series.c.unit)
    )
    return [
        SeriesSpan(row.gateway, row.channel, row.unit, row.readings, row.first_ms, row.last_ms)
        for row in conn.execute(query)
    ]


def _tails(gateway: str, channel: str) -> Select[Any]:
    return (
        select(tail.c.first_ordinal, tail.c.body, tail.c.to_ms, pack.c.id, pack.c.stream, pack.c.seq)
        .join_from(series, tail, tail.c.series_id == series.c.id)
        .join(pack, pack.c.id == tail.c.pack_id)
        .where(series.c.gateway == gateway, series.c.channel == channel)
    )


def _expand(row: Row[Any]) -> Iterator[ReadingRow]:
    block = msgspec.msgpack.decode(row.body, type=Block)
    qualities = chain(_unrun(block.quality), repeat(0))
    clocks = chain(_unrun(block.clock), repeat(0))
    monotonic = block.base_monotonic_ms
    columns = zip(wall_times(block), block.dt_ms, block.values, strict=True)
    for ordinal, (observed, step, mantissa) in enumerate(columns, start=row.first_ordinal):
        monotonic += step
        yield ReadingRow(
            observed_ms=observed,
            mantissa=mantissa,
            exponent=block.exponent,
            unit=block.unit,
            quality=_QUALITIES[next(qualities)],
            clock=_CLOCKS[next(clocks)],
            boot_id=block.boot_id,
            monotonic_ms=monotonic,
            thinned=block.thinned,
            pack_id=row.id,
            stream=row.stream,
            seq=row.seq,
            ordinal=ordinal,
        )


_QUALITIES = tuple(Quality)
_CLOCKS = tuple(ClockState)


def _unrun(runs: list[Run]) -> Iterator[int]:
    return (code for length, code in runs for _ in range(length))


def _order(reading: ReadingRow) -> tuple[int, bytes, int, bytes, int, int]:
    return (
        reading.observed_ms,
        reading.boot_id,
        reading.monotonic_ms,
        reading.stream,
        reading.seq,
        reading.ordinal,
    )
