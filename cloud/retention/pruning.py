"""Removing the bytes of old packs that nothing refers to, and what was derived from them.

A pack's row stays, with its identity, hash and leaf: it is settled, and known when it comes again; only its envelope is
emptied. Each transaction of a removal is a row of `pruning` and a leaf, over JSON that names the leaves whose bytes are
gone, and why; each of them has a tombstone.

Invariants: nothing is removed that a stay, a frozen version or a hold refers to, also when that came into being while
we were at it; packs that say more than readings (scans, losses, corrections, keys, copies), that another one disputes,
or whose readings were carried over, are never removed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, exists, func, insert, select, tuple_, update

from cloud.db.engine import reading, writing
from cloud.db.tables import carried, conflict, pack, pruning, tombstone
from cloud.ledger import log
from cloud.retention.needed import Needed, needed, state
from cloud.telemetry import corrections
from cloud.telemetry.forget import forget
from cloud.telemetry.wall import wall_times
from wire import pack as wire_pack
from wire.course import Course
from wire.envelope import open_envelope
from wire.pack import Pack

#: In one transaction. They are neighbours in a stream, so that they lie in few chunks, which are made anew: some 10 ms
#: of the write lock for each. Others get as much time before the next one.
PACKS_AT_ONCE = 200

Tell = Callable[[float], None]

_Name = tuple[str, bytes, int]
_NAME = pack.c.gateway, pack.c.stream, pack.c.seq
_FIRST: _Name = ("", b"", 0)


class Why(msgspec.Struct, frozen=True):
    """In whose name, by what rule and why bytes are removed."""

    rule: str
    reason: str
    person: str


class Pruned(msgspec.Struct, frozen=True):
    """What became, or would become, of the packs received before the day. Sizes are of envelopes.

    needed: kept because something refers to their readings; other: because they say more than readings, or are
    disputed; later: because a reading is of a later time.
    """

    removed: int = 0
    removed_bytes: int = 0
    needed: int = 0
    other: int = 0
    later: int = 0

    def plus(self, other: Pruned) -> Pruned:
        """Both together."""
        both = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Pruned(*(one + another for one, another in both))


class _Candidate(msgspec.Struct, frozen=True):
    id: int
    leaf_index: int
    hash: bytes
    size_bytes: int


def prune(
    engine: Engine,
    before_ms: int,
    now_ms: int,
    *,
    why: Why | None,
    tell: Tell,
    stop: threading.Event | None = None,
) -> Pruned:
    """Remove what was received before `before_ms` and nothing needs; why None: only count. Raises DatabaseUnavailable.

    A stop, or a kill at any point, leaves what was committed: the next call goes on.
    """
    with reading(engine) as conn:
        known, wanted = state(conn), needed(conn, now_ms)
        of_all = select(func.count()).select_from(pack).where(*_there(before_ms))
        of = int(conn.scalar(of_all) or 0)
    total, looked = Pruned(), 0
    after: _Name | None = _FIRST
    while after is not None and not (stop is not None and stop.is_set()):
        if why is None:
            with reading(engine) as conn:
                counted, _, after = _look(conn, after, before_ms, wanted)
        else:
            with writing(engine) as conn:
                began_s = time.monotonic()
                if state(conn) != known:
                    known, wanted = state(conn), needed(conn, now_ms)
                counted, gone, after = _look(conn, after, before_ms, wanted)
                _remove(conn, gone, why, now_ms)
            (stop or threading.Event()).wait(time.monotonic() - began_s if gone and after is not None else 0)
        total = total.plus(counted)
        looked += counted.removed + counted.needed + counted.other + counted.later
        tell(min(1.0, looked / of) if after is not None else 1.0)
    return total


def _there(before_ms: int) -> tuple[ColumnElement[bool], ...]:
    """Packs that are old enough, and have bytes."""
    return pack.c.received_ms < before_ms, func.length(pack.c.envelope) > 0


def _look(
    conn: Connection, after: _Name, before_ms: int, wanted: Needed
) -> tuple[Pruned, list[_Candidate], _Name | None]:
    """Judge the next packs; what was counted, what may go, and how far this went, None at the end."""
    named = (carried.c.gateway == pack.c.gateway) & (carried.c.stream == pack.c.stream) & (carried.c.seq == pack.c.seq)
    query = (
        select(pack, (exists().where(conflict.c.pack_id == pack.c.id) | exists().where(named)).label("disputed"))
        .where(*_there(before_ms), tuple_(*_NAME) > after)
        .order_by(*_NAME)
        .limit(PACKS_AT_ONCE)
    )
    rows = conn.execute(query).all()
    opened = [wire_pack.read_payload(open_envelope(row.envelope)) for row in rows]
    keys = {(one.gateway, block.boot_id) for one in opened for block in one.blocks}
    courses = corrections.courses(conn, keys)
    counted, gone = Pruned(), []
    for row, one in zip(rows, opened, strict=True):
        size_bytes = len(row.envelope)
        spans = list(_spans(one, courses))
        if row.disputed or not _is_plain(one):
            counted = counted.plus(Pruned(other=1))
        elif any(to_ms >= before_ms for _, _, to_ms in spans):
            counted = counted.plus(Pruned(later=1))
        elif any(wanted.touches((one.gateway, channel), from_ms, to_ms) for channel, from_ms, to_ms in spans):
            counted = counted.plus(Pruned(needed=1))
        else:
            counted = counted.plus(Pruned(removed=1, removed_bytes=size_bytes))
            gone.append(_Candidate(row.id, row.leaf_index, row.hash, size_bytes))
    last = rows[-1] if len(rows) == PACKS_AT_ONCE else None
    return counted, gone, None if last is None else (last.gateway, last.stream, last.seq)


def _is_plain(one: Pack) -> bool:
    """Whether it says nothing but readings."""
    more = (one.scans, one.losses, one.corrections, one.carried_from)
    return not any(more) and one.key_change is None and one.predecessor is None


def _spans(one: Pack, courses: dict[tuple[str, bytes], Course]) -> Iterator[tuple[str, int, int]]:
    """Channel, first and last time of each block, believed and corrected."""
    for block in one.blocks:
        walls = wall_times(block)
        from_ms, to_ms = corrections.span(block, courses.get((one.gateway, block.boot_id), Course()), walls)
        yield block.channel, min(from_ms, *walls), max(to_ms, *walls)


def _remove(conn: Connection, gone: Sequence[_Candidate], why: Why, now_ms: int) -> None:
    if not gone:
        return
    removed = ranges(sorted(one.leaf_index for one in gone))
    body = msgspec.json.encode({**msgspec.structs.asdict(why), "pruned_ms": now_ms, "leaves": removed})
    leaf_index = log.append(conn, "pruning", payload=body, ref=f"{len(gone)} packs by {why.rule}")
    key = conn.execute(insert(pruning).values(body=body.decode(), leaf_index=leaf_index)).inserted_primary_key
    assert key is not None, "an inserted row has a key"
    rows = [{"leaf_index": one.leaf_index, "hash": one.hash, "pruning_id": key[0]} for one in gone]
    conn.execute(insert(tombstone), rows)
    ids = [one.id for one in gone]
    forget(conn, ids)
    conn.execute(update(pack).where(pack.c.id.in_(ids)).values(envelope=b""))


def ranges(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends inclusive."""
    breaks = [at for at, (one, following) in enumerate(pairwise(indices), 1) if following > one + 1]
    ends = [0, *breaks, len(indices)] if indices else []
    return [(indices[first], indices[end - 1]) for first, end in pairwise(ends)]
