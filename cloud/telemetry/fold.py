"""Folding: rows of the tail become part of a chunk, in one short transaction, or nothing happens.

Reading and encoding happen under a read snapshot, while ingest goes on. The write transaction then holds what it found
against what was read: the same rows of the tail, the same body, the same corrections. If anything has changed, it is
left alone, and the next round reads anew. So a reading is in the tail or in a chunk at any moment, in each snapshot and
after a kill, and several processes may fold beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, func, insert, select, update

from cloud.db.bulk import delete_rows
from cloud.db.engine import reading, writing
from cloud.db.tables import chunk, chunk_body, pack, series, tail
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.body import ROWS_MAX, Body
from cloud.telemetry.chunk import DAY_MS, ChunkKey, carries, describe, facts, hours_of, timed, with_body
from cloud.telemetry.column import Ints
from cloud.telemetry.corrections import FUTURE_MS, courses
from wire.course import NOTHING, Course
from wire.observation import INT64_MAX
from wire.pack import Block

#: Rows of the tail in one transaction, and how many of them a chunk costs as much time as (its body is read, its
#: corrections, it is written): so the write lock is held for about 20 ms, whatever waits to be folded.
FOLD_MAX = 2_000
ROWS_PER_CHUNK = 50

_decode = msgspec.msgpack.Decoder(Block).decode

TailName = tuple[int, int]  # pack id, first ordinal


class _Prepared(msgspec.Struct, frozen=True):
    """A chunk as it will be, and what it was made from."""

    key: ChunkKey
    gateway: str
    rows: list[TailName]
    body_before: bytes | None
    stretches: list[Any]
    body: bytes
    columns: dict[str, object]


class _Changed(Exception):
    """What was read is not true any more: rolls the transaction back, and nobody hears of it."""


def fold(engine: Engine, keys: Sequence[ChunkKey]) -> tuple[int, list[ChunkKey]]:
    """Fold what the tail has of the first of these chunks, and bring those up to their corrections.

    Returns how many rows were folded, with 1 for a chunk that was only brought up to date; and the keys that are still
    to be done. None are folded, and one key is dropped, where somebody else was at them meanwhile. Raises
    DatabaseUnavailable, BodyDamaged.
    """
    prepared: list[_Prepared] = []
    left, room = list(keys), FOLD_MAX
    with reading(engine) as conn:
        while left and room > 0:
            one = _prepare(conn, left[0], room)
            if one is None:
                left.pop(0)
                continue
            prepared.append(one)
            if len(one.rows) < room:  # else the tail may have more of it
                left.pop(0)
            room -= len(one.rows) + ROWS_PER_CHUNK
    if not prepared:
        return 0, left
    try:
        with writing(engine) as conn:
            for one in prepared:
                _store(conn, one)
    except _Changed:
        return 0, list(keys[1:])
    return sum(max(len(one.rows), 1) for one in prepared), left


def in_tail(key: ChunkKey) -> ColumnElement[bool]:
    """The rows of the tail that belong to a chunk."""
    begins = key.day * DAY_MS
    copies = carries(tail.c.pack_id)
    return (
        (tail.c.series_id == key.series_id)
        & (tail.c.boot_id == key.boot_id)
        & tail.c.from_monotonic_ms.between(begins, begins + DAY_MS - 1)
        & (copies if key.carried else ~copies)
    )


def _prepare(conn: Connection, key: ChunkKey, room: int) -> _Prepared | None:
    columns = tail.c.pack_id, tail.c.first_ordinal, tail.c.count, tail.c.body, pack.c.received_ms
    query = select(*columns).join_from(tail, pack, pack.c.id == tail.c.pack_id).where(in_tail(key))
    query = query.order_by(tail.c.from_monotonic_ms, tail.c.pack_id, tail.c.first_ordinal)
    rows = conn.execute(query.limit(room)).all()
    known = conn.execute(with_body(select(chunk.c.stale, chunk.c.future_count)).where(key.where(chunk))).one_or_none()
    whole = None if known is None else chunk_bodies.decode(known.body)
    if sum(count for _, _, count, *_ in rows) + (0 if whole is None else len(whole.mantissa)) > ROWS_MAX:
        rows = []  # they stay in the tail, and are found there
    if not rows and (known is None or not known.stale):
        return None
    received = {pack_id: received_ms for pack_id, *_, received_ms in rows}
    if whole is not None and known is not None and (known.stale or known.future_count):
        received |= {of: facts_of.received_ms for of, facts_of in facts(conn, set(whole.pack_id.tolist())).items()}
    if rows:
        added = chunk_bodies.gather([(pack_id, first, _decode(body)) for pack_id, first, _, body, _ in rows])
        whole = added if whole is None else chunk_bodies.join(whole, added)
    assert whole is not None
    gateway = str(conn.scalar(select(series.c.gateway).where(series.c.id == key.series_id)))
    course = _course(conn, gateway, key.boot_id)
    now = timed(whole, course)
    return _Prepared(
        key=key,
        gateway=gateway,
        rows=[(pack_id, first) for pack_id, first, *_ in rows],
        body_before=None if known is None else known.body,
        stretches=course.stretches,
        body=chunk_bodies.encode(whole) if rows or known is None else known.body,
        columns=describe(now, _received(whole, received)) | {"hours": hours_of(now, of_copies=key.carried)},
    )


def _received(whole: Body, known: Mapping[int, int]) -> Ints:
    """When each block was received; those that are not known have nothing from the future, so never is as good."""
    return np.array([known.get(of, INT64_MAX - FUTURE_MS) for of in whole.pack_id.tolist()], np.int64)


def _store(conn: Connection, one: _Prepared) -> None:
    """Raises _Changed."""
    key = one.key
    before = conn.scalar(select(chunk_body.c.body).where(key.where(chunk_body)))
    if before != one.body_before or _course(conn, one.gateway, key.boot_id).stretches != one.stretches:
        raise _Changed
    if one.rows and delete_rows(conn, tail, one.rows) != len(one.rows):
        raise _Changed
    if before is None:
        conn.execute(insert(chunk), {**key._asdict(), **one.columns})
        conn.execute(insert(chunk_body), {**key._asdict(), "body": one.body})
        return
    conn.execute(update(chunk).where(key.where(chunk)).values(**one.columns))
    if before != one.body:
        conn.execute(update(chunk_body).where(key.where(chunk_body)).values(body=one.body))


def _course(conn: Connection, gateway: str, boot_id: bytes) -> Course:
    return courses(conn, {(gateway, boot_id)}).get((gateway, boot_id), NOTHING)


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
    day = tail.c.from_monotonic_ms // DAY_MS
    looked = (
        select(
            tail.c.series_id,
            tail.c.boot_id,
            day.label("day"),
            carries(tail.c.pack_id).label("carried"),
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


def _block(body: bytes) -> Block:
    return _decode(body)
