"""The follower that turns stored scans into events: pack after pack, once each, whatever stops it.

Scans are worked through per (gateway, stream) in the order of their places (cloud/telemetry/place.py), and only up to
where the stream is settled: a later scan waits for earlier packs, so that the events don't depend on the order in which
packs arrived, nor on which scans a gateway under disk pressure moved into newer packs. A batch of packs, its
events, findings and the cursor are one transaction: a kill repeats a batch or doesn't, and never halves it. A pack
that was declared lost and came nevertheless, and one whose scans stand where we have been, send the cursor back (ingest
does it): what was worked through is known by its event or finding, and stays as it is.

Where a pallet begins is remembered per channel and stream as well. A pallet begun in one stream is not finished in
another: streams have no order between them.

An event gets the corrected time of its scan. A scan whose clock nobody had set waits CORRECTION_WAIT_MS after its
receipt for a correction, and what follows it in the stream waits with it, unless it says about the time of its receipt;
so does one that claims to be from after its receipt. After that it becomes an event at the time it says, which evidence
remarks, or, where it cannot have been then, a finding: `clock_unset`, or `from_future`, also when that time has come. A
correction that comes later still makes that one an event (cloud/telemetry/corrections.py). An event that was captured
is never edited: a correction that comes after it is remarked in the evidence.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from sqlalchemy import Connection, Engine, and_, bindparam, func, insert, literal, select, tuple_

from cloud.clock import Now
from cloud.db.bulk import put_rows
from cloud.db.cursor import advance, position, positions, stream_part
from cloud.db.engine import reading, writing
from cloud.db.tables import cursor, pack, scan, scan_finding, settled
from cloud.events.capture import capture, kind_of
from cloud.events.clock import scan_clocks
from cloud.events.context import (
    close_pallet,
    counts_elsewhere,
    forget_findings_of_copies,
    is_repeated,
    open_cartons,
    origin_of,
)
from cloud.events.rules import (
    TIME_ZONE_OFFSET,
    Carton,
    Finding,
    SeenScan,
    Step,
    event_id,
    judge_apart,
    judge_carton,
    judge_pallet,
    read_label,
)
from cloud.registry import query as registry
from cloud.telemetry.corrections import CLOCK_UNSET, FROM_FUTURE
from cloud.telemetry.place import Place
from standards.epcis.model import AggregationEvent, Event
from standards.gs1 import digital_link
from wire.observation import Quality

_log = logging.getLogger(__name__)

FOLLOWER = "scans"
CARRIED_COPY = "carried_copy"
# Both bound how long one transaction holds the write lock: about half a second.
PACKS_AT_ONCE = 500
SCANS_AT_ONCE = 200
CORRECTION_WAIT_MS = 900_000  # NTP after ten minutes, and its correction on the way


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream with work: settled through `through`, worked through up to and with `done`."""

    gateway: str
    stream: bytes
    done: int
    through: int

    @property
    def part(self) -> str:
        return stream_part(self.gateway, self.stream)


class _Position(NamedTuple):
    """A scan of a stream, by the number and the position where it stands; position _END: the last one there.

    A scan and its copies stand at the same place; the pack tells them apart.
    """

    seq: int
    position: int
    pack_id: int = 0


_END = 2**31 - 1


class ScanFollower:
    """Works through scans; one at a time per database is meant to run, two at once do no harm."""

    def __init__(self, engine: Engine, now: Now, *, zone: str = TIME_ZONE_OFFSET) -> None:
        """zone: the offset from UTC where the read points stand, as EPCIS writes it."""
        self._engine = engine
        self._now = now
        self._zone = zone

    def run_once(self, stop: threading.Event | None = None) -> int:
        """Work through every scan that can be; returns how many that were. Raises DatabaseUnavailable.

        stop: once it is set, the batch in hand is the last one.
        """
        stop = stop or threading.Event()
        with reading(self._engine) as conn:
            waiting = _waiting(conn)
        return sum(self._work_through(stream, stop) for stream in self._pass_over(waiting))

    def _pass_over(self, streams: Sequence[_Stream]) -> list[_Stream]:
        """Be done with packs without scans, all in one transaction: most packs of most gateways are such. The rest."""
        if not streams:
            return []
        with writing(self._engine) as conn:
            scanning = [one for one in streams if _has_scans(conn, one)]
            stands_at = positions(conn, FOLLOWER)
            quiet = [one for one in streams if one not in scanning and stands_at.get(one.part, 0) == one.done]
            put_rows(conn, cursor, [(FOLLOWER, one.part, one.through) for one in quiet])
        return scanning

    def _work_through(self, stream: _Stream, stop: threading.Event) -> int:
        processed, done = 0, stream.done
        after = _Position(done, _END)
        while done < stream.through and not stop.is_set():
            with writing(self._engine) as conn:
                stands_at = position(conn, FOLLOWER, stream.part) or 0
                if stands_at != done:  # somebody else has been here, or a late pack sends us back
                    after = _Position(stands_at, _END)
                last = _last_of_batch(conn, stream, after.seq)
                batch = _scans(conn, stream, after, last)
                ready = list(takewhile(self._has_its_time, batch))
                for seen in ready:
                    self._take(conn, seen)
                processed += len(ready)
                if len(ready) < len(batch):
                    advance(conn, FOLLOWER, stream.part, max(done, batch[len(ready)].place.seq - 1))
                    break
                after = _Position(last, _END) if len(batch) < SCANS_AT_ONCE else _position(batch[-1])
                done = after.seq if after.position == _END else after.seq - 1  # a seq is done when its last scan is
                advance(conn, FOLLOWER, stream.part, done)
        return processed

    def _has_its_time(self, seen: SeenScan) -> bool:
        clock = seen.clock
        wrong = clock.future or (clock.unset and not clock.near)
        return not wrong or self._now() - clock.received_ms >= CORRECTION_WAIT_MS

    def _take(self, conn: Connection, seen: SeenScan) -> None:
        known = kind_of(conn, event_id(seen))
        outcome = self._judge(conn, seen) if known is None and not _has_finding(conn, seen) else None
        if outcome is not None and not (isinstance(outcome, Finding) and outcome.reason == CARRIED_COPY):
            forget_findings_of_copies(conn, seen)
        if isinstance(outcome, Finding):
            _log.info("scan %s is no event: %s", origin_of(seen), outcome.reason)
            _keep(conn, seen, outcome)
        elif outcome is not None:
            capture(conn, outcome, origin=origin_of(seen), now_ms=self._now())
        if AggregationEvent.__name__ in {known, type(outcome).__name__}:
            close_pallet(conn, seen)

    def _judge(self, conn: Connection, seen: SeenScan) -> Event | Finding:
        if counts_elsewhere(conn, seen):
            return Finding(CARRIED_COPY, "the same scan counts in the pack it was carried from or to")
        if seen.quality == Quality.TEST:
            return Finding("test_scan", "made to try the installation")
        if seen.clock.unset and not seen.clock.possible:
            return Finding(CLOCK_UNSET, f"nobody had set the clock of {seen.gateway}, which said {seen.observed_ms} ms")
        if seen.clock.future:
            return Finding(FROM_FUTURE, f"{seen.gateway} said {seen.observed_ms} ms, after its receipt")
        point = registry.read_point(conn, seen.gateway, seen.channel)
        if point is None:
            return _without_read_point(conn, seen)
        label = read_label(seen.code, seen.symbology)
        if isinstance(label, Finding):
            return label
        step = Step(point.step, digital_link.place(point.place))
        if isinstance(label, Carton):
            known = registry.product(conn, label.gtin) is not None
            return judge_carton(seen, label, step, known_product=known, zone=self._zone)
        cartons = open_cartons(conn, seen) if point.step == "pack" else {}
        return judge_pallet(
            seen,
            label,
            step,
            open_cartons=cartons,
            # With nothing to pack, only a scan before it makes a pallet's scan a repeat; else it is an empty pallet.
            repeated=is_repeated(conn, seen, label.uri, step, before=point.step == "pack" and not cartons),
            zone=self._zone,
        )


def _without_read_point(conn: Connection, seen: SeenScan) -> Finding:
    known, _, part = seen.channel.rpartition(".")
    if known and registry.read_point(conn, seen.gateway, known) is not None:
        return judge_apart(part, seen.code, seen.symbology)
    return Finding("unknown_read_point", f"{seen.gateway} {seen.channel} is not in the registry")


def _waiting(conn: Connection) -> list[_Stream]:
    """Streams that are settled further than they are worked through, in a fixed order.

    Never beyond the highest pack or scan there is: a loss with unknown end settles all that follows, and yet a pack of
    the declared part may turn up with a card that was thought dead.
    """
    done = positions(conn, FOLLOWER)
    packs = select(func.max(pack.c.seq)).where(pack.c.gateway == settled.c.gateway, pack.c.stream == settled.c.stream)
    moved = select(func.max(scan.c.place_seq)).where(
        scan.c.gateway == settled.c.gateway, scan.c.place_stream == settled.c.stream
    )
    rows = conn.execute(
        select(settled, packs.scalar_subquery().label("highest_pack"), moved.scalar_subquery().label("highest_scan"))
        .where(settled.c.first_seq == 1)
        .order_by(settled.c.gateway, settled.c.stream)
    )
    streams = [
        _Stream(row.gateway, row.stream, 0, min(row.last_seq, max(row.highest_pack or 0, row.highest_scan or 0)))
        for row in rows
    ]
    streams = [_Stream(one.gateway, one.stream, done.get(one.part, 0), one.through) for one in streams]
    return [one for one in streams if one.done < one.through]


def _has_scans(conn: Connection, stream: _Stream) -> bool:
    """Whether a scan stands in what is to be worked through."""
    here = {"of": stream.gateway, "in": stream.stream, "done": stream.done, "through": stream.through}
    return conn.scalar(_A_SCAN, here) is not None


_A_SCAN = (
    select(scan.c.pack_id)
    .where(scan.c.gateway == bindparam("of"), scan.c.place_stream == bindparam("in"))
    .where(scan.c.place_seq > bindparam("done"), scan.c.place_seq <= bindparam("through"))
    .limit(1)
)


def _last_of_batch(conn: Connection, stream: _Stream, done: int) -> int:
    """The last seq of the next batch; seqs that were declared lost have no pack and are stepped over."""
    query = (
        select(pack.c.seq)
        .where(pack.c.gateway == stream.gateway, pack.c.stream == stream.stream)
        .where(pack.c.seq > done, pack.c.seq <= stream.through)
        .order_by(pack.c.seq)
        .offset(PACKS_AT_ONCE - 1)
        .limit(1)
    )
    found = conn.scalar(query)
    return stream.through if found is None else found


def _position(seen: SeenScan) -> _Position:
    return _Position(seen.place.seq, seen.place.position, seen.pack_id)


def _scans(conn: Connection, stream: _Stream, after: _Position, last: int) -> list[SeenScan]:
    place = scan.c.place_seq, scan.c.place_position, scan.c.pack_id
    query = (
        select(scan, pack.c.received_ms)
        .join_from(scan, pack, scan.c.pack_id == pack.c.id)
        .where(scan.c.gateway == stream.gateway, scan.c.place_stream == stream.stream)
        .where(scan.c.place_seq >= after.seq, scan.c.place_seq <= last, tuple_(*place) > after)
        .order_by(*place)
        .limit(SCANS_AT_ONCE)
    )
    rows = conn.execute(query).all()
    clocks = scan_clocks(conn, rows)
    return [
        SeenScan(
            gateway=row.gateway,
            stream=row.stream,
            seq=row.seq,
            ordinal=row.ordinal,
            pack_id=row.pack_id,
            channel=row.channel,
            code=row.code,
            symbology=row.symbology,
            observed_ms=row.observed_ms,
            quality=row.quality,
            place=Place(row.place_stream, row.place_seq, row.place_position),
            clock=clock,
        )
        for row, clock in zip(rows, clocks, strict=True)
    ]


def _has_finding(conn: Connection, seen: SeenScan) -> bool:
    there = and_(scan_finding.c.pack_id == seen.pack_id, scan_finding.c.ordinal == seen.ordinal)
    return conn.scalar(select(literal(1)).where(there)) is not None


def _keep(conn: Connection, seen: SeenScan, finding: Finding) -> None:
    row = {"pack_id": seen.pack_id, "ordinal": seen.ordinal, "code": seen.code, "observed_ms": seen.observed_ms}
    conn.execute(insert(scan_finding).values(row | {"reason": f"{finding.reason}: {finding.detail}"}))
