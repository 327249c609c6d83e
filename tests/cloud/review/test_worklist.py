"""The officials' list: what needs a look stands first, whatever order the lots came in."""

from __future__ import annotations

import msgspec
from sqlalchemy import Engine

from cloud.auth.people import Person
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.events.follower import ScanFollower
from cloud.review.submissions import approve, submit
from cloud.review.worklist import LotSummary, list_lots
from tests.cloud.field import Gateway, scan
from tests.cloud.journey import LATER, NOW_MS, at, calm, send, travel
from tests.cloud.site import CUSTOMER, GTIN, HALL, carton
from wire.observation import Reading

OPERATOR = Person("van-hanh", "Vận hành", "operator")
OFFICIAL = Person("can-bo", "Cán bộ", "official")


def listed(engine: Engine, now_ms: int = NOW_MS) -> list[LotSummary]:
    with look(engine) as conn:
        return list_lots(conn, now_ms)


def pack_more(engine: Engine, store: Gateway, *lots: tuple[str, float]) -> None:
    """Cartons of further lots, each at its minute, left loose in the hall."""
    scans = [scan(carton(lot), at_s=60 * minute, channel="packing/scan") for lot, minute in lots]
    send(engine, store, 2, [*scans])
    ScanFollower(engine, lambda: NOW_MS).run_once()


def test_a_line_says_what_a_reader_needs(engine: Engine) -> None:
    travel(engine)
    [one] = listed(engine)
    assert (one.gtin, one.lot, one.product_name_en, one.verdict) == (GTIN, "L1", "Frozen shrimps", "pass")
    assert (one.state, one.state_ms, one.needs_look) == ("draft", None, False)
    assert (one.place, one.place_name, one.last_biz_step) == (CUSTOMER, "Siêu thị", "receiving")
    assert (one.first_event_ms, one.last_event_ms) == (at(1), at(130))
    assert msgspec.json.decode(msgspec.json.encode(one), type=LotSummary) == one


def hall_falls_silent(channel: str, minute: int) -> Reading | None:
    return None if channel == "hall/air" and minute >= LATER - 3 else calm(channel, minute)


def test_what_waits_stands_first_then_what_lacks_evidence_then_the_newest(engine: Engine) -> None:
    store, _ = travel(engine, hall_falls_silent)
    pack_more(engine, store, ("OLD", 100), ("BARE", LATER - 0.5), ("NEW", 120))  # BARE: no reading anywhere near
    assert [(one.lot, one.verdict) for one in listed(engine)] == [
        ("BARE", "insufficient_data"),
        ("L1", "pass"),
        ("NEW", "pass_with_remarks"),
        ("OLD", "pass_with_remarks"),
    ]
    with writing(engine) as conn:
        submit(conn, GTIN, "OLD", by=OPERATOR, now_ms=NOW_MS)
        submit(conn, GTIN, "L1", by=OPERATOR, now_ms=NOW_MS + 1)
    assert [(one.lot, one.needs_look) for one in listed(engine)] == [
        ("OLD", True),
        ("L1", True),
        ("BARE", True),
        ("NEW", False),
    ]
    assert listed(engine)[0].place == HALL


def test_what_an_official_has_approved_needs_no_look(engine: Engine) -> None:
    store, _ = travel(engine)
    pack_more(engine, store, ("BARE", LATER - 0.5))
    with writing(engine) as conn:
        submit(conn, GTIN, "BARE", by=OPERATOR, now_ms=NOW_MS)
        approve(conn, GTIN, "BARE", by=OFFICIAL, now_ms=NOW_MS)
    assert [(one.lot, one.state, one.needs_look) for one in listed(engine)] == [
        ("BARE", "approved", False),
        ("L1", "draft", False),
    ]


def test_a_lot_of_the_future_is_not_listed(engine: Engine) -> None:
    travel(engine)
    assert listed(engine, now_ms=0) == []
