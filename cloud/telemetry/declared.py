"""What packs say about other packs: losses they declare, observations they carry over, the stream they go on from.

Projections of the packs alone, written in ingest's transaction. None of them names a row that may not have come yet:
who asks joins them with the packs that are there at that moment, so that no order of arrival makes a difference.

The rule of carried copies: ordinals that a pack carries over from another one count for nothing once that other pack,
with the hash named, is in the record; its own rows count then. Before that the copies count. A range that names
several packs is left out as soon as one of them is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    exists,
    func,
    insert,
    select,
)

from cloud.db.bulk import find
from cloud.db.tables import carried, declared_loss, pack, scan, succession
from cloud.telemetry.bounds import EARLIEST_MS, SLACK_MS
from cloud.telemetry.corrections import courses, span
from cloud.telemetry.wall import wall_times
from wire.course import NOTHING
from wire.envelope import open_envelope
from wire.pack import Pack, read_payload

THINNED, LOST = "thinned", "lost"
ARRIVED_MAX = 100_000  # enough to see that a range came whole; a range of 2^63 numbers never does

PackName = tuple[str, bytes, int]  # gateway, stream, seq
OrdinalRange = tuple[int, int]  # first ordinal, and the one behind the last


class DeclaredHash(NamedTuple):
    """What a pack's hash is said to be, by a `loss` or by a `successor` stream."""

    hash: bytes
    by: str


class DeclaredSpan(msgspec.Struct, frozen=True):
    """A declared loss in time, for one channel: readings left out by thinning, or lost.

    left_out: how many of the channel, None where the gateway could not tell. The times are the gateway's own where the
    packs before and after allow them, and else theirs.
    """

    kind: str
    reason: str
    from_ms: int
    to_ms: int
    left_out: int | None


class DeclaredLoss(msgspec.Struct, frozen=True):
    """A loss as it was declared. arrived: how many of its packs came nevertheless; for them it is withdrawn."""

    gateway: str
    stream: bytes
    first_seq: int
    last_seq: int | None
    kind: str
    reason: str
    counts: list[tuple[str, int]]
    from_ms: int | None
    to_ms: int | None
    declared_ms: int
    arrived: int

    @property
    def withdrawn(self) -> bool:
        """Whether every pack that was declared lost is here."""
        return self.last_seq is not None and self.arrived == self.last_seq - self.first_seq + 1


def record(conn: Connection, packs: Sequence[tuple[int, Pack]]) -> None:
    """Store what packs, each given with the id of its row, say about others, in the caller's transaction."""
    losses = [_loss_row(pack_id, one, at) for pack_id, one in packs for at in range(len(one.losses))]
    if losses:
        conn.execute(insert(declared_loss), losses)
    copies = [_carried_row(pack_id, one, at) for pack_id, one in packs for at in range(len(one.carried_from))]
    if copies:
        conn.execute(insert(carried), copies)
    heads = [_succession_row(pack_id, one) for pack_id, one in packs if one.predecessor is not None]
    if heads:
        conn.execute(insert(succession), heads)


def left_out(conn: Connection, packs: Select[tuple[int]]) -> dict[int, list[OrdinalRange]]:
    """Per pack of the query (of ids) the ordinals that count for nothing, because the pack they came in is here."""
    original = pack.alias("original")
    query = (
        select(carried.c.pack_id, carried.c.first_ordinal, carried.c.count)
        .join_from(carried, original, _names(original))
        .where(carried.c.pack_id.in_(packs))
    )
    found: dict[int, list[OrdinalRange]] = {}
    for row in conn.execute(query):
        found.setdefault(row.pack_id, []).append((row.first_ordinal, row.first_ordinal + row.count))
    return found


def is_among(ordinal: int, ranges: Sequence[OrdinalRange] | None) -> bool:
    """Whether an ordinal lies in one of the ranges."""
    return ranges is not None and any(first <= ordinal < end for first, end in ranges)


def copies_of(conn: Connection, pack_id: int) -> list[tuple[int, OrdinalRange]]:
    """The packs in the record, by id, that carry rows of this one over, and the ordinals of the copies there."""
    query = (
        select(carried.c.pack_id, carried.c.first_ordinal, carried.c.count)
        .join_from(carried, pack, _names(pack))
        .where(pack.c.id == pack_id)
        .order_by(carried.c.pack_id, carried.c.first_ordinal)
    )
    return [(row.pack_id, (row.first_ordinal, row.first_ordinal + row.count)) for row in conn.execute(query)]


def spans(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[DeclaredSpan]:
    """The losses in [from_ms, to_ms) that concern a channel, by time; without those wholly withdrawn."""
    return LossesOnce(conn, gateway).spans(channel, from_ms, to_ms)


class LossesOnce:
    """The losses that a gateway declared, for whoever asks of several channels or times in one transaction.

    They are read once, and when a loss was, which takes a look at the packs around it, is worked out once.
    """

    def __init__(self, conn: Connection, gateway: str) -> None:
        query = (
            select(declared_loss, pack.c.sealed_ms, pack.c.received_ms)
            .join_from(declared_loss, pack, pack.c.id == declared_loss.c.pack_id)
            .where(declared_loss.c.gateway == gateway)
        )
        self._conn = conn
        self._losses = [(row, dict(_counts(row.counts))) for row in conn.execute(query)]
        self._times: dict[int, tuple[int, int] | None] = {}

    def spans(self, channel: str, from_ms: int, to_ms: int) -> list[DeclaredSpan]:
        """The losses in [from_ms, to_ms) that concern a channel, by time; without those wholly withdrawn.

        A loss that counts its readings concerns the channels it counts. One without counts concerns no channel when it
        was thinned (nothing was left out), and all of them when it was lost (nobody could count).
        """
        found: set[DeclaredSpan] = set()
        for at, (row, counts) in enumerate(self._losses):
            if not counts.get(channel) and (counts or row.kind != LOST):
                continue
            if at not in self._times:
                self._times[at] = None if _is_withdrawn(self._conn, row) else _times(self._conn, row)
            times = self._times[at]
            if times is not None and times[0] < to_ms and times[1] >= from_ms:
                found.add(DeclaredSpan(row.kind, row.reason, times[0], max(times), counts.get(channel)))
        return sorted(found, key=lambda one: (one.from_ms, one.to_ms, one.kind, one.reason))


def losses(conn: Connection, limit: int) -> list[DeclaredLoss]:
    """The newest declared losses, newest first."""
    query = (
        select(declared_loss, pack.c.received_ms)
        .join_from(declared_loss, pack, pack.c.id == declared_loss.c.pack_id)
        .order_by(declared_loss.c.pack_id.desc(), declared_loss.c.position.desc())
        .limit(limit)
    )
    return [
        DeclaredLoss(
            gateway=row.gateway,
            stream=row.stream,
            first_seq=row.first_seq,
            last_seq=row.last_seq,
            kind=row.kind,
            reason=row.reason,
            counts=_counts(row.counts),
            from_ms=row.from_ms,
            to_ms=row.to_ms,
            declared_ms=row.received_ms,
            arrived=_arrived(conn, row),
        )
        for row in conn.execute(query).all()
    ]


def declared_hashes(conn: Connection, names: Iterable[PackName]) -> dict[PackName, set[DeclaredHash]]:
    """What packs that came later say of the hashes of the named ones."""
    lost = (declared_loss.c.gateway, declared_loss.c.stream, declared_loss.c.last_seq)
    headed = (succession.c.gateway, succession.c.prior_stream, succession.c.last_seq)
    found: dict[PackName, set[DeclaredHash]] = {}
    asked = set(names)
    for columns, digest, by in ((lost, declared_loss.c.last_hash, "loss"), (headed, succession.c.hash, "successor")):
        for gateway, stream, seq, told in find(conn, [*columns, digest], columns, asked):
            if told is not None:
                found.setdefault((gateway, stream, seq), set()).add(DeclaredHash(told, by))
    return found


def _names(original: FromClause) -> ColumnElement[bool]:
    """Whether a row of `carried` names this pack, bytes and all."""
    return and_(*(original.c[name] == carried.c[name] for name in ("gateway", "stream", "seq", "hash")))


def _is_withdrawn(conn: Connection, row: Row[Any]) -> bool:
    return row.last_seq is not None and _arrived(conn, row) == row.last_seq - row.first_seq + 1


def _arrived(conn: Connection, row: Row[Any]) -> int:
    """How many packs of a declared range are in the record, counted up to ARRIVED_MAX."""
    there = [pack.c.gateway == row.gateway, pack.c.stream == row.stream, pack.c.seq >= row.first_seq]
    if row.last_seq is not None:
        there.append(pack.c.seq <= row.last_seq)
    some = select(pack.c.seq).where(*there).limit(ARRIVED_MAX).subquery()
    return int(conn.scalar(select(func.count()).select_from(some)) or 0)


class _Reach(NamedTuple):
    """First and last corrected time of a pack's readings, and whether any of them was corrected."""

    from_ms: int
    to_ms: int
    corrected: bool


def _times(conn: Connection, row: Row[Any]) -> tuple[int, int]:
    """From when to when a loss is. Its own times are those that the gateway believed, and nothing corrects them.

    They hold where they can be and the clock around them was right; or the packs before and after say when it was.
    """
    before, after = _readings_before(conn, row), _readings_after(conn, row)
    earliest, latest = EARLIEST_MS, row.received_ms + SLACK_MS
    if any(one is not None and one.corrected for one in (before, after)):
        earliest = earliest if before is None else before.from_ms - SLACK_MS
        latest = latest if after is None else after.to_ms + SLACK_MS
    if all(earliest <= at <= latest for at in (row.from_ms, row.to_ms) if at is not None):
        start = row.from_ms if row.from_ms is not None else _sealed_before(conn, row)
        return start, row.to_ms if row.to_ms is not None else _sealed_after(conn, row)
    end = row.received_ms if after is None else after.from_ms
    return end if before is None else min(before.to_ms, end), end


def _readings_before(conn: Connection, row: Row[Any]) -> _Reach | None:
    earlier = _with_readings(row).where(pack.c.seq < row.first_seq)
    return _reach(conn, earlier.order_by(pack.c.seq.desc()))


def _readings_after(conn: Connection, row: Row[Any]) -> _Reach | None:
    if row.last_seq is None:
        return None
    return _reach(conn, _with_readings(row).where(pack.c.seq > row.last_seq).order_by(pack.c.seq))


def _with_readings(row: Row[Any]) -> Select[tuple[int]]:
    """Packs of the stream of a loss with readings of their own; carried and kept ones are older than their number."""
    scans = select(func.count()).where(scan.c.pack_id == pack.c.id).scalar_subquery()
    return (
        select(pack.c.id)
        .where(pack.c.gateway == row.gateway, pack.c.stream == row.stream, pack.c.id != row.pack_id)
        .where(
            pack.c.observations > scans,
            func.length(pack.c.envelope) > 0,
            ~exists().where(carried.c.pack_id == pack.c.id),
        )
    )


def _reach(conn: Connection, packs: Select[tuple[int]]) -> _Reach | None:
    """Of the first of these packs, from its own bytes: its rows may stand in the tail or in chunks."""
    found = conn.execute(packs.add_columns(pack.c.gateway, pack.c.envelope).limit(1)).one_or_none()
    if found is None:
        return None
    blocks = read_payload(open_envelope(found.envelope)).blocks
    corrected = courses(conn, {(found.gateway, block.boot_id) for block in blocks})
    times = [
        (span(block, corrected.get((found.gateway, block.boot_id), NOTHING), walls), (min(walls), max(walls)))
        for block, walls in ((block, wall_times(block)) for block in blocks)
    ]
    return _Reach(
        min(from_ms for (from_ms, _), _ in times),
        max(to_ms for (_, to_ms), _ in times),
        any(now != believed for now, believed in times),
    )


def _sealed_before(conn: Connection, row: Row[Any]) -> int:
    """When the last pack before a loss was sealed; without one nothing is known to be older than its declaration."""
    query = select(pack.c.sealed_ms).where(
        pack.c.gateway == row.gateway, pack.c.stream == row.stream, pack.c.seq < row.first_seq
    )
    before = conn.scalar(query.order_by(pack.c.seq.desc()).limit(1))
    return int(row.sealed_ms if before is None else before)


def _sealed_after(conn: Connection, row: Row[Any]) -> int:
    """When the next pack of the stream was sealed, or else the one that declares the loss."""
    after = None
    if row.last_seq is not None:
        query = select(pack.c.sealed_ms).where(
            pack.c.gateway == row.gateway, pack.c.stream == row.stream, pack.c.seq > row.last_seq
        )
        after = conn.scalar(query.order_by(pack.c.seq).limit(1))
    return int(row.sealed_ms if after is None else after)


def _counts(text: str) -> list[tuple[str, int]]:
    return msgspec.json.decode(text, type=list[tuple[str, int]])


def _loss_row(pack_id: int, one: Pack, position: int) -> dict[str, object]:
    loss = one.losses[position]
    return {
        "pack_id": pack_id,
        "position": position,
        "gateway": one.gateway,
        "stream": loss.stream,
        "first_seq": loss.first_seq,
        "last_seq": loss.last_seq,
        "last_hash": loss.last_hash,
        "kind": loss.kind,
        "reason": loss.reason,
        "counts": msgspec.json.encode(loss.counts).decode(),
        "from_ms": loss.from_ms,
        "to_ms": loss.to_ms,
    }


def _carried_row(pack_id: int, one: Pack, position: int) -> dict[str, object]:
    copy = one.carried_from[position]
    return {
        "pack_id": pack_id,
        "position": position,
        "gateway": one.gateway,
        "stream": copy.stream,
        "seq": copy.seq,
        "hash": copy.hash,
        "first_ordinal": copy.first_ordinal,
        "count": copy.count,
    }


def _succession_row(pack_id: int, one: Pack) -> dict[str, object]:
    assert one.predecessor is not None
    return {
        "pack_id": pack_id,
        "gateway": one.gateway,
        "stream": one.stream,
        "prior_stream": one.predecessor.stream,
        "last_seq": one.predecessor.last_seq,
        "hash": one.predecessor.hash,
    }
