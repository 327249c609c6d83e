"""Rebuild: every projection anew from the records, in one transaction.

Killed before its end, nothing has changed: there is no half. Packs are read twice: first what they say of clocks and of
other packs, then their rows, which so get the times that hold in the end. Chunks are not folded here but by the
compactor as ever (`compact`); once all is folded the tables are equal to the byte to what they were.

What is kept, because no record holds it: ids of series (chunks name them), how far followers have read and what they
found by the registry of that day (`cursor`, `scan_finding`), what gateways said of their state, and since when a
finding is known: those that are missing are found again. The head of the log (`ledger_state`) is not made from leaves
that may have been tampered with; `coldproof cloud fsck` holds it against them. Of a pack whose bytes were removed only
what was derived from it before is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, Table, delete, func, insert, select

from cloud.db import tables
from cloud.db.engine import writing
from cloud.events.capture import items
from cloud.ingest import acceptance, chain, finding, gap_follower, settled
from cloud.ingest.settled import Range, Stream
from cloud.telemetry import corrections, declared
from cloud.telemetry import record as telemetry
from cloud.telemetry.boots import Stored
from cloud.telemetry.place import places
from standards.epcis.json_form import parse_event
from wire.envelope import open_envelope
from wire.observation import INT64_MAX
from wire.pack import read_payload

Tell = Callable[[float], None]  # the share that is done, 0–1

PACKS_AT_ONCE = 200
ROWS_AT_ONCE = 10_000
_OF_PACKS = (tables.declared_loss, tables.carried, tables.succession, tables.correction, tables.scan)
_WHOLE = (tables.tail, tables.chunk, tables.chunk_body, tables.settled, tables.event_item)


class Rebuilt(msgspec.Struct, frozen=True):
    """What was read. removed: packs whose bytes are not there any more."""

    packs: int
    events: int
    removed: int


def rebuild(engine: Engine, tell: Tell) -> Rebuilt:
    """Make the projections anew; until the commit nobody else writes, and nobody sees anything of it.

    Raises DatabaseUnavailable, and WireError for a pack whose bytes are damaged (`coldproof cloud fsck` names it).
    """
    with writing(engine) as conn:
        total = int(conn.scalar(select(func.count()).select_from(tables.pack)) or 0)
        _empty(conn)
        told = _Share(tell, 2 * max(total, 1))
        exceeding: set[corrections.PackName] = set()
        packs = 0
        for stored in _packs(conn):
            declared.record(conn, [(one.id, one.pack) for one in stored])
            exceeding |= corrections.record(conn, stored).exceeding
            packs += len(stored)
            told.more(len(stored))
        _settle(conn)
        for stored in _packs(conn):
            telemetry.store_rows(conn, stored)
            doubts = chain.check(conn, [one.pack for one in stored])
            finding.keep(conn, doubts, stored[0].received_ms)
            told.more(len(stored))
        latest = int(conn.scalar(select(func.max(tables.pack.c.received_ms))) or 0)
        finding.keep(conn, [acceptance.too_many(name) for name in sorted(exceeding)], latest)
        events = _items(conn)
        gap_follower.forget(conn)
    tell(1.0)
    return Rebuilt(packs, events, total - packs)


class _Share:
    """Tells how much is done."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def more(self, count: int) -> None:
        self._done += count
        self._tell(self._done / self._total)


def _empty(conn: Connection) -> None:
    there = select(tables.pack.c.id).where(func.length(tables.pack.c.envelope) > 0)
    for table in _OF_PACKS:
        conn.execute(delete(table).where(table.c.pack_id.in_(there)))
    for table in _WHOLE:
        conn.execute(delete(table))
    removed = select(tables.pack.c.gateway).where(func.length(tables.pack.c.envelope) == 0)
    conn.execute(delete(tables.boot).where(tables.boot.c.gateway.not_in(removed)))


def _packs(conn: Connection) -> Iterator[list[Stored]]:
    """All packs whose bytes are there, by id, some at a time."""
    columns = tables.pack.c.id, tables.pack.c.envelope, tables.pack.c.received_ms
    query = select(*columns).where(func.length(tables.pack.c.envelope) > 0)
    for rows in _by_id(conn, tables.pack, query, PACKS_AT_ONCE):
        unsealed = [(row, read_payload(open_envelope(row.envelope))) for row in rows]
        yield [Stored(row.id, pack, row.received_ms, places(pack)) for row, pack in unsealed]


def _settle(conn: Connection) -> None:
    """From the packs that are there and the losses they declare; also those whose bytes were removed."""
    news: dict[Stream, list[Range]] = {}
    packs = select(tables.pack.c.id, tables.pack.c.gateway, tables.pack.c.stream, tables.pack.c.seq)
    for rows in _by_id(conn, tables.pack, packs, ROWS_AT_ONCE):
        for row in rows:
            ranges = news.setdefault((row.gateway, row.stream), [])
            if ranges and ranges[-1][1] == row.seq - 1:
                ranges[-1] = ranges[-1][0], row.seq
            else:
                ranges.append((row.seq, row.seq))
    lost = tables.declared_loss.c
    for gateway, stream, first, last in conn.execute(select(lost.gateway, lost.stream, lost.first_seq, lost.last_seq)):
        news.setdefault((gateway, stream), []).append((first, INT64_MAX if last is None else last))
    settled.settle(conn, news)


def _items(conn: Connection) -> int:
    count = 0
    for rows in _by_id(conn, tables.event, select(tables.event.c.id, tables.event.c.body), ROWS_AT_ONCE):
        found = [
            {"event_id": row.id, "item": item, "role": role}
            for row in rows
            for item, role in sorted(items(parse_event(msgspec.json.decode(row.body))))
        ]
        if found:
            conn.execute(insert(tables.event_item), found)
        count += len(rows)
    return count


def _by_id(conn: Connection, table: Table, query: Any, limit: int) -> Iterator[Sequence[Row[Any]]]:
    after = 0
    while rows := conn.execute(query.where(table.c.id > after).order_by(table.c.id).limit(limit)).all():
        yield rows
        after = rows[-1].id
