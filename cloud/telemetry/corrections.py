"""Corrections of gateways' clocks: kept as they were signed, and applied to what was stored before and comes later.

Called inside ingest's transaction. Invariant: whatever order packs arrive in, `tail` and `scan` show the same corrected
times, those of the corrections that count by wire.md §4.3 among the packs that are there. Believed times stay beside
them. An event that was captured from a scan is never edited; a scan that waited for its time (finding `clock_unset`) is
given to the scan follower again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, tuple_, update

from cloud.db.cursor import send_back
from cloud.db.tables import correction, pack, scan, scan_finding, series, tail
from cloud.telemetry.boots import BootKey, Stored, predecessors, record_boots
from cloud.telemetry.course import Course, Stretch, TimeCorrection, Told, rank
from cloud.telemetry.wall import wall_times
from wire.pack import Block

FUTURE_MS = 300_000  # a clock that is right to five minutes is the least a gateway must have
CLOCK_UNSET = "clock_unset"  # reason of a finding: this scan has no time that can be true
_KEYS_AT_ONCE = 400


def record(conn: Connection, stored: Sequence[Stored]) -> set[BootKey]:
    """Keep what these packs say of clocks; the boots whose earlier rows must be looked at again (`reproject`).

    Which streams they go on from must be stored before (declared.py).
    """
    record_boots(conn, stored)
    touched = _reordered(conn, stored)
    rows = [
        {
            "pack_id": one.id,
            "position": position,
            "gateway": one.pack.gateway,
            "stream": one.pack.stream,
            "seq": one.pack.seq,
            "boot_id": told.boot_id,
            "from_monotonic_ms": told.from_monotonic_ms,
            "to_monotonic_ms": told.to_monotonic_ms,
            "offset_ms": told.offset_ms,
            "uncertainty_ms": told.uncertainty_ms,
            "source": told.source,
        }
        for one in stored
        for position, told in enumerate(one.pack.corrections)
    ]
    if rows:
        conn.execute(insert(correction), rows)
    return touched | {(str(row["gateway"]), bytes(row["boot_id"])) for row in rows}  # type: ignore[call-overload]


def courses(conn: Connection, keys: Iterable[BootKey]) -> dict[BootKey, Course]:
    """What holds in each of these boots; boots that nobody corrected are left out."""
    wanted = sorted(set(keys))
    told: dict[BootKey, list[Told]] = {}
    streams: dict[str, dict[bytes, bytes]] = {}
    for at in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[at : at + _KEYS_AT_ONCE]
        for row in conn.execute(select(correction).where(tuple_(correction.c.gateway, correction.c.boot_id).in_(some))):
            if row.gateway not in streams:
                streams[row.gateway] = predecessors(conn, row.gateway)
            precedence = rank(row.stream, streams[row.gateway]), row.stream, row.seq, row.position
            counts = TimeCorrection(row.offset_ms, row.uncertainty_ms, row.source)
            one = Told(precedence, row.from_monotonic_ms, row.to_monotonic_ms, counts)
            told.setdefault((row.gateway, row.boot_id), []).append(one)
    return {key: Course(ones) for key, ones in told.items()}


def reproject(conn: Connection, touched: Iterable[BootKey]) -> None:
    """Bring what is stored of these boots up to the corrections that count now; what is right already stays."""
    for (gateway, boot_id), course in sorted(courses(conn, touched).items()):
        for stretch in course.stretches:
            _shift_tails(conn, gateway, boot_id, stretch)
            _shift_scans(conn, gateway, boot_id, stretch)
        _cut_tails(conn, gateway, boot_id, course)


def span(block: Block, course: Course, walls: Sequence[int]) -> tuple[int, int]:
    """First and last corrected time of a block; walls: its believed times."""
    if not course.stretches:
        return min(walls), max(walls)
    times, monotonic_ms = [], block.base_monotonic_ms
    for wall_ms, step_ms in zip(walls, block.dt_ms, strict=True):
        monotonic_ms += step_ms
        holds = course.at(monotonic_ms)
        times.append(wall_ms if holds is None else wall_ms + holds.offset_ms)
    return min(times), max(times)


def _reordered(conn: Connection, stored: Sequence[Stored]) -> set[BootKey]:
    """Boots with corrections of gateways that just said which stream goes on from which: it decides between them."""
    gateways = {one.pack.gateway for one in stored if one.pack.predecessor is not None}
    if not gateways:
        return set()
    known = select(correction.c.gateway, correction.c.boot_id).where(correction.c.gateway.in_(sorted(gateways)))
    return {(row.gateway, row.boot_id) for row in conn.execute(known.distinct())}


def _of_boot(gateway: str, boot_id: bytes) -> tuple[object, ...]:
    """Boot ids are random, but all gateways of a simulation may share one."""
    return tail.c.boot_id == boot_id, tail.c.series_id.in_(select(series.c.id).where(series.c.gateway == gateway))


def _shift_tails(conn: Connection, gateway: str, boot_id: bytes, stretch: Stretch) -> None:
    """Blocks that lie inside one stretch, in one statement."""
    offset_ms = stretch.correction.offset_ms
    received = select(pack.c.received_ms).where(pack.c.id == tail.c.pack_id).scalar_subquery()
    conn.execute(
        update(tail)
        .where(*_of_boot(gateway, boot_id))  # type: ignore[arg-type]
        .where(tail.c.from_monotonic_ms >= stretch.from_monotonic_ms)
        .where(tail.c.from_monotonic_ms <= stretch.to_monotonic_ms)
        .where(tail.c.to_monotonic_ms <= stretch.to_monotonic_ms)
        .where(
            (tail.c.from_ms != tail.c.believed_from_ms + offset_ms)
            | (tail.c.to_ms != tail.c.believed_to_ms + offset_ms)
        )
        .values(
            from_ms=tail.c.believed_from_ms + offset_ms,
            to_ms=tail.c.believed_to_ms + offset_ms,
            future=tail.c.believed_to_ms + offset_ms > received + FUTURE_MS,
        )
    )


def _cut_tails(conn: Connection, gateway: str, boot_id: bytes, course: Course) -> None:
    """Blocks that an edge of a stretch cuts: row by row."""
    edges = {stretch.from_monotonic_ms for stretch in course.stretches}
    edges |= {stretch.to_monotonic_ms + 1 for stretch in course.stretches}
    for edge in sorted(edges):
        cut = (
            select(tail.c.pack_id, tail.c.first_ordinal, tail.c.body, pack.c.received_ms)
            .join_from(tail, pack, pack.c.id == tail.c.pack_id)
            .where(*_of_boot(gateway, boot_id))  # type: ignore[arg-type]
            .where(tail.c.from_monotonic_ms < edge, tail.c.to_monotonic_ms >= edge)
        )
        for row in conn.execute(cut).all():
            block = msgspec.msgpack.decode(row.body, type=Block)
            from_ms, to_ms = span(block, course, wall_times(block))
            conn.execute(
                update(tail)
                .where(tail.c.pack_id == row.pack_id, tail.c.first_ordinal == row.first_ordinal)
                .values(from_ms=from_ms, to_ms=to_ms, future=to_ms > row.received_ms + FUTURE_MS)
            )


def _shift_scans(conn: Connection, gateway: str, boot_id: bytes, stretch: Stretch) -> None:
    covered = (
        scan.c.gateway == gateway,
        scan.c.boot_id == boot_id,
        scan.c.monotonic_ms.between(stretch.from_monotonic_ms, stretch.to_monotonic_ms),
    )
    offset_ms = stretch.correction.offset_ms
    conn.execute(
        update(scan)
        .where(*covered, scan.c.observed_ms != scan.c.believed_ms + offset_ms)
        .values(observed_ms=scan.c.believed_ms + offset_ms)
    )
    same = (scan.c.pack_id == scan_finding.c.pack_id) & (scan.c.ordinal == scan_finding.c.ordinal)
    waiting = (
        select(scan.c.pack_id, scan.c.ordinal, scan.c.place_stream, scan.c.place_seq)
        .join_from(scan, scan_finding, same)
        .where(*covered, scan_finding.c.reason.startswith(f"{CLOCK_UNSET}:"))
    )
    for row in conn.execute(waiting).all():
        found = scan_finding.c.pack_id == row.pack_id, scan_finding.c.ordinal == row.ordinal
        conn.execute(delete(scan_finding).where(*found))
        send_back(conn, gateway, row.place_stream, row.place_seq)
