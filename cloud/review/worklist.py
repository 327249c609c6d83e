"""The officials' list: every lot with its verdict and review state, those that need a look first.

The order needs the verdict of every lot, and a verdict takes some milliseconds per 10,000 readings. So the lines are
kept as they were last computed, by a chore (`WorklistKeeper`), and the list takes them from there; a lot without a line
is computed when it is asked for. What people decided is looked up afresh each time. A line says as of when it is; it is
computed again when it may have changed: at once when nothing else is due, in any case within the times below. The page
of a lot is always of now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, func, insert, select

from cloud.clock import Now
from cloud.db.engine import reading, writing
from cloud.db.tables import event, lot_summary
from cloud.events.query import CapturedEvent
from cloud.evidence.basis import Basis, basis
from cloud.evidence.lot import evidence_with_events, known_lots
from cloud.evidence.model import LotEvidence, Reason
from cloud.evidence.verdict import FAIL, INSUFFICIENT
from cloud.instant import to_ms
from cloud.review.submissions import APPROVED, DRAFT, SUBMITTED, Decision, last_decisions

#: How old a line may get before it is due: of a lot that is in our custody or when any event came since (it may be this
#: lot's), and of others, which only late readings change.
MOVING_MS, RESTING_MS = 60_000, 900_000
STEP_S, REST_S = 0.25, 1.0  # of a chore's turn: one fifth of a core at the most
LOTS_AT_ONCE = 50

Lot = tuple[str, str]  # GTIN-14, lot number


class LotSummary(msgspec.Struct, frozen=True):
    """One line of the list. state: draft, submitted, returned, approved; state_ms: since when, None for a draft.

    needs_look: it waits for a decision, or its verdict is fail or insufficient_data and nobody approved it.
    place: where the lot (its last part) is or was last; empty where no event says so. as_of_ms: when the verdict was
    computed.
    """

    gtin: str
    lot: str
    product_name: str
    product_name_en: str
    verdict: str
    reasons: list[Reason]
    simulated: bool
    state: str
    state_ms: int | None
    needs_look: bool
    place: str
    place_name: str
    place_name_en: str
    first_event_ms: int
    last_event_ms: int
    last_biz_step: str
    as_of_ms: int


class Line(msgspec.Struct, frozen=True):
    """A line as it is kept, without what people decided; on what it was computed, and whether time alone changes it."""

    summary: LotSummary
    basis: Basis
    moving: bool


def list_lots(conn: Connection, now_ms: int) -> list[LotSummary]:
    """Every lot: those that wait for a decision (longest first), others that need a look, the rest (newest first)."""
    on = basis(conn)
    kept = {(row.gtin, row.lot): _line(row) for row in conn.execute(select(lot_summary))}
    decided = last_decisions(conn)
    summaries = []
    for name in known_lots(conn):
        line = kept.get(name)
        if line is None or _is_of_other_record(line, on, now_ms):
            line = compute(conn, name, on, now_ms)
        if line is not None:  # None: everything known of it lies in the future
            summaries.append(_decided(line.summary, decided.get(name)))
    return sorted(summaries, key=_urgency)


def compute(conn: Connection, lot: Lot, on: Basis, now_ms: int) -> Line | None:
    """The line of one lot as of now; None when everything known of it lies in the future."""
    found = evidence_with_events(conn, *lot, now_ms)
    if found is None:
        return None
    evidence, events = found
    moving = any(stay.custody and stay.to_ms is None for stay in evidence.stays)
    return Line(_summary(evidence, events, now_ms), on, moving)


class WorklistKeeper:
    """Computes lines that are due, the longest overdue first, a little at a time."""

    def __init__(self, engine: Engine, now: Now) -> None:
        self._engine = engine
        self._now = now

    def step(self, stop: threading.Event | None = None, *, for_s: float = STEP_S) -> int:
        """Compute lines for that long and keep them; always 0, so that pages and ingest get the rest of the time.

        Raises DatabaseUnavailable.
        """
        began_s, now_ms = time.monotonic(), self._now()
        lines: list[Line] = []
        with reading(self._engine) as conn:
            on = basis(conn)
            for lot in due_lots(conn, on, now_ms):
                line = compute(conn, lot, on, now_ms)
                lines += [] if line is None else [line]
                if time.monotonic() - began_s > for_s or len(lines) >= LOTS_AT_ONCE or (stop and stop.is_set()):
                    break
        if lines:
            with writing(self._engine) as conn:
                _keep(conn, lines)
        return 0


def due_lots(conn: Connection, on: Basis, now_ms: int) -> list[Lot]:
    """The lots whose line is missing or too old, the most urgent first."""
    lines = {(row.gtin, row.lot): row for row in conn.execute(select(*_BUT_BODY))}
    newest_event = conn.scalar(select(func.max(event.c.leaf_index))) or -1
    late: list[tuple[int, Lot]] = []
    for lot in known_lots(conn):
        row = lines.get(lot)
        if row is None or row.registry != on.registry or row.leaves > on.leaves or row.computed_ms > now_ms:
            late.append((-1, lot))
            continue
        if row.leaves == on.leaves and (not row.moving or row.computed_ms == now_ms):
            continue  # nothing has come since
        moving = row.moving or newest_event >= row.leaves
        due_ms = row.computed_ms + (MOVING_MS if moving else RESTING_MS)
        if due_ms <= now_ms:
            late.append((due_ms, lot))
    return [lot for _, lot in sorted(late)]


def forget(conn: Connection) -> None:
    """Empty the table, in the caller's write transaction: the chore fills it again."""
    conn.execute(delete(lot_summary))


_BUT_BODY = [column for column in lot_summary.c if column.name != "body"]


def _line(row: Row[tuple[object, ...]]) -> Line:
    summary = msgspec.json.decode(row.body, type=LotSummary)
    return Line(summary, Basis(row.leaves, row.registry), row.moving)


def _keep(conn: Connection, lines: Sequence[Line]) -> None:
    for one in lines:
        this = (lot_summary.c.gtin == one.summary.gtin, lot_summary.c.lot == one.summary.lot)
        conn.execute(delete(lot_summary).where(*this))
    rows = [
        {
            "gtin": one.summary.gtin,
            "lot": one.summary.lot,
            "computed_ms": one.summary.as_of_ms,
            "leaves": one.basis.leaves,
            "registry": one.basis.registry,
            "moving": one.moving,
            "body": msgspec.json.encode(one.summary).decode(),
        }
        for one in lines
    ]
    conn.execute(insert(lot_summary), rows)


def _is_of_other_record(line: Line, on: Basis, now_ms: int) -> bool:
    """Whether a line was computed on a registry, or a record, that is no more: a restore, or a clock set back."""
    return line.basis.registry != on.registry or line.basis.leaves > on.leaves or line.summary.as_of_ms > now_ms


def _summary(evidence: LotEvidence, events: Sequence[CapturedEvent], now_ms: int) -> LotSummary:
    times = [to_ms(one.event.event_time) for one in events]
    stay = evidence.stays[-1] if evidence.stays else None
    return LotSummary(
        gtin=evidence.gtin,
        lot=evidence.lot,
        product_name=evidence.product_name,
        product_name_en=evidence.product_name_en,
        verdict=evidence.verdict,
        reasons=evidence.reasons,
        simulated=evidence.simulated,
        state="",
        state_ms=None,
        needs_look=False,
        place="" if stay is None else stay.place,
        place_name="" if stay is None else stay.place_name,
        place_name_en="" if stay is None else stay.place_name_en,
        first_event_ms=min(times, default=0),
        last_event_ms=max(times, default=0),
        last_biz_step=(events[-1].event.biz_step or "") if events else "",
        as_of_ms=now_ms,
    )


def _decided(one: LotSummary, last: Decision | None) -> LotSummary:
    """The line with what people decided."""
    state = DRAFT if last is None else last.kind
    failing = one.verdict in {FAIL, INSUFFICIENT} and state != APPROVED
    return msgspec.structs.replace(
        one,
        state=state,
        state_ms=None if last is None else last.decided_ms,
        needs_look=state == SUBMITTED or failing,
    )


def _urgency(one: LotSummary) -> tuple[int, int, str, str]:
    if one.state == SUBMITTED:
        return 0, one.state_ms or 0, one.gtin, one.lot
    return (1 if one.needs_look else 2), -one.last_event_ms, one.gtin, one.lot
