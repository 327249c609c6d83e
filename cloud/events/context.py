"""What the meaning of a pallet's scan depends on: cartons scanned before it, and whether it was just scanned already.

Both look at the same stream only, so that they don't depend on what other gateways have delivered by now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import msgspec
from sqlalchemy import Connection, Select, select, tuple_

from cloud.db.cursor import advance, position, stream_part
from cloud.db.tables import event, event_item, pack, scan
from cloud.events.rules import BIZ_STEPS, REPEAT_WINDOW_MS, SeenScan, Step, event_id
from cloud.telemetry.declared import copies_of, is_among, left_out

_AT_ONCE = 500  # values in one IN list


def origin_of(seen: SeenScan) -> str:
    """How an event names the scan it came from."""
    return f"{_stream_origin(seen)}{seen.seq}/{seen.ordinal}"


def open_cartons(conn: Connection, seen: SeenScan) -> dict[str, int]:
    """Lot URI → cartons scanned on this channel and stream since the last pallet was closed, before this scan."""
    closed = _closed_at(conn, seen)
    scans = conn.execute(_between(seen, closed)).all()
    ids = [event_id(_named(seen, row.seq, row.ordinal)) for row in scans]
    return dict(Counter(row.item for some in _some(ids) for row in conn.execute(_lots_of(some))))


def close_pallet(conn: Connection, seen: SeenScan) -> None:
    """Note that this scan closed a pallet: the next one begins after it."""
    advance(conn, "pallets", f"{_line(seen)}/seq", seen.seq)
    advance(conn, "pallets", f"{_line(seen)}/ordinal", seen.ordinal)


def counts_elsewhere(conn: Connection, seen: SeenScan) -> bool:
    """Whether a scan is a copy whose original is in the record, or the original of a copy that was worked through.

    A scan and its carried copies become one event: of whichever was worked through first, the original otherwise.
    """
    own = left_out(conn, select(pack.c.id).where(pack.c.id == seen.pack_id))
    if is_among(seen.ordinal, own.get(seen.pack_id)):
        return True
    for pack_id, (first, end) in copies_of(conn, seen.pack_id):
        same = select(scan).where(
            scan.c.pack_id == pack_id,
            scan.c.ordinal.between(first, end - 1),
            scan.c.channel == seen.channel,
            scan.c.code == seen.code,
            scan.c.observed_ms == seen.observed_ms,
        )
        ids = [
            event_id(replace(seen, stream=row.stream, seq=row.seq, ordinal=row.ordinal)) for row in conn.execute(same)
        ]
        if conn.scalar(select(event.c.id).where(event.c.event_id.in_(ids)).limit(1)) is not None:
            return True
    return False


def is_repeated(conn: Connection, seen: SeenScan, pallet: str, step: Step) -> bool:
    """Whether this pallet became an event of this step and place within the repeat window."""
    query = (
        select(event.c.body, event.c.origin)
        .join_from(event_item, event, event.c.id == event_item.c.event_id)
        .where(event_item.c.item == pallet, event_item.c.role.in_(("epc", "parent")))
        .where(event.c.event_time_ms.between(seen.observed_ms - REPEAT_WINDOW_MS, seen.observed_ms + REPEAT_WINDOW_MS))
    )
    for row in conn.execute(query):
        told = msgspec.json.decode(row.body, type=_Told)
        same = (told.biz_step, told.read_point.id) == (BIZ_STEPS[step.name], step.place)
        if same and row.origin.startswith(_stream_origin(seen)):
            return True
    return False


class _Place(msgspec.Struct, frozen=True):
    id: str


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    """The parts of a captured event that a repeat shares."""

    biz_step: str = ""
    read_point: _Place = _Place("")


def _stream_origin(seen: SeenScan) -> str:
    return f"scan:{stream_part(seen.gateway, seen.stream)}/"


def _line(seen: SeenScan) -> str:
    return f"{stream_part(seen.gateway, seen.stream)}/{seen.channel}"


def _closed_at(conn: Connection, seen: SeenScan) -> tuple[int, int]:
    """(seq, ordinal) of the scan that closed the last pallet; before everything when there was none."""
    seq = position(conn, "pallets", f"{_line(seen)}/seq")
    ordinal = position(conn, "pallets", f"{_line(seen)}/ordinal")
    return (0, -1) if seq is None or ordinal is None else (seq, ordinal)


def _between(seen: SeenScan, closed: tuple[int, int]) -> Select[tuple[int, int]]:
    """Identities after `closed` and before this scan; by way of the packs, whose index is on the stream's seqs."""
    place = tuple_(pack.c.seq, scan.c.ordinal)
    return (
        select(pack.c.seq, scan.c.ordinal)
        .join_from(pack, scan, scan.c.pack_id == pack.c.id)
        .where(pack.c.gateway == seen.gateway, pack.c.stream == seen.stream)
        .where(pack.c.seq >= closed[0], pack.c.seq <= seen.seq, scan.c.channel == seen.channel)
        .where(place > closed, place < (seen.seq, seen.ordinal))
    )


def _lots_of(event_ids: list[str]) -> Select[tuple[str]]:
    """The lot of every carton event among these; an event of a pallet that repeats here speaks of no loose carton."""
    return (
        select(event_item.c.item)
        .join_from(event_item, event, event.c.id == event_item.c.event_id)
        .where(event.c.event_id.in_(event_ids), event.c.type == "ObjectEvent", event_item.c.role == "class")
    )


def _named(seen: SeenScan, seq: int, ordinal: int) -> SeenScan:
    return SeenScan(seen.gateway, seen.stream, seq, ordinal, 0, seen.channel, "", "", 0, 0)


def _some(values: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
