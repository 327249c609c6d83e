"""The officials' list: what needs a look stands first, whatever order the lots came in."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import Engine, update

from cloud.auth.people import Person
from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.events.follower import ScanFollower
from cloud.evidence.basis import basis
from cloud.review import worklist
from cloud.review.submissions import approve, submit
from cloud.review.worklist import (
    MOVING_MS,
    RESTING_MS,
    LotSummary,
    WorklistKeeper,
    due_lots,
    forget,
    list_lots,
)
from tests.cloud.field import Gateway, reading, scan
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


def keep(engine: Engine, now_ms: int = NOW_MS) -> None:
    """The chore's turn, with all the time it needs."""
    assert WorklistKeeper(engine, lambda: now_ms).step(for_s=60) == 0


def due(engine: Engine, now_ms: int) -> list[str]:
    with look(engine) as conn:
        return [lot for _, lot in due_lots(conn, basis(conn), now_ms)]


def test_list_of_kept_lines_is_the_list(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = travel(engine, hall_falls_silent)
    pack_more(engine, store, ("OLD", 100), ("NEW", 120))
    computed = listed(engine)
    keep(engine)
    monkeypatch.setattr(worklist, "evidence_with_events", None)  # nothing is computed any more
    assert listed(engine) == computed
    with writing(engine) as conn:
        submit(conn, GTIN, "OLD", by=OPERATOR, now_ms=NOW_MS)
    first = listed(engine)[0]
    assert (first.lot, first.state, first.needs_look) == ("OLD", "submitted", True), "decisions are of now"


def test_lines_that_may_have_changed_are_computed_again(engine: Engine) -> None:
    store, _ = travel(engine)
    assert due(engine, NOW_MS) == ["L1"]
    keep(engine)
    assert due(engine, NOW_MS + 100 * RESTING_MS) == [], "it was delivered, and nothing has come since"
    send(engine, store, 2, [reading(channel="room-1/air", at_s=60 * 30 + 7, mantissa=-1234)])
    assert due(engine, NOW_MS + RESTING_MS - 1) == []
    assert due(engine, NOW_MS + RESTING_MS) == ["L1"]
    assert listed(engine, NOW_MS + RESTING_MS)[0].verdict == "pass"
    keep(engine, NOW_MS + RESTING_MS)
    [one] = listed(engine, NOW_MS + RESTING_MS)
    assert (one.verdict, one.as_of_ms) == ("pass_with_remarks", NOW_MS + RESTING_MS)


def test_lots_in_custody_and_after_an_event_are_due_sooner(engine: Engine) -> None:
    store, _ = travel(engine)
    keep(engine)
    pack_more(engine, store, ("LOOSE", 120))
    assert due(engine, NOW_MS + MOVING_MS - 1) == ["LOOSE"]
    keep(engine)
    assert due(engine, NOW_MS + MOVING_MS - 1) == []
    assert due(engine, NOW_MS + MOVING_MS) == ["L1", "LOOSE"], "its event may have been of L1"
    keep(engine, NOW_MS + MOVING_MS)
    assert due(engine, NOW_MS + 2 * MOVING_MS) == ["LOOSE"], "in the hall still, and time goes by"


def test_a_changed_registry_or_an_older_record_is_never_listed(engine: Engine) -> None:
    travel(engine)
    keep(engine)
    with writing(engine) as conn:
        conn.execute(update(tables.place).values(name="Kho khác"))
    assert listed(engine)[0].place_name == "Kho khác"
    assert due(engine, NOW_MS) == ["L1"]
    keep(engine)
    with writing(engine) as conn:
        conn.execute(update(tables.lot_summary).values(leaves=10**6))  # of a record before a restore
    assert due(engine, NOW_MS) == ["L1"]
    with writing(engine) as conn:
        forget(conn)
    assert due(engine, NOW_MS) == ["L1"]


def test_chore_works_in_small_turns(engine: Engine) -> None:
    store, _ = travel(engine)
    pack_more(engine, store, ("OLD", 100), ("NEW", 120))
    keeper = WorklistKeeper(engine, lambda: NOW_MS)
    left = []
    for _ in range(4):
        left.append(len(due(engine, NOW_MS)))
        keeper.step(for_s=0)
    assert left == [3, 2, 1, 0]
