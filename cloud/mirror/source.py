"""What the mirror reads next: packs in the order of their leaves, as lines. Read transactions only.

The leaf index is the only cursor: a pack that was committed late has a high one, so that none is passed over. A batch
ends with a pack, and is bounded: PACKS_AT_ONCE envelopes, and LINES_AT_ONCE readings but for those of
the last pack (10,000).

When a pack tells of corrections, the rows that were held back in the packs before it, of those boots, have a time now:
`held_before` gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, func, select

from cloud.db.tables import boot, pack
from cloud.ledger import log
from cloud.mirror.line import Lines, lines_of
from cloud.telemetry.boots import BootKey
from cloud.telemetry.corrections import courses
from cloud.telemetry.declared import left_out
from wire import pack as wire_pack
from wire.course import NOTHING
from wire.pack import Pack

PACKS_AT_ONCE = 64  # of 256 KiB at most: 16 MiB
LINES_AT_ONCE = 5_000
SILENT_PACKS = 50  # a boot's rows are sealed while it lasts, or by the first packs after it

_COLUMNS = (pack.c.id, pack.c.gateway, pack.c.leaf_index, pack.c.received_ms, pack.c.envelope)


class Batch(msgspec.Struct, frozen=True):
    """Lines of whole packs. through: the leaf of the last one. corrected: boots of which this batch tells corrections.

    waiting: leaves beyond `through`, 0 when no pack is among them. since_ms: when the first pack here was received.
    """

    through: int
    lines: list[str] = []
    packs: int = 0
    held_back: int = 0
    corrected: frozenset[BootKey] = frozenset()
    waiting: int = 0
    since_ms: int | None = None


class Place(msgspec.Struct, frozen=True):
    """Packs of a stream behind the number `after`, in which rows of a boot may be. silent: how many before had none."""

    gateway: str
    boot_id: bytes
    stream: bytes
    after: int
    silent: int = 0


def next_batch(conn: Connection, after: int) -> Batch:
    """The packs whose leaves follow `after` (-1: all), as many as a batch may hold."""
    query: Select[Any] = select(*_COLUMNS).where(pack.c.leaf_index > after).order_by(pack.c.leaf_index)
    rows = conn.execute(query.limit(PACKS_AT_ONCE)).all()
    opened: list[tuple[Row[Any], Pack]] = []
    packs = observations = 0
    through = after
    for row in rows:
        packs, through = packs + 1, row.leaf_index
        if row.envelope:  # else retention was faster
            opened.append((row, wire_pack.unseal(row.envelope)[1]))
            observations += opened[-1][1].count
        if observations >= LINES_AT_ONCE:
            break
    found = _lines(conn, opened)
    more = conn.scalar(select(pack.c.id).where(pack.c.leaf_index > through).limit(1)) is not None
    return Batch(
        through=through,
        lines=found.lines,
        packs=packs,
        held_back=found.held_back,
        corrected=frozenset((row.gateway, told.boot_id) for row, one in opened for told in one.corrections),
        waiting=log.head(conn).size - 1 - through if more else 0,
        since_ms=rows[0].received_ms if rows else None,
    )


def places_of(conn: Connection, corrected: Collection[BootKey]) -> list[Place]:
    """Where rows of these boots may have been held back."""
    places = []
    for gateway, boot_id in sorted(corrected):
        query = select(boot.c.stream, boot.c.first_seq).where(boot.c.gateway == gateway, boot.c.boot_id == boot_id)
        places += [Place(gateway, boot_id, row.stream, row.first_seq - 1) for row in conn.execute(query)]
    return places


def held_before(conn: Connection, place: Place, through: int) -> tuple[list[str], Place | None]:
    """Rows of a boot whose clock was never set and that have a time now, from some packs up to the leaf `through`.

    With it the place where to go on, None at the end.
    """
    query: Select[Any] = (
        select(*_COLUMNS, pack.c.seq)
        .where(pack.c.gateway == place.gateway, pack.c.stream == place.stream, pack.c.seq > place.after)
        .where(pack.c.leaf_index <= through, func.length(pack.c.envelope) > 0)
        .order_by(pack.c.seq)
        .limit(PACKS_AT_ONCE)
    )
    opened: list[tuple[Row[Any], Pack]] = []
    silent, following, observations = place.silent, None, 0
    for row in conn.execute(query).all():
        one = wire_pack.unseal(row.envelope)[1]
        silent = 0 if any(block.boot_id == place.boot_id for block in one.blocks) else silent + 1
        if silent == SILENT_PACKS:
            following = None
            break
        opened.append((row, one))
        observations += one.count
        following = msgspec.structs.replace(place, after=row.seq, silent=silent)
        if observations >= LINES_AT_ONCE:
            break
    return _lines(conn, opened, unset_of={place.boot_id}).lines, following


def _lines(
    conn: Connection, opened: Sequence[tuple[Row[Any], Pack]], unset_of: Collection[bytes] | None = None
) -> Lines:
    """All lines of these packs, each given with its row."""
    boots = {(row.gateway, block.boot_id) for row, one in opened for block in one.blocks}
    corrected = courses(conn, boots)
    carrying = [row.id for row, one in opened if one.carried_from]
    copies = left_out(conn, select(pack.c.id).where(pack.c.id.in_(carrying))) if carrying else {}
    lines: list[str] = []
    held_back = 0
    for row, one in opened:
        of_boots = {block.boot_id: corrected.get((row.gateway, block.boot_id), NOTHING) for block in one.blocks}
        without = copies.get(row.id)
        found = lines_of(one, of_boots, received_ms=row.received_ms, without=without, unset_of=unset_of)
        lines += found.lines
        held_back += found.held_back
    return Lines(lines, held_back)
