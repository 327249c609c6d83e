"""Corrections of gateways' clocks: kept as they were signed, and applied to what was stored before and comes later.

Called inside ingest's transaction. Invariant: whatever order packs arrive in, `tail` and `scan` show the same corrected
times, those of the corrections that count by wire.md §4.3 among the packs that are there. Believed times stay beside
them. Chunks are only marked as stale, in one statement per boot, with a span that holds all they can be corrected to;
the compactor describes them anew. An event that was captured from a scan is never edited; a scan that waited for its
time (findings `clock_unset`, `from_future`) is given to the scan follower again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, func, insert, or_, select, tuple_, update

from cloud.db.cursor import send_back
from cloud.db.tables import chunk, correction, pack, scan, scan_finding, series, tail
from cloud.telemetry.boots import BootKey, Stored, predecessors, record_boots
from cloud.telemetry.wall import wall_times
from wire.course import NOTHING, Course, Stretch, TimeCorrection, Told, changes, ranks
from wire.pack import Block

FUTURE_MS = 300_000  # a clock that is right to five minutes is the least a gateway must have
# Reasons of findings: this scan has no time that can be true, as long as no correction gives it one.
CLOCK_UNSET = "clock_unset"
FROM_FUTURE = "from_future"
#: Of one boot; a gateway's clock has 128 regimes, each mended by 16 corrections at most, and may be mended anew.
CORRECTIONS_MAX = 4 * 128 * 16
_KEYS_AT_ONCE = 400

PackName = tuple[str, bytes, int]  # gateway, stream, seq


class Recorded(msgspec.Struct, frozen=True):
    """before: what held until now in the boots whose earlier rows must be looked at again (`reproject`).

    exceeding: the packs of which corrections count for nothing, because their boot has too many.
    """

    before: Mapping[BootKey, Course]
    exceeding: set[PackName]


def record(conn: Connection, stored: Sequence[Stored]) -> Recorded:
    """Keep what these packs say of clocks. Which streams they go on from must be stored before (declared.py)."""
    record_boots(conn, stored)
    told = {(one.pack.gateway, of.boot_id) for one in stored for of in one.pack.corrections}
    touched = _reordered(conn, stored) | told
    known = courses(conn, touched, without={one.id for one in stored})
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
    return Recorded({key: known.get(key, NOTHING) for key in touched}, _bound(conn, told))


def courses(conn: Connection, keys: Iterable[BootKey], without: Container[int] = ()) -> dict[BootKey, Course]:
    """What holds in each of these boots; boots that nobody corrected are left out.

    without: ids of packs whose word on which stream goes on from which does not count.
    """
    wanted = sorted(set(keys))
    told: dict[BootKey, list[Told]] = {}
    ranked: dict[str, dict[bytes, int]] = {}
    for at in range(0, len(wanted), _KEYS_AT_ONCE):
        some = wanted[at : at + _KEYS_AT_ONCE]
        of_these = tuple_(correction.c.gateway, correction.c.boot_id).in_(some)
        rows = conn.execute(select(correction).where(of_these)).all()
        for gateway in {row.gateway for row in rows}:
            links = predecessors(conn, gateway, without)
            ranked[gateway] = ranks({row.stream for row in rows if row.gateway == gateway}, links)
        for row in rows:
            precedence = ranked[row.gateway][row.stream], row.stream, row.seq, row.position
            counts = TimeCorrection(row.offset_ms, row.uncertainty_ms, row.source)
            one = Told(precedence, row.from_monotonic_ms, row.to_monotonic_ms, counts)
            told.setdefault((row.gateway, row.boot_id), []).append(one)
    return {key: Course(ones) for key, ones in told.items()}


def reproject(conn: Connection, before: Mapping[BootKey, Course], now: Mapping[BootKey, Course]) -> None:
    """Bring what is stored of boots up to what holds now, in the stretches where something else held before."""
    for key in sorted(before):
        course = now.get(key, NOTHING)
        changed = changes(before[key], course)
        if changed:
            _reproject_tails(conn, *key, course, changed)
            _spoil_chunks(conn, *key, course, changed)
            _reproject_scans(conn, *key, changed)


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


def _bound(conn: Connection, keys: Iterable[BootKey]) -> set[PackName]:
    """Keep those of the highest seqs: which ones these are no order of arrival changes. The packs that lost some."""
    c, wanted = correction.c, sorted(keys)
    exceeding: set[PackName] = set()
    for at in range(0, len(wanted), _KEYS_AT_ONCE):
        of_these = tuple_(c.gateway, c.boot_id).in_(wanted[at : at + _KEYS_AT_ONCE])
        boots = select(c.gateway, c.boot_id).where(of_these).group_by(c.gateway, c.boot_id)
        for gateway, boot_id in conn.execute(boots.having(func.count() > CORRECTIONS_MAX)).all():
            newest_first = (
                select(c.pack_id, c.position, c.stream, c.seq)
                .where(c.gateway == gateway, c.boot_id == boot_id)
                .order_by(c.seq.desc(), c.stream.desc(), c.position.desc())
            )
            beyond = conn.execute(newest_first.offset(CORRECTIONS_MAX)).all()
            one = delete(correction).where(c.pack_id == bindparam("of"), c.position == bindparam("at"))
            conn.execute(one, [{"of": row.pack_id, "at": row.position} for row in beyond])
            exceeding |= {(gateway, row.stream, row.seq) for row in beyond}
    return exceeding


def _of_boot(gateway: str, boot_id: bytes, table: Table = tail) -> tuple[object, ...]:
    """Boot ids are random, but all gateways of a simulation may share one."""
    return table.c.boot_id == boot_id, table.c.series_id.in_(select(series.c.id).where(series.c.gateway == gateway))


def _spoil_chunks(conn: Connection, gateway: str, boot_id: bytes, course: Course, changed: Sequence[Stretch]) -> None:
    """Chunks are many and hold many rows: ingest only says that they must be described anew."""
    offsets = [0, *(stretch.correction.offset_ms for stretch in course.stretches)]
    conn.execute(
        update(chunk)
        .where(*_of_boot(gateway, boot_id, chunk))  # type: ignore[arg-type]
        .where(chunk.c.from_monotonic_ms <= changed[-1].to_monotonic_ms)
        .where(chunk.c.to_monotonic_ms >= changed[0].from_monotonic_ms)
        .values(
            stale=True,
            hours=None,
            from_ms=chunk.c.believed_from_ms + min(offsets),
            to_ms=chunk.c.believed_to_ms + max(offsets),
        )
    )


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


def _reproject_tails(
    conn: Connection, gateway: str, boot_id: bytes, course: Course, changed: Sequence[Stretch]
) -> None:
    """What lies inside a changed stretch by one statement for each that holds any; what an edge cuts row by row."""
    begins = [stretch.from_monotonic_ms for stretch in changed]
    edges = sorted({*begins, *(stretch.to_monotonic_ms + 1 for stretch in changed)})
    around = (
        select(tail.c.pack_id, tail.c.first_ordinal, tail.c.from_monotonic_ms, tail.c.to_monotonic_ms)
        .where(*_of_boot(gateway, boot_id))  # type: ignore[arg-type]
        .where(tail.c.from_monotonic_ms < edges[-1], tail.c.to_monotonic_ms >= edges[0])
    )
    cut, inside = [], set()
    for pack_id, first_ordinal, from_monotonic_ms, to_monotonic_ms in conn.execute(around):
        if edges[bisect_right(edges, from_monotonic_ms)] <= to_monotonic_ms:  # it begins below the last edge
            cut.append((pack_id, first_ordinal))
        else:
            inside.add(bisect_right(begins, from_monotonic_ms) - 1)
    for at in sorted(inside):
        _shift_tails(conn, gateway, boot_id, changed[at])
    for pack_id, first_ordinal in cut:
        _measure_again(conn, pack_id, first_ordinal, course)


def _measure_again(conn: Connection, pack_id: int, first_ordinal: int, course: Course) -> None:
    here = (tail.c.pack_id == pack_id, tail.c.first_ordinal == first_ordinal)
    stored = select(tail.c.body, pack.c.received_ms).join_from(tail, pack, pack.c.id == tail.c.pack_id)
    body, received_ms = conn.execute(stored.where(*here)).one()
    block = msgspec.msgpack.decode(body, type=Block)
    from_ms, to_ms = span(block, course, wall_times(block))
    future = to_ms > received_ms + FUTURE_MS
    conn.execute(update(tail).where(*here).values(from_ms=from_ms, to_ms=to_ms, future=future))


def _reproject_scans(conn: Connection, gateway: str, boot_id: bytes, changed: Sequence[Stretch]) -> None:
    begins = [stretch.from_monotonic_ms for stretch in changed]
    seen = select(scan.c.monotonic_ms).where(
        scan.c.gateway == gateway,
        scan.c.boot_id == boot_id,
        scan.c.monotonic_ms.between(begins[0], changed[-1].to_monotonic_ms),
    )
    for at in sorted({bisect_right(begins, monotonic_ms) - 1 for monotonic_ms in conn.scalars(seen)}):
        _shift_scans(conn, gateway, boot_id, changed[at])


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
        .where(*covered)
        .where(or_(*(scan_finding.c.reason.startswith(f"{reason}:") for reason in (CLOCK_UNSET, FROM_FUTURE))))
    )
    for row in conn.execute(waiting).all():
        found = scan_finding.c.pack_id == row.pack_id, scan_finding.c.ordinal == row.ordinal
        conn.execute(delete(scan_finding).where(*found))
        send_back(conn, gateway, row.place_stream, row.place_seq)
