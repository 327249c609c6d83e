"""The officials' list: every lot with its verdict and review state, those that need a look first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from cloud.events.query import CapturedEvent
from cloud.evidence.lot import evidence_with_events, known_lots
from cloud.evidence.model import LotEvidence, Reason
from cloud.evidence.verdict import FAIL, INSUFFICIENT
from cloud.instant import to_ms
from cloud.review.submissions import APPROVED, SUBMITTED, Submission, submission


class LotSummary(msgspec.Struct, frozen=True):
    """One line of the list. state: draft, submitted, returned, approved; state_ms: since when, None for a draft.

    needs_look: it waits for a decision, or its verdict is fail or insufficient_data and nobody approved it.
    place: where the lot (its last part) is or was last; empty where no event says so.
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


def list_lots(conn: Connection, now_ms: int) -> list[LotSummary]:
    """Every lot: waiting for a decision (longest first), then other lots that need a look, then the rest, newest first.

    The evidence of each is computed: some milliseconds per lot and 10,000 readings.
    """
    summaries = []
    for gtin, lot in known_lots(conn):
        found = evidence_with_events(conn, gtin, lot, now_ms)
        if found is not None:  # None: everything known of it lies in the future
            summaries.append(_summary(*found, submission(conn, gtin, lot)))
    return sorted(summaries, key=_urgency)


def _summary(evidence: LotEvidence, events: Sequence[CapturedEvent], at: Submission) -> LotSummary:
    times = [to_ms(one.event.event_time) for one in events]
    stay = evidence.stays[-1] if evidence.stays else None
    failing = evidence.verdict in {FAIL, INSUFFICIENT} and at.state != APPROVED
    return LotSummary(
        gtin=evidence.gtin,
        lot=evidence.lot,
        product_name=evidence.product_name,
        product_name_en=evidence.product_name_en,
        verdict=evidence.verdict,
        reasons=evidence.reasons,
        simulated=evidence.simulated,
        state=at.state,
        state_ms=None if at.last is None else at.last.decided_ms,
        needs_look=at.state == SUBMITTED or failing,
        place="" if stay is None else stay.place,
        place_name="" if stay is None else stay.place_name,
        place_name_en="" if stay is None else stay.place_name_en,
        first_event_ms=min(times, default=0),
        last_event_ms=max(times, default=0),
        last_biz_step=(events[-1].event.biz_step or "") if events else "",
    )


def _urgency(one: LotSummary) -> tuple[int, int, str, str]:
    if one.state == SUBMITTED:
        return 0, one.state_ms or 0, one.gtin, one.lot
    return (1 if one.needs_look else 2), -one.last_event_ms, one.gtin, one.lot
