"""Captured events: by id, of an item and of whatever it travelled in, the newest, and what does not add up."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, select

from cloud.db.tables import event, event_item, scan, scan_finding
from standards.epcis.json_form import parse_event
from standards.epcis.model import AggregationEvent, Event

_AT_ONCE = 500  # values in one IN list: SQLite takes 32,766, PostgreSQL plans short lists better
_TRACE_MAX = 10_000  # parents followed for one item; a chain that claims more is wrong or hostile


class CapturedEvent(msgspec.Struct, frozen=True):
    """An event with what the record adds. body: its bytes as text; leaf_index: in the ledger."""

    event_id: str
    event: Event
    body: str
    record_time_ms: int
    origin: str
    leaf_index: int

    @property
    def gateway(self) -> str | None:
        """The gateway whose scan this was; None for an event that came as a document."""
        kind, _, identity = self.origin.partition(":")
        return identity.partition("/")[0] if kind == "scan" else None


class ScanFinding(msgspec.Struct, frozen=True):
    """A scan that is not an event. reason: a code of events/rules.py; detail: what exactly."""

    pack_id: int
    ordinal: int
    code: str
    reason: str
    detail: str
    observed_ms: int
    gateway: str
    channel: str


def by_id(conn: Connection, event_id: str) -> CapturedEvent | None:
    """One event by its `eventID`."""
    row = conn.execute(select(event).where(event.c.event_id == event_id)).one_or_none()
    return None if row is None else _captured(row)


def recent(conn: Connection, limit: int = 50) -> list[CapturedEvent]:
    """The events that happened last, newest first."""
    query = select(event).order_by(event.c.event_time_ms.desc(), event.c.event_id).limit(limit)
    return [_captured(row) for row in conn.execute(query)]


def of_item(conn: Connection, item: str) -> list[CapturedEvent]:
    """The events of an item (a canonical Digital Link) and of every parent it was ever in, by time, then id.

    Events of a parent from before or after the item was inside are among them: who needs the item's own way follows
    them in order (evidence/stays.py).
    """
    found: dict[int, CapturedEvent] = {}
    known, fresh = {item}, {item}
    while fresh and len(known) <= _TRACE_MAX:
        parents: set[str] = set()
        for row in _mentioning(conn, fresh):
            captured = found.get(row.id) or _captured(row)
            found[row.id] = captured
            if isinstance(captured.event, AggregationEvent) and row.role in {"child", "class"}:
                parents.add(captured.event.parent_id or item)
        fresh = parents - known
        known |= fresh
    return sorted(found.values(), key=lambda one: (one.event.event_time, one.event_id))


def unbuilt_pallets(conn: Connection, limit: int = 100) -> list[str]:
    """Logistic units (SSCC) that were seen at a step although no event ever built them, by URI."""
    built = select(event_item.c.item).where(event_item.c.role == "parent")
    query = (
        select(event_item.c.item)
        .where(event_item.c.role == "epc", event_item.c.item.like("https://id.gs1.org/00/%"))
        .where(event_item.c.item.not_in(built))
        .distinct()
        .order_by(event_item.c.item)
        .limit(limit)
    )
    return list(conn.scalars(query))


def findings(conn: Connection, limit: int = 100) -> list[ScanFinding]:
    """The newest scans that are not events, newest first."""
    same = (scan.c.pack_id == scan_finding.c.pack_id) & (scan.c.ordinal == scan_finding.c.ordinal)
    query = (
        select(scan_finding, scan.c.gateway, scan.c.channel)
        .join_from(scan_finding, scan, same)
        .order_by(scan_finding.c.observed_ms.desc(), scan_finding.c.pack_id.desc(), scan_finding.c.ordinal.desc())
    )
    return [_finding(row) for row in conn.execute(query.limit(limit))]


def _mentioning(conn: Connection, names: Iterable[str]) -> list[Row[Any]]:
    rest = iter(sorted(names))
    rows: list[Row[Any]] = []
    while some := list(islice(rest, _AT_ONCE)):
        rows += conn.execute(_joined().where(event_item.c.item.in_(some))).all()
    return rows


def _joined() -> Select[Any]:
    return select(event, event_item.c.role).join_from(event_item, event, event.c.id == event_item.c.event_id)


def _captured(row: Row[Any]) -> CapturedEvent:
    return CapturedEvent(
        event_id=row.event_id,
        event=parse_event(msgspec.json.decode(row.body)),
        body=row.body,
        record_time_ms=row.record_time_ms,
        origin=row.origin,
        leaf_index=row.leaf_index,
    )


def _finding(row: Row[Any]) -> ScanFinding:
    reason, _, detail = row.reason.partition(": ")
    return ScanFinding(
        row.pack_id, row.ordinal, row.code, reason, detail, row.observed_ms, gateway=row.gateway, channel=row.channel
    )
