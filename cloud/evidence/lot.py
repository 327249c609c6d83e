"""The evidence of a lot as of now: events → stays → readings → statistics, excursions and a verdict.

A projection: computed whenever it is asked for, from records and registry alone; versions.py freezes it for decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from sqlalchemy import Connection, select

from cloud.db.tables import event_item
from cloud.events import query as events
from cloud.events.clock import MOVED_MS, UNCERTAIN_MS, EventClock, event_clocks
from cloud.events.query import CapturedEvent
from cloud.evidence.limits import limits
from cloud.evidence.model import LotEvidence, Reason, Stay
from cloud.evidence.series import Judged, Measured, measure
from cloud.evidence.source import ReadingsOnce
from cloud.evidence.statistics import share
from cloud.evidence.stays import Journey, Presence, follow
from cloud.evidence.verdict import lot_verdict, stay_verdict
from cloud.instant import to_ms
from cloud.registry import query as registry
from cloud.registry.query import Binding, Place, Product
from standards.gs1 import digital_link
from standards.gs1.application_identifier import Gs1Error


def lot_evidence(conn: Connection, gtin: str, lot: str, now_ms: int) -> LotEvidence | None:
    """Everything the verdict on a lot rests on, as known now; None when no event speaks of this lot.

    gtin: 8 to 14 digits. Events and readings from after `now_ms` are left out.
    """
    found = evidence_with_events(conn, gtin, lot, now_ms)
    return None if found is None else found[0]


class Looked(NamedTuple):
    """A lot's evidence, its events, and the readings it was made from, by place: for who shows them."""

    evidence: LotEvidence
    events: list[CapturedEvent]
    sources: dict[str, ReadingsOnce]


def evidence_with_events(
    conn: Connection, gtin: str, lot: str, now_ms: int
) -> tuple[LotEvidence, list[CapturedEvent]] | None:
    """`lot_evidence` and `lot_events` at once, at the cost of one of them."""
    found = look(conn, gtin, lot, now_ms)
    return None if found is None else found[:2]


def look(conn: Connection, gtin: str, lot: str, now_ms: int, *, around: float = 0.0) -> Looked | None:
    """`lot_evidence` with what it was made from. around: the share of a stay before and after it that is shown."""
    captured = _captured(conn, gtin, lot, now_ms)
    if not captured:
        return None
    journey = _follow(captured, digital_link.lot(gtin, lot))
    moving = _moving(captured, journey)
    sources = _sources(conn, journey, now_ms, around)
    evidence = _evidence(conn, journey, moving, sources, gtin=gtin.zfill(14), lot=lot, now_ms=now_ms)
    return Looked(evidence, moving, {_place(conn, uri).gln: one for uri, one in sources.items()})


def lot_events(conn: Connection, gtin: str, lot: str, now_ms: int) -> list[CapturedEvent]:
    """The events that made or moved this lot, in order; not those of its pallets before or after it was inside."""
    captured = _captured(conn, gtin, lot, now_ms)
    return _moving(captured, _follow(captured, digital_link.lot(gtin, lot))) if captured else []


def presences(conn: Connection, gtin: str, lot: str, now_ms: int) -> list[Presence]:
    """Where this lot is and was, as known now; the URIs of places become their GLNs where they have one."""
    captured = _captured(conn, gtin, lot, now_ms)
    found = _follow(captured, digital_link.lot(gtin, lot)).presences if captured else []
    return [one._replace(place=_place(conn, one.place).gln) for one in found]


def known_lots(conn: Connection) -> list[tuple[str, str]]:
    """(GTIN-14, lot number) of every lot an event speaks of, in order."""
    query = select(event_item.c.item).where(event_item.c.role == "class").distinct().order_by(event_item.c.item)
    found = []
    for item in conn.scalars(query):
        try:
            link = digital_link.parse(item)
        except Gs1Error:  # a class of another kind, from a document of somebody else's
            continue
        gtin, lot = link.get("01"), link.get("10")
        if gtin is not None and lot is not None:
            found.append((gtin, lot))
    return found


def _moving(captured: Sequence[CapturedEvent], journey: Journey) -> list[CapturedEvent]:
    by_id = {one.event_id: one for one in captured}
    return [by_id[event_id] for event_id in journey.event_ids]


def _evidence(
    conn: Connection,
    journey: Journey,
    moving: Sequence[CapturedEvent],
    sources: dict[str, ReadingsOnce],
    *,
    gtin: str,
    lot: str,
    now_ms: int,
) -> LotEvidence:
    product = registry.product(conn, gtin)
    stays = [_stay(conn, one, product, sources[one.place], now_ms) for one in journey.presences]
    doubts = _time_remarks(event_clocks(conn, moving))
    verdict, reasons = lot_verdict(stays, known_product=product is not None, gtin=gtin, remarks=doubts)
    return LotEvidence(
        gtin=gtin,
        lot=lot,
        product_name="" if product is None else product.name,
        product_name_en="" if product is None else product.name_en,
        profile="" if product is None else product.profile,
        profile_version=_version(conn, product, stays),
        simulated=_is_simulated(conn, moving, stays),
        stays=stays,
        verdict=verdict,
        reasons=reasons,
    )


def _time_remarks(clocks: Sequence[EventClock]) -> list[Reason]:
    """What is to say of the times of events: their own bytes are never edited."""
    unset = sum(one.unset for one in clocks)
    future = sum(one.future for one in clocks)
    moved = [abs(one.moved_ms) for one in clocks if abs(one.moved_ms) > MOVED_MS]
    uncertain = [one.uncertainty_ms for one in clocks if one.uncertainty_ms > UNCERTAIN_MS]
    remarks = [Reason("event_clock_unset", {"count": unset})] if unset else []
    if future:
        remarks.append(Reason("event_from_future", {"count": future}))
    if moved:
        remarks.append(Reason("event_time_moved", {"count": len(moved), "longest_s": round(max(moved) / 1000)}))
    if uncertain:
        longest_s = round(max(uncertain) / 1000)
        remarks.append(Reason("event_time_uncertain", {"count": len(uncertain), "longest_s": longest_s}))
    return remarks


def _captured(conn: Connection, gtin: str, lot: str, now_ms: int) -> list[CapturedEvent]:
    try:
        uri = digital_link.lot(gtin, lot)
    except Gs1Error:  # no such lot can exist, so no event speaks of it
        return []
    return [one for one in events.of_item(conn, uri) if to_ms(one.event.event_time) <= now_ms]


def _follow(captured: Sequence[CapturedEvent], uri: str) -> Journey:
    return follow([(one.event_id, one.event) for one in captured], uri)


def _sources(conn: Connection, journey: Journey, now_ms: int, around: float) -> dict[str, ReadingsOnce]:
    """Place → its readings, shared by the stays of the lot's parts there."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for one in journey.presences:
        until_ms = max(now_ms if one.to_ms is None else one.to_ms, one.from_ms)
        beside_ms = ceil((until_ms - one.from_ms) * around)
        spans.setdefault(one.place, []).append((one.from_ms - beside_ms, until_ms + beside_ms))
    return {place: ReadingsOnce(conn, stays) for place, stays in spans.items()}


def _stay(conn: Connection, presence: Presence, product: Product | None, source: ReadingsOnce, now_ms: int) -> Stay:
    place = _place(conn, presence.place)
    is_open = presence.to_ms is None
    until_ms = presence.to_ms if presence.to_ms is not None else max(now_ms, presence.from_ms)
    if not place.custody and is_open:
        until_ms = presence.from_ms
    in_force = None if product is None else limits(conn, product.profile, presence.from_ms, until_ms)
    bound = registry.bindings(conn, place.gln, presence.from_ms, until_ms) if place.custody else []
    measured = _measured(source, bound, presence, until_ms, Judged(place.kind, in_force))
    series = [one.evidence for one in measured]
    verdict, reasons = stay_verdict(
        None if in_force is None else in_force.at(presence.from_ms),
        kind=place.kind,
        custody=place.custody,
        series=series,
        coverage=_coverage(measured, presence.from_ms, until_ms),
        spoken_for=_coverage(measured, presence.from_ms, until_ms, thinned=False),
    )
    return Stay(
        place=place.gln,
        place_name=place.name,
        place_name_en=place.name_en,
        kind=place.kind,
        custody=place.custody,
        from_ms=presence.from_ms,
        to_ms=presence.to_ms,
        until_ms=until_ms,
        series=series,
        verdict=verdict,
        reasons=reasons,
    )


def _measured(
    source: ReadingsOnce, bound: Sequence[Binding], presence: Presence, until_ms: int, judged: Judged
) -> list[Measured]:
    """Temperature first, then by gateway, channel and time of binding."""
    stay = (presence.from_ms, until_ms)
    ordered = sorted(bound, key=lambda one: one.measurement != "Temperature")
    return [measure(source, one, stay, judged, is_open=presence.to_ms is None) for one in ordered]


def _coverage(measured: Sequence[Measured], from_ms: int, until_ms: int, *, thinned: bool = True) -> dict[str, float]:
    """Measurement → share of the stay covered by any of its series: a replaced probe hands over to the next.

    thinned: whether what was thinned between readings counts.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for one in measured:
        spans.setdefault(one.evidence.measurement, []).extend(one.covered if thinned else one.spoken_for)
    return {measurement: share(covered, from_ms, until_ms) for measurement, covered in spans.items()}


def _place(conn: Connection, uri: str) -> Place:
    """The place of a `bizLocation`; one the registry doesn't know is in our custody until it says otherwise."""
    try:
        gln = digital_link.parse(uri).get("414") or uri
    except Gs1Error:
        gln = uri
    return registry.place(conn, gln) or Place(gln, gln, gln, "", "", custody=True)


def _version(conn: Connection, product: Product | None, stays: Sequence[Stay]) -> int:
    """The version of the limits in force when the last stay we answer for began; 0 when there was none."""
    since = [stay.from_ms for stay in stays if stay.custody] or [stay.from_ms for stay in stays]
    if product is None or not since:
        return 0
    profile = registry.profile_at(conn, product.profile, max(since))
    return 0 if profile is None else profile.version


def _is_simulated(conn: Connection, moving: Sequence[CapturedEvent], stays: Sequence[Stay]) -> bool:
    """Whether any gateway that scanned this lot or measured its stays is, or ever was, a simulated one."""
    simulated = {one.name for one in registry.gateways(conn) if one.simulated}
    scanned = {one.gateway for one in moving}
    measuring = {series.gateway for stay in stays for series in stay.series}
    return bool(simulated & (scanned | measuring))
