"""The follower that keeps the gaps of all streams: batch after batch of packs in the order of their leaves.

Nothing of it is done in ingest, and a stream without gaps costs one position per batch here. A batch is worked out in
a read transaction and written in a short one, if the position is still the one it began at: two followers at once do
no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, delete, insert, select

from cloud.db.cursor import advance, position, stream_part
from cloud.db.engine import reading, writing
from cloud.db.names import named, some
from cloud.db.tables import cursor, declared_loss, gap, pack
from cloud.ingest.gap import Fact, Gap, Gaps, reach
from cloud.ingest.settled import Stream
from wire.observation import INT64_MAX

FOLLOWER = "gaps"
LEAF = "leaf"
HEAD = "head/"  # and the stream; not a stream's part itself: those are sent back when declared packs come
PACKS_AT_ONCE = 2_000  # some ten milliseconds of the write lock where every one of them closes a gap


class Change(msgspec.Struct, frozen=True):
    """What a stream's gaps become: rows that go, rows that come, and its head."""

    stream: Stream
    gone: list[Gap]
    new: list[Gap]
    head: int


class GapFollower:
    """Keeps the table of gaps up with the packs."""

    def __init__(self, engine: Engine, *, packs_at_once: int = PACKS_AT_ONCE) -> None:
        self._engine = engine
        self._packs_at_once = packs_at_once

    def run_once(self, stop: threading.Event | None = None) -> int:
        """Work through every pack that came; returns how many that were. Raises DatabaseUnavailable.

        stop: once it is set, the batch in hand is the last one.
        """
        worked = 0
        while batch := self._step():
            worked += batch
            if stop is not None and stop.is_set():
                break
        return worked

    def _step(self) -> int:
        with reading(self._engine) as conn:
            at = position(conn, FOLLOWER, LEAF)
            packs = _packs_after(conn, -1 if at is None else at, self._packs_at_once)
            if not packs:
                return 0
            changes = [_change(conn, stream, facts) for stream, facts in sorted(_facts(conn, packs).items())]
        with writing(self._engine) as conn:
            if position(conn, FOLLOWER, LEAF) != at:
                return 0  # somebody else was faster
            _write(conn, changes)
            advance(conn, FOLLOWER, LEAF, packs[-1].leaf_index)
        return len(packs)


def forget(conn: Connection) -> None:
    """Empty the table, in the caller's write transaction: the follower fills it again from the packs."""
    conn.execute(delete(gap))
    conn.execute(delete(cursor).where(cursor.c.follower == FOLLOWER))


def _packs_after(conn: Connection, leaf_index: int, limit: int) -> Sequence[Row[Any]]:
    columns = pack.c.id, pack.c.gateway, pack.c.stream, pack.c.seq, pack.c.received_ms, pack.c.leaf_index
    query: Select[Any] = select(*columns).where(pack.c.leaf_index > leaf_index).order_by(pack.c.leaf_index).limit(limit)
    return conn.execute(query).all()


def _facts(conn: Connection, packs: Sequence[Row[Any]]) -> dict[Stream, list[Fact]]:
    """What the packs say, by stream, in their order; a pack's losses stand before its own number."""
    lost = declared_loss
    declaring: Select[Any] = (
        select(lost.c.pack_id, lost.c.position, lost.c.gateway, lost.c.stream, lost.c.first_seq, lost.c.last_seq)
        .join_from(lost, pack, pack.c.id == lost.c.pack_id)
        .where(pack.c.leaf_index.between(packs[0].leaf_index, packs[-1].leaf_index))
        .order_by(lost.c.pack_id, lost.c.position)
    )
    told: dict[int, list[Row[Any]]] = {}
    for row in conn.execute(declaring):
        told.setdefault(row.pack_id, []).append(row)
    facts: dict[Stream, list[Fact]] = {}
    for one in packs:
        for loss in told.get(one.id, ()):
            last = INT64_MAX if loss.last_seq is None else loss.last_seq
            declared = Fact(loss.first_seq, last, one.received_ms, (loss.pack_id, loss.position))
            facts.setdefault((loss.gateway, loss.stream), []).append(declared)
        facts.setdefault((one.gateway, one.stream), []).append(Fact(one.seq, one.seq, one.received_ms))
    return facts


def _change(conn: Connection, stream: Stream, facts: Sequence[Fact]) -> Change:
    head = position(conn, FOLLOWER, _head_part(stream)) or 0
    before = _gaps_between(conn, stream, *reach(head, facts))
    gaps = Gaps(head, before)
    after = gaps.take(facts)
    kept = set(before) & set(after)
    return Change(
        stream, [one for one in before if one not in kept], [one for one in after if one not in kept], gaps.head
    )


def _gaps_between(conn: Connection, stream: Stream, first: int, last: int) -> list[Gap]:
    """The gaps that overlap [first, last]: the nearest that begins before, and all that begin inside."""
    here = (gap.c.gateway == stream[0], gap.c.stream == stream[1])
    before = select(gap).where(*here, gap.c.first_seq < first).order_by(gap.c.first_seq.desc()).limit(1)
    inside = select(gap).where(*here, gap.c.first_seq.between(first, last)).order_by(gap.c.first_seq)
    rows = [*(row for row in conn.execute(before) if row.last_seq >= first), *conn.execute(inside)]
    return [as_gap(row) for row in rows]


def as_gap(row: Row[Any]) -> Gap:
    """A row of the table as what it stands for."""
    loss = None if row.pack_id is None else (row.pack_id, row.position)
    return Gap(row.first_seq, row.last_seq, row.state, row.opened_ms, row.settled_ms, loss)


def _write(conn: Connection, changes: Iterable[Change]) -> None:
    gone = [(*change.stream, one.first_seq) for change in changes for one in change.gone]
    for these in some(gone):
        conn.execute(delete(gap).where(named(these, gap.c.gateway, gap.c.stream, gap.c.first_seq)))
    new = [_row(change.stream, one) for change in changes for one in change.new]
    if new:
        conn.execute(insert(gap), new)
    for change in changes:
        if change.head:
            advance(conn, FOLLOWER, _head_part(change.stream), change.head)


def _row(stream: Stream, one: Gap) -> dict[str, object]:
    pack_id, at = one.loss or (None, None)
    return {
        "gateway": stream[0],
        "stream": stream[1],
        "first_seq": one.first_seq,
        "last_seq": one.last_seq,
        "state": one.state,
        "opened_ms": one.opened_ms,
        "settled_ms": one.settled_ms,
        "pack_id": pack_id,
        "position": at,
    }


def _head_part(stream: Stream) -> str:
    return HEAD + stream_part(*stream)
