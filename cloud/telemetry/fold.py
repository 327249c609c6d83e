"""Folding: rows of the tail become part of a chunk, in one short transaction, or nothing happens.

Reading and encoding happen under a read snapshot, while ingest goes on. The write transaction then holds what it found
against what was read: the same rows of the tail, the same body, the same corrections. If anything has changed, it is
left alone, and the next round reads anew. So a reading is in the tail or in a chunk at any moment, in each snapshot and
after a kill, and several processes may fold beside each other.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, bindparam, delete, insert, select, update

from cloud.db.engine import reading, writing
from cloud.db.tables import chunk, chunk_body, pack, series, tail
from cloud.telemetry import body as chunk_bodies
from cloud.telemetry.body import ROWS_MAX, Body
from cloud.telemetry.chunk import DAY_MS, ChunkKey, carries, describe, hours_of, received_of, timed, with_body
from cloud.telemetry.corrections import courses
from wire.course import NOTHING, Course
from wire.pack import Block

#: Rows of the tail in one transaction: it holds the write lock for about 20 ms, whatever waits to be folded.
FOLD_MAX = 2_000

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


def fold(engine: Engine, key: ChunkKey) -> int:
    """Fold what the tail has of a chunk, up to FOLD_MAX rows, and bring the chunk up to its corrections.

    Returns the rows folded, and 1 for a chunk that was only brought up to date; 0 where nothing was to be done, or
    somebody else changed it meanwhile. Raises DatabaseUnavailable, BodyDamaged.
    """
    with reading(engine) as conn:
        prepared = _prepare(conn, key)
    if prepared is None:
        return 0
    try:
        with writing(engine) as conn:
            _store(conn, prepared)
    except _Changed:
        return 0
    return max(len(prepared.rows), 1)


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


def _prepare(conn: Connection, key: ChunkKey) -> _Prepared | None:
    query = select(tail.c.pack_id, tail.c.first_ordinal, tail.c.count.label("readings"), tail.c.body).where(
        in_tail(key)
    )
    query = query.order_by(tail.c.from_monotonic_ms, tail.c.pack_id, tail.c.first_ordinal)
    rows = conn.execute(query.limit(FOLD_MAX)).all()
    known = conn.execute(with_body(select(chunk.c.stale)).where(key.where(chunk))).one_or_none()
    if not rows and (known is None or not known.stale):
        return None
    whole = None if known is None else chunk_bodies.decode(known.body)
    if sum(row.readings for row in rows) + (0 if whole is None else len(whole.mantissa)) > ROWS_MAX:
        rows = []  # they stay in the tail, and are found there
        if known is None or not known.stale:
            return None
    if rows:
        added = chunk_bodies.gather(
            (row.pack_id, row.first_ordinal, msgspec.msgpack.decode(row.body, type=Block)) for row in rows
        )
        whole = added if whole is None else chunk_bodies.join(whole, added)
    assert whole is not None
    gateway = str(conn.scalar(select(series.c.gateway).where(series.c.id == key.series_id)))
    course = _course(conn, gateway, key.boot_id)
    return _Prepared(
        key=key,
        gateway=gateway,
        rows=[(row.pack_id, row.first_ordinal) for row in rows],
        body_before=None if known is None else known.body,
        stretches=course.stretches,
        body=chunk_bodies.encode(whole),
        columns=_columns(conn, key, whole, course),
    )


def _columns(conn: Connection, key: ChunkKey, whole: Body, course: Course) -> dict[str, object]:
    now = timed(whole, course)
    return describe(now, received_of(conn, whole)) | {"hours": hours_of(now, of_copies=key.carried)}


def _store(conn: Connection, one: _Prepared) -> None:
    """Raises _Changed."""
    key = one.key
    before = conn.scalar(select(chunk_body.c.body).where(key.where(chunk_body)))
    if before != one.body_before or _course(conn, one.gateway, key.boot_id).stretches != one.stretches:
        raise _Changed
    if one.rows:
        this = delete(tail).where(tail.c.pack_id == bindparam("of"), tail.c.first_ordinal == bindparam("at"))
        gone = conn.execute(this, [{"of": pack_id, "at": ordinal} for pack_id, ordinal in one.rows])
        if gone.rowcount != len(one.rows):
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


def keys_in_tail(conn: Connection, after_pack: int, limit: int) -> list[tuple[ChunkKey, int, int, str, bytes]]:
    """Of the tail's next rows by pack: chunk, id of the pack, when it was received, gateway, stream."""
    query = (
        select(
            tail.c.series_id,
            tail.c.boot_id,
            tail.c.from_monotonic_ms,
            tail.c.pack_id,
            carries(tail.c.pack_id).label("carried"),
            pack.c.received_ms,
            pack.c.gateway,
            pack.c.stream,
        )
        .join_from(tail, pack, pack.c.id == tail.c.pack_id)
        .where(tail.c.pack_id > after_pack)
        .order_by(tail.c.pack_id)
        .limit(limit)
    )
    return [
        (
            ChunkKey(row.series_id, row.boot_id, row.from_monotonic_ms // DAY_MS, bool(row.carried)),
            row.pack_id,
            row.received_ms,
            row.gateway,
            row.stream,
        )
        for row in conn.execute(query)
    ]
