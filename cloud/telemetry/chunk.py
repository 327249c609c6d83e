"""Chunks as they are stored, and read: bodies with the times that hold now.

Invariant: which chunk a block belongs to follows from its pack alone (series, boot, day of the boot's monotonic time,
and whether the pack carries rows over), so neither corrections nor late packs move what is folded. Only what is said
*about* a chunk follows corrections: its span, its hours, what of it is from the future. A correction makes all that
stale in one statement (telemetry/corrections.py); bodies are always read with the corrections that count now, so that
an answer never waits for the compactor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, select

from cloud.db.tables import carried, chunk, chunk_body, pack, series
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.body import Body
from cloud.telemetry.column import Ints
from cloud.telemetry.corrections import FUTURE_MS, courses
from cloud.telemetry.declared import OrdinalRange, left_out
from cloud.telemetry.rollup import Rows, pack_hours
from wire.course import NOTHING, Course
from wire.observation import Quality

DAY_MS = 86_400_000
BODIES_AT_ONCE = 50  # in memory
_AT_ONCE = 500  # ids in one query


class ChunkKey(NamedTuple):
    """Which blocks a chunk holds."""

    series_id: int
    boot_id: bytes
    day: int
    carried: bool

    def where(self, table: Any) -> ColumnElement[bool]:
        """The row of this chunk in `chunk` or `chunk_body`."""
        c = table.c
        return and_(
            c.series_id == self.series_id,
            c.boot_id == self.boot_id,
            c.day == self.day,
            c.carried == self.carried,
        )


class PackFacts(NamedTuple):
    """What readings take from the row of their pack."""

    received_ms: int
    stream: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Timed:
    """A body with the corrected times of its rows. ends: where each block ends among the rows."""

    body: Body
    observed_ms: Ints

    @property
    def begins(self) -> Ints:
        """Where each block begins among the rows."""
        return np.cumsum(self.body.count) - self.body.count

    def rows(self, kept: NDArray[np.bool_] | None = None) -> Rows:
        """What enters sums: all rows, or those that are kept."""
        body = self.body
        exponent = np.repeat(body.exponent, body.count)
        ok = (body.quality == int(Quality.OK)) & (body.missing == 0)
        if kept is None or kept.all():
            return Rows(self.observed_ms, body.mantissa, exponent, ok)
        return Rows(self.observed_ms[kept], body.mantissa[kept], exponent[kept], ok[kept])


def timed(body: Body, course: Course) -> Timed:
    """A body with the times that hold by the corrections of its boot."""
    if not course.stretches:
        return Timed(body, body.believed_ms)
    begins, ends, offsets = np.array(
        [(one.from_monotonic_ms, one.to_monotonic_ms, one.correction.offset_ms) for one in course.stretches],
        np.int64,
    ).T
    at = np.searchsorted(begins, body.monotonic_ms, side="right") - 1
    holds = (at >= 0) & (ends[at] >= body.monotonic_ms)
    return Timed(body, body.believed_ms + np.where(holds, offsets[at], 0))


def describe(one: Timed, received_ms: Ints) -> dict[str, Any]:
    """The columns of `chunk` that say what it holds. received_ms: of the pack of each block."""
    body, begins = one.body, one.begins
    block_from, block_to = np.minimum.reduceat(one.observed_ms, begins), np.maximum.reduceat(one.observed_ms, begins)
    future = block_to > received_ms + FUTURE_MS
    is_future = bool(future.any())
    return {
        "count": len(one.observed_ms),
        "from_ms": int(block_from.min()),
        "to_ms": int(block_to.max()),
        "believed_from_ms": int(body.believed_ms.min()),
        "believed_to_ms": int(body.believed_ms.max()),
        "from_monotonic_ms": int(body.monotonic_ms.min()),
        "to_monotonic_ms": int(body.monotonic_ms.max()),
        "future_count": int(body.count[future].sum()),
        "future_from_ms": int(block_from[future].min()) if is_future else None,
        "future_to_ms": int(block_to[future].max()) if is_future else None,
        "stale": False,
    }


def hours_of(one: Timed, *, of_copies: bool) -> bytes | None:
    """The hours of a chunk. of_copies: its readings may stop counting, so it has none."""
    return None if of_copies else pack_hours(one.rows())


def with_body(query: Select[Any]) -> Select[Any]:
    """A query of `chunk` with the bodies."""
    same = and_(*(chunk_body.c[name] == chunk.c[name] for name in ChunkKey._fields))
    return query.add_columns(chunk_body.c.body).join(chunk_body, same)


#: The chunks of a channel that may have readings in a window; built once, because that costs more than running it.
OF_CHANNEL: Select[Any] = (
    select(*chunk.c, series.c.unit)
    .join_from(series, chunk, chunk.c.series_id == series.c.id)
    .where(series.c.gateway == bindparam("gateway"), series.c.channel == bindparam("channel"))
    .where(chunk.c.to_ms >= bindparam("begins_ms"), chunk.c.from_ms < bindparam("ends_ms"))
)


class Window(NamedTuple):
    """[begins_ms, ends_ms) of a channel: what OF_CHANNEL is given."""

    gateway: str
    channel: str
    begins_ms: int
    ends_ms: int


def key_of(row: Any) -> ChunkKey:
    """The chunk of a row with its key."""
    return ChunkKey(row.series_id, row.boot_id, row.day, bool(row.carried))


def decode(data: bytes) -> Body:
    """The body of a chunk. Raises BodyDamaged."""
    return chunk_bodies.decode(data)


def copies_left_out(conn: Connection, of_copies: Iterable[Body]) -> dict[int, list[OrdinalRange]]:
    """Per pack the ordinals in these bodies that count for nothing (telemetry/declared.py)."""
    found: dict[int, list[OrdinalRange]] = {}
    for some in _some({pack_id for body in of_copies for pack_id in body.pack_id.tolist()}):
        found |= left_out(conn, select(pack.c.id).where(pack.c.id.in_(some)))
    return found


def is_left_out(body: Body, without: dict[int, list[OrdinalRange]]) -> NDArray[np.bool_]:
    """Which rows count for nothing."""
    gone = np.zeros(len(body.monotonic_ms), np.bool_)
    ends = np.cumsum(body.count).tolist()
    columns = (body.pack_id.tolist(), body.first_ordinal.tolist(), body.count.tolist(), ends)
    for pack_id, ordinal, count, end_at in zip(*columns, strict=True) if without else ():
        for first, end in without.get(pack_id, ()):
            begins_at = end_at - count - ordinal  # where ordinal 0 would stand
            gone[begins_at + max(first, ordinal) : max(begins_at + min(end, ordinal + count), 0)] = True
    return gone


def facts(conn: Connection, pack_ids: Iterable[int]) -> dict[int, PackFacts]:
    """What readings take from the rows of their packs."""
    found: dict[int, PackFacts] = {}
    columns = select(pack.c.id, pack.c.received_ms, pack.c.stream, pack.c.seq)
    for some in _some(pack_ids):
        for id_, received_ms, stream, seq in conn.execute(columns.where(pack.c.id.in_(some))):
            found[id_] = PackFacts(received_ms, stream, seq)
    return found


def received_of(conn: Connection, body: Body) -> Ints:
    """When the pack of each block was received."""
    known = facts(conn, set(body.pack_id.tolist()))
    return np.array([known[of].received_ms for of in body.pack_id.tolist()], np.int64)


def stale_bodies(conn: Connection) -> Iterator[tuple[int, Timed]]:
    """Stale chunks with the times that hold now, each with the id of its series: a few in memory at a time."""
    of_series = select(chunk.c.series_id, chunk.c.boot_id, series.c.gateway)
    query = of_series.join_from(chunk, series, series.c.id == chunk.c.series_id).where(chunk.c.stale)
    boots = {(row.gateway, row.boot_id) for row in conn.execute(query.distinct())}
    corrected = courses(conn, boots) if boots else {}
    for row in conn.execute(with_body(query), execution_options={"yield_per": BODIES_AT_ONCE}) if boots else ():
        yield row.series_id, timed(decode(row.body), corrected.get((row.gateway, row.boot_id), NOTHING))


def carries(pack_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a pack carries rows of others over."""
    return exists().where(carried.c.pack_id == pack_id)


def _some(ids: Iterable[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(ids)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]
