"""How complete the packs of a gateway are here: its streams, what is missing in each, what was asked for again.

Every number up to a stream's head came, is missing, or was declared; so what came is counted from the gaps alone, and
nothing here reads through packs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from cloud.db.cursor import stream_part
from cloud.db.tables import cursor, declared_loss, gap, pack
from cloud.ingest import chain, command
from cloud.ingest.command import Asked
from cloud.ingest.gap import CLOSED, EXPLAINED, OPEN
from cloud.ingest.gap_follower import FOLLOWER, HEAD
from cloud.ingest.settled import Range, Stream
from wire.observation import INT64_MAX

OVERDUE_MS = 600_000  # a connected gateway sends again by itself after half a minute
STREAMS_SHOWN = 20
GAPS_SHOWN = 50  # of each state and stream
ASKED, ANSWERED, DECLARED = "asked", "answered", "declared"


class Missing(msgspec.Struct, frozen=True):
    """A gap, and the loss that explains it. last_seq None: no end is known; from_ms, to_ms: as the gateway declared."""

    first_seq: int
    last_seq: int | None
    state: str
    opened_ms: int
    settled_ms: int | None
    kind: str | None
    reason: str | None
    from_ms: int | None
    to_ms: int | None


class Request(msgspec.Struct, frozen=True):
    """Numbers that were asked for again. state: asked, answered, or declared (answered: not all of them will come)."""

    counter: int
    ranges: list[Range]
    issued_ms: int
    answered_ms: int | None
    state: str


class StreamCompleteness(msgspec.Struct, frozen=True):
    """A stream, by its id in hex. Counts are of numbers up to the head.

    came + open + explained = head_seq; closed ones are among those that came.
    linked_through: below it nothing is missing undeclared and every pack hangs on the one before it. began_ms, last_ms:
    when the lowest and the highest number here were received, None where no pack of the stream came. gaps: the newest
    of each state; overdue: numbers open for longer than OVERDUE_MS.
    """

    stream: str
    began_ms: int | None
    last_ms: int | None
    head_seq: int
    linked_through: int
    came: int
    open: int
    overdue: int
    explained: int
    closed: int
    gaps: list[Missing]
    requests: list[Request]


class _Reached(NamedTuple):
    """A stream, its highest number that came, and when the packs of its lowest and highest number were received."""

    stream: Stream
    head: int
    first_ms: int | None
    last_ms: int | None


class Overdue(msgspec.Struct, frozen=True):
    """What a gateway has owed for too long: how many numbers, and since when the oldest."""

    gateway: str
    numbers: int
    since_ms: int


def overdue(conn: Connection, now_ms: int) -> list[Overdue]:
    """The gateways with numbers that have been missing for longer than OVERDUE_MS, by name."""
    numbers = func.sum(gap.c.last_seq - gap.c.first_seq + 1)
    query = (
        select(gap.c.gateway, numbers, func.min(gap.c.opened_ms))
        .where(gap.c.state == OPEN, gap.c.opened_ms <= now_ms - OVERDUE_MS)
        .group_by(gap.c.gateway, gap.c.stream)  # of one stream 64 bits hold the sum, of several perhaps not
        .order_by(gap.c.gateway)
    )
    found: dict[str, Overdue] = {}
    for gateway, count, since_ms in conn.execute(query):
        known = found.get(gateway, Overdue(gateway, 0, since_ms))
        found[gateway] = Overdue(gateway, known.numbers + int(count), min(known.since_ms, since_ms))
    return list(found.values())


def overdue_ranges(conn: Connection, gateway: str, stream: bytes, now_ms: int, limit: int) -> list[Range]:
    """The lowest ranges of a stream that have been missing for longer than OVERDUE_MS."""
    query = select(gap.c.first_seq, gap.c.last_seq).where(
        gap.c.gateway == gateway,
        gap.c.stream == stream,
        gap.c.state == OPEN,
        gap.c.opened_ms <= now_ms - OVERDUE_MS,
    )
    return [(row.first_seq, row.last_seq) for row in conn.execute(query.order_by(gap.c.first_seq).limit(limit))]


def missing_ranges(conn: Connection, gateway: str, stream: bytes, within: Range, limit: int) -> list[Range]:
    """The lowest ranges of a stream that are missing, cut to `within`."""
    first, last = within
    query = select(gap.c.first_seq, gap.c.last_seq).where(
        gap.c.gateway == gateway,
        gap.c.stream == stream,
        gap.c.state == OPEN,
        gap.c.first_seq <= last,
        gap.c.last_seq >= first,
    )
    rows = conn.execute(query.order_by(gap.c.first_seq).limit(limit))
    return [(max(row.first_seq, first), min(row.last_seq, last)) for row in rows]


def of_gateway(conn: Connection, gateway: str, now_ms: int) -> list[StreamCompleteness]:
    """The streams of a gateway, the one that was heard of last first; at most STREAMS_SHOWN."""
    heads = heads_of(conn, gateway)
    declared = conn.scalars(select(gap.c.stream).where(gap.c.gateway == gateway).distinct())
    reached = [_reached(conn, (gateway, stream), heads.get(stream, 0)) for stream in {*heads, *declared}]
    newest = sorted(reached, key=lambda one: (-(one.last_ms or 0), one.stream))[:STREAMS_SHOWN]
    asked = command.of_gateway(conn, gateway, GAPS_SHOWN)
    return [
        _completeness(conn, one, [each for each in asked if each.stream == one.stream[1]], now_ms) for one in newest
    ]


def heads_of(conn: Connection, gateway: str) -> dict[bytes, int]:
    """The highest number that came, by stream."""
    part = HEAD + stream_part(gateway, b"")
    here = cursor.c.part.startswith(part, autoescape=True)
    query = select(cursor.c.part, cursor.c.position).where(cursor.c.follower == FOLLOWER, here)
    return {bytes.fromhex(row.part.removeprefix(part)): row.position for row in conn.execute(query)}


def _reached(conn: Connection, stream: Stream, head: int) -> _Reached:
    here = (pack.c.gateway == stream[0], pack.c.stream == stream[1])
    first = conn.scalar(select(pack.c.received_ms).where(*here).order_by(pack.c.seq).limit(1))
    last = conn.scalar(select(pack.c.received_ms).where(*here, pack.c.seq == head))
    return _Reached(stream, head, first, last)


def _completeness(conn: Connection, at: _Reached, asked: Sequence[Asked], now_ms: int) -> StreamCompleteness:
    states = (OPEN, EXPLAINED, CLOSED)
    counts = {state: _numbers(conn, at, gap.c.state == state) for state in states}
    return StreamCompleteness(
        stream=at.stream[1].hex(),
        began_ms=at.first_ms,
        last_ms=at.last_ms,
        head_seq=at.head,
        linked_through=chain.linked_through(conn, *at.stream),
        came=at.head - counts[OPEN] - counts[EXPLAINED],
        open=counts[OPEN],
        overdue=_numbers(conn, at, and_(gap.c.state == OPEN, gap.c.opened_ms <= now_ms - OVERDUE_MS)),
        explained=counts[EXPLAINED],
        closed=counts[CLOSED],
        gaps=[one for state in states for one in _newest(conn, at.stream, state)],
        requests=[_request(conn, one) for one in asked],
    )


def _numbers(conn: Connection, at: _Reached, which: ColumnElement[bool]) -> int:
    """How many numbers up to the head lie in such gaps."""
    last = case((gap.c.last_seq > at.head, at.head), else_=gap.c.last_seq)
    query = select(func.sum(last - gap.c.first_seq + 1)).where(
        gap.c.gateway == at.stream[0], gap.c.stream == at.stream[1], gap.c.first_seq <= at.head, which
    )
    return int(conn.scalar(query) or 0)


def _newest(conn: Connection, stream: Stream, state: str) -> list[Missing]:
    loss = declared_loss
    named = and_(loss.c.pack_id == gap.c.pack_id, loss.c.position == gap.c.position)
    query = (
        select(gap, loss.c.kind, loss.c.reason, loss.c.from_ms, loss.c.to_ms)
        .join_from(gap, loss, named, isouter=True)
        .where(gap.c.gateway == stream[0], gap.c.stream == stream[1], gap.c.state == state)
        .order_by(gap.c.first_seq.desc())
        .limit(GAPS_SHOWN)
    )
    return [_missing(row) for row in conn.execute(query)]


def _missing(row: Row[Any]) -> Missing:
    return Missing(
        first_seq=row.first_seq,
        last_seq=None if row.last_seq == INT64_MAX else row.last_seq,
        state=row.state,
        opened_ms=row.opened_ms,
        settled_ms=row.settled_ms,
        kind=row.kind,
        reason=row.reason,
        from_ms=row.from_ms,
        to_ms=row.to_ms,
    )


def _request(conn: Connection, asked: Asked) -> Request:
    return Request(asked.counter, asked.ranges, asked.issued_ms, asked.answered_ms, state_of(conn, asked))


def state_of(conn: Connection, asked: Asked) -> str:
    """What became of a request: asked, answered or declared."""
    if asked.answered_ms is None:
        return ASKED
    first, last = asked.ranges[0][0], asked.ranges[-1][1]
    lost = select(gap.c.first_seq, gap.c.last_seq).where(
        gap.c.gateway == asked.gateway,
        gap.c.stream == asked.stream,
        gap.c.state == EXPLAINED,
        gap.c.first_seq <= last,
        gap.c.last_seq >= first,
    )
    gone = any(low <= b and a <= high for low, high in conn.execute(lost) for a, b in asked.ranges)
    return DECLARED if gone else ANSWERED
