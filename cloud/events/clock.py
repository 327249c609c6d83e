"""What is known of the time of a scan, and whether an event still says the time that its scan has by now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from cloud.db.names import named
from cloud.db.tables import pack, scan
from cloud.events.query import CapturedEvent
from cloud.events.rules import ScanClock
from cloud.instant import to_ms
from cloud.telemetry.boots import BootKey
from cloud.telemetry.bounds import Bounds, bounds
from cloud.telemetry.corrections import FUTURE_MS, courses
from wire.course import NOTHING
from wire.observation import ClockState

_AT_ONCE = 300
MOVED_MS = 1000  # corrected times are right to a second
UNCERTAIN_MS = 60_000  # unless their gateway says that they may be off by more


class EventClock(msgspec.Struct, frozen=True):
    """unset: nobody ever set the clock of the event's scan. moved_ms: what a correction after its capture adds.

    future: its scan claims to be from after its receipt (captured before such scans were held back).
    uncertainty_ms: how far off the correction of its scan may be.
    """

    event_id: str
    unset: bool
    moved_ms: int
    future: bool
    uncertainty_ms: int


def scan_clocks(conn: Connection, rows: Sequence[Row[Any]]) -> list[ScanClock]:
    """What is known of the times of these rows of `scan`, which carry the `received_ms` of their packs."""
    corrected = courses(conn, {(row.gateway, row.boot_id) for row in rows})
    around: dict[BootKey, Bounds] = {}
    found = []
    for row in rows:
        key = row.gateway, row.boot_id
        future = row.observed_ms > row.received_ms + FUTURE_MS
        correction = corrected.get(key, NOTHING).at(row.monotonic_ms)
        if row.clock != ClockState.UNSYNCED or correction is not None:
            uncertainty_ms = 0 if correction is None else correction.uncertainty_ms
            found.append(ScanClock(future=future, received_ms=row.received_ms, uncertainty_ms=uncertainty_ms))
            continue
        if key not in around:
            around[key] = bounds(conn, *key)
        possible = around[key].allow(row.observed_ms, row.monotonic_ms)
        near = around[key].agree(row.observed_ms, row.monotonic_ms)
        found.append(ScanClock(unset=True, future=future, possible=possible, near=near, received_ms=row.received_ms))
    return found


def event_clocks(conn: Connection, captured: Sequence[CapturedEvent]) -> list[EventClock]:
    """Those of these events whose time is in doubt or uncertain, or was corrected after they were captured."""
    scans = {_identity(one.origin): one for one in captured if one.origin.startswith("scan:")}
    names = sorted(scans)
    found = []
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        query = (
            select(scan, pack.c.received_ms)
            .join_from(pack, scan, scan.c.pack_id == pack.c.id)
            .where(named((name[:3] for name in some), pack.c.gateway, pack.c.stream, pack.c.seq))
            .order_by(pack.c.gateway, pack.c.stream, pack.c.seq, scan.c.ordinal)
        )
        rows = [
            row
            for row in conn.execute(query)
            if (row.gateway, row.stream, row.seq, row.ordinal) in scans  # a pack holds scans of other lots, too
        ]
        for row, clock in zip(rows, scan_clocks(conn, rows), strict=True):
            event = scans[row.gateway, row.stream, row.seq, row.ordinal]
            moved_ms = row.observed_ms - to_ms(event.event.event_time)
            uncertain = clock.uncertainty_ms > UNCERTAIN_MS
            if clock.unset or clock.future or uncertain or abs(moved_ms) > MOVED_MS:
                found.append(EventClock(event.event_id, clock.unset, moved_ms, clock.future, clock.uncertainty_ms))
    return found


def _identity(origin: str) -> tuple[str, bytes, int, int]:
    gateway, stream, seq, ordinal = origin.removeprefix("scan:").split("/")
    return gateway, bytes.fromhex(stream), int(seq), int(ordinal)
