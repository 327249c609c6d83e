"""What the meaning of a pallet's scan depends on: cartons scanned before it, and whether it was just scanned already.

Both look at the same stream only, so that they don't depend on what other gateways have delivered by now: at the scans
that stand in it, in whatever pack they came (cloud/telemetry/place.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, select, tuple_

from cloud.db.cursor import advance, position, stream_part
from cloud.db.tables import event, event_item, pack, scan, scan_finding
from cloud.events.rules import BIZ_STEPS, REPEAT_WINDOW_MS, SeenScan, Step
from cloud.telemetry.declared import copies_of, is_among, left_out
from wire.event_id import event_id_of

_AT_ONCE = 500  # values in one IN list
_BEFORE_ALL = (0, -1)
_SCAN_ORIGIN = re.compile(r"scan:(?P<gateway>[^/]+)/(?P<stream>[0-9a-f]+)/(?P<seq>\d+)/(?P<ordinal>\d+)")


def origin_of(seen: SeenScan) -> str:
    """How an event names the scan it came from."""
    return f"scan:{stream_part(seen.gateway, seen.stream)}/{seen.seq}/{seen.ordinal}"


def open_cartons(conn: Connection, seen: SeenScan) -> dict[str, int]:
    """Lot URI → cartons scanned on this channel and stream since the last pallet was closed, before this scan."""
    closed = _closed_before(conn, seen)
    rows = conn.execute(_line_of(seen).where(closed < _AT, _at(seen) > _AT)).all()
    return dict(Counter(row.item for some in _some(map(_event_id, rows)) for row in conn.execute(_lots_of(some))))


def close_pallet(conn: Connection, seen: SeenScan) -> None:
    """Note that this scan closed a pallet: the next one begins after it."""
    advance(conn, "pallets", f"{_line(seen)}/seq", seen.place.seq)
    advance(conn, "pallets", f"{_line(seen)}/position", seen.place.position)


def counts_elsewhere(conn: Connection, seen: SeenScan) -> bool:
    """Whether a scan is a copy whose original is in the record, or the original of a copy that was worked through.

    A scan and its carried copies become one event: of whichever was worked through first, the original otherwise.
    """
    own = left_out(conn, select(pack.c.id).where(pack.c.id == seen.pack_id))
    if is_among(seen.ordinal, own.get(seen.pack_id)):
        return True
    ids = [_event_id(row) for row in _copies(conn, seen)]
    return bool(ids) and conn.scalar(select(event.c.id).where(event.c.event_id.in_(ids)).limit(1)) is not None


def forget_findings_of_copies(conn: Connection, seen: SeenScan) -> None:
    """Take back what was found about copies of this scan before it came: it is judged itself now, and once."""
    for row in _copies(conn, seen):
        copy = (scan_finding.c.pack_id == row.pack_id, scan_finding.c.ordinal == row.ordinal)
        conn.execute(delete(scan_finding).where(*copy))


def _copies(conn: Connection, seen: SeenScan) -> list[Row[Any]]:
    """The copies of a scan in the record."""
    found: list[Row[Any]] = []
    for pack_id, (first, end) in copies_of(conn, seen.pack_id):
        same = select(scan).where(
            scan.c.pack_id == pack_id,
            scan.c.ordinal.between(first, end - 1),
            scan.c.channel == seen.channel,
            scan.c.code == seen.code,
            scan.c.observed_ms == seen.observed_ms,
        )
        found += conn.execute(same)
    return found


def is_repeated(conn: Connection, seen: SeenScan, pallet: str, step: Step, *, before: bool) -> bool:
    """Whether this pallet became an event of this step and place within the repeat window.

    before: only by a scan that stands before this one; otherwise by one that stands behind it, too, and came earlier.
    """
    query = (
        select(event.c.body, event.c.origin)
        .join_from(event_item, event, event.c.id == event_item.c.event_id)
        .where(event_item.c.item == pallet, event_item.c.role.in_(("epc", "parent")))
        .where(event.c.event_time_ms.between(seen.observed_ms - REPEAT_WINDOW_MS, seen.observed_ms + REPEAT_WINDOW_MS))
    )
    for row in conn.execute(query):
        told = msgspec.json.decode(row.body, type=_Told)
        same = (told.biz_step, told.read_point.id) == (BIZ_STEPS[step.name], step.place)
        stands_at = _place(conn, row.origin, seen) if same else None
        if stands_at is not None and (not before or stands_at < _at(seen)):
            return True
    return False


class _Place(msgspec.Struct, frozen=True):
    id: str


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    """The parts of a captured event that a repeat shares."""

    biz_step: str = ""
    read_point: _Place = _Place("")


_AT = tuple_(scan.c.place_seq, scan.c.place_position)


def _at(seen: SeenScan) -> tuple[int, int]:
    return seen.place.seq, seen.place.position


def _line(seen: SeenScan) -> str:
    return f"{stream_part(seen.gateway, seen.place.stream)}/{seen.channel}"


def _place(conn: Connection, origin: str, seen: SeenScan) -> tuple[int, int] | None:
    """Where the scan of an event stands in the stream of this one; None in another stream."""
    named = _SCAN_ORIGIN.fullmatch(origin)
    if named is None or named["gateway"] != seen.gateway:
        return None
    theirs = (
        select(scan.c.place_seq, scan.c.place_position)
        .join_from(pack, scan, scan.c.pack_id == pack.c.id)
        .where(pack.c.gateway == seen.gateway, pack.c.stream == bytes.fromhex(named["stream"]))
        .where(pack.c.seq == int(named["seq"]), scan.c.ordinal == int(named["ordinal"]))
        .where(scan.c.place_stream == seen.place.stream)
    )
    row = conn.execute(theirs).first()
    return None if row is None else (row.place_seq, row.place_position)


def _closed_before(conn: Connection, seen: SeenScan) -> tuple[int, int]:
    """Where the last pallet before this scan was closed; before everything when there was none.

    What is remembered is of the last pallet that was worked through, which is beyond a scan that came late.
    """
    seq = position(conn, "pallets", f"{_line(seen)}/seq")
    at = position(conn, "pallets", f"{_line(seen)}/position")
    if seq is not None and at is not None and (seq, at) < _at(seen):
        return seq, at
    before = _at(seen)
    newest_first = _line_of(seen).order_by(scan.c.place_seq.desc(), scan.c.place_position.desc()).limit(_AT_ONCE)
    while rows := conn.execute(newest_first.where(before > _AT)).all():
        ids = [_event_id(row) for row in rows]
        closing = select(event.c.event_id).where(event.c.event_id.in_(ids), event.c.type == "AggregationEvent")
        closed = set(conn.scalars(closing))
        for row, id_ in zip(rows, ids, strict=True):
            if id_ in closed:
                return row.place_seq, row.place_position
        before = rows[-1].place_seq, rows[-1].place_position
    return _BEFORE_ALL


def _line_of(seen: SeenScan) -> Select[Any]:
    """Scans of this channel that stand in this stream."""
    return select(scan).where(
        scan.c.gateway == seen.gateway, scan.c.place_stream == seen.place.stream, scan.c.channel == seen.channel
    )


def _event_id(row: Row[Any]) -> str:
    return event_id_of(row.gateway, row.stream, row.seq, row.ordinal)


def _lots_of(event_ids: list[str]) -> Select[tuple[str]]:
    """The lot of every carton event among these; an event of a pallet that repeats here speaks of no loose carton."""
    return (
        select(event_item.c.item)
        .join_from(event_item, event, event.c.id == event_item.c.event_id)
        .where(event.c.event_id.in_(event_ids), event.c.type == "ObjectEvent", event_item.c.role == "class")
    )


def _some(values: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(values)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
