"""Folding: rows of the tail become part of a chunk, in one short transaction, or nothing happens.

Reading and encoding happen under a read snapshot, while ingest goes on. The write transaction then holds what it found
against what was read: the same rows of the tail, the same body, the same corrections. If anything has changed, it is
left alone, and the next round reads anew. So a reading is in the tail or in a chunk at any moment, in each snapshot and
after a kill, and several processes may fold beside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, bindparam, select

from cloud.db.bulk import delete_ranges, put_rows
from cloud.db.engine import reading, writing
from cloud.db.tables import chunk, chunk_body, series, tail
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.body import ROWS_MAX
from cloud.telemetry.boots import BootKey
from cloud.telemetry.chunk import ChunkKey, describe, hours_of, received_of, timed, with_body
from cloud.telemetry.corrections import FUTURE_MS, courses
from cloud.telemetry.waiting import Place, TailRow, rows_of, together
from wire.course import NOTHING, Course
from wire.observation import INT64_MAX
from wire.pack import Block

#: Rows of the tail and chunks in one transaction: so the write lock is held for about 50 ms, whatever waits.
FOLD_MAX = 10_000
CHUNKS_MAX = 60

_NEVER_MS = INT64_MAX - FUTURE_MS  # nothing is from the future of a pack received then

_decode = msgspec.msgpack.Decoder(list[Block]).decode
_ARRAY_32 = b"\xdd"  # MessagePack: so many elements follow; each row of the tail is one


class _Source(NamedTuple):
    """What a chunk is made from: the corrections of its boot, rows of the tail, and its own row with the body."""

    key: ChunkKey
    boot: BootKey
    course: Course
    rows: Sequence[TailRow]
    known: Any | None


class _Prepared(msgspec.Struct, frozen=True):
    """A chunk as it will be, and what it was made from."""

    key: ChunkKey
    boot: BootKey
    rows: list[Place]
    body_before: bytes | None
    stretches: list[Any]
    body: bytes
    columns: dict[str, object]


class _Changed(Exception):
    """What was read is not true any more: rolls the transaction back, and nobody hears of it."""


def fold(engine: Engine, keys: Iterable[ChunkKey]) -> tuple[int, list[ChunkKey]]:
    """Fold what the tail has of some of these chunks, and bring those up to their corrections.

    Returns how many rows were folded, with 1 for a chunk that was only brought up to date; and the keys that are still
    to be done. None are folded, and one key is dropped, where somebody else was at them meanwhile. Raises
    DatabaseUnavailable, BodyDamaged.
    """
    ordered = sorted(keys, key=together)  # chunks of one boot and day have their rows side by side in the tail
    prepared: list[_Prepared] = []
    left, room = ordered, FOLD_MAX
    with reading(engine) as conn:
        while left and room > 0 and len(prepared) < CHUNKS_MAX:
            some = [key for key in left[: CHUNKS_MAX - len(prepared)] if key[1:] == left[0][1:]]
            found, unfinished = _prepare(conn, some, room)
            prepared += found
            left = unfinished + left[len(some) :]
            room -= sum(len(one.rows) for one in found)
            if unfinished:  # their rows are in this snapshot still: none may be taken twice
                break
    if not prepared:
        return 0, left
    try:
        with writing(engine) as conn:
            _store(conn, prepared)
    except _Changed:
        return 0, ordered[1:]
    return sum(max(len(one.rows), 1) for one in prepared), left


def _of_series(table: Table) -> ColumnElement[bool]:
    """Chunks of one boot and day."""
    c = table.c
    return and_(
        c.series_id.in_(bindparam("series_ids", expanding=True)),
        c.boot_id == bindparam("boot_id"),
        c.day == bindparam("day"),
        c.carried == bindparam("carried"),
    )


_KNOWN = with_body(select(chunk.c.series_id, chunk.c.stale, chunk.c.future_count)).where(_of_series(chunk))
_BODIES = select(chunk_body.c.series_id, chunk_body.c.body).where(_of_series(chunk_body))
_TOLD = [column.name for column in chunk.c if column.name not in ChunkKey._fields]
_GATEWAYS = select(series.c.id, series.c.gateway).where(series.c.id.in_(bindparam("series_ids", expanding=True)))


def _named(keys: Sequence[ChunkKey]) -> dict[str, Any]:
    """Values for `_of_series`. keys: of one boot and day, one at least."""
    _, boot_id, day, copies = keys[0]
    return {"series_ids": [key.series_id for key in keys], "boot_id": boot_id, "day": day, "carried": copies}


def _prepare(conn: Connection, keys: Sequence[ChunkKey], room: int) -> tuple[list[_Prepared], list[ChunkKey]]:
    """Chunks of one boot and day as they will be, from at most `room` rows; and those that may have more of them."""
    names = _named(keys)
    rows, more = rows_of(conn, keys, room)
    known = {row.series_id: row for row in conn.execute(_KNOWN, names)}
    gateways = {row.id: row.gateway for row in conn.execute(_GATEWAYS, names)}
    holding = courses(conn, {(gateway, keys[0].boot_id) for gateway in gateways.values()})
    prepared, unfinished = [], []
    for key in keys:
        of = key.series_id
        boot = gateways[of], key.boot_id
        one = _made(conn, _Source(key, boot, holding.get(boot, NOTHING), rows[of], known.get(of)))
        if one is not None:
            prepared.append(one)
        if of in more and (one is not None or not rows[of]):  # not one whose rows are to stay
            unfinished.append(key)
    return prepared, unfinished


def _made(conn: Connection, source: _Source) -> _Prepared | None:
    """A chunk as it will be; None where nothing changes."""
    key, boot, course, rows, known = source
    if not rows and (known is None or not known.stale):
        return None
    whole = None if known is None else chunk_bodies.decode(known.body)
    if sum([count for _, _, count, _, _ in rows]) + (0 if whole is None else len(whole.mantissa)) > ROWS_MAX:
        if known is None or not known.stale:
            return None
        rows = []  # they stay in the tail, and are found there
    if rows:
        blocks = _decode(_ARRAY_32 + len(rows).to_bytes(4) + b"".join([body for *_, body in rows]))
        added = chunk_bodies.gather([(row[0], row[1], block) for row, block in zip(rows, blocks, strict=True)])
        whole = added if whole is None else chunk_bodies.join(whole, added)
    assert whole is not None
    now = timed(whole, course)
    is_doubtful = any(future for *_, future, _ in rows) or (known is not None and (known.stale or known.future_count))
    received_ms = received_of(conn, whole) if is_doubtful else np.full(len(whole.count), _NEVER_MS)
    return _Prepared(
        key=key,
        boot=boot,
        rows=[row[:3] for row in rows],
        body_before=None if known is None else known.body,
        stretches=course.stretches,
        body=chunk_bodies.encode(whole) if rows or known is None else known.body,
        columns=describe(now, received_ms) | {"hours": hours_of(now, of_copies=key.carried)},
    )


def _store(conn: Connection, prepared: Sequence[_Prepared]) -> None:
    """Raises _Changed."""
    holding = courses(conn, {one.boot for one in prepared})
    if any(holding.get(one.boot, NOTHING).stretches != one.stretches for one in prepared):
        raise _Changed
    for _, group in groupby(prepared, key=lambda one: one.key[1:]):
        some = list(group)
        before = {row.series_id: row.body for row in conn.execute(_BODIES, _named([one.key for one in some]))}
        if any(before.get(one.key.series_id) != one.body_before for one in some):
            raise _Changed
    rows = sorted(name for one in prepared for name in one.rows)
    if delete_ranges(conn, tail.c.pack_id, tail.c.first_ordinal, _runs(rows)) != len(rows):
        raise _Changed
    put_rows(conn, chunk, [(*one.key, *(one.columns[name] for name in _TOLD)) for one in prepared])
    changed = [one for one in prepared if one.body != one.body_before]
    put_rows(conn, chunk_body, [(*one.key, one.body) for one in changed])


def _runs(rows: Iterable[Place]) -> list[tuple[int, int, int]]:
    """Rows that follow each other in their pack, as its id, the ordinal of the first row and that of the last."""
    runs: list[tuple[int, int, int]] = []
    follows: tuple[int, int] | None = None
    for pack_id, ordinal, count in rows:
        if follows == (pack_id, ordinal):
            runs[-1] = (*runs[-1][:2], ordinal)
        else:
            runs.append((pack_id, ordinal, ordinal))
        follows = pack_id, ordinal + count
    return runs
