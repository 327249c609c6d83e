"""Scan rules: every kind of label at every step, and nothing lost that cannot be an event."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.events.rules import (
    REASONS,
    Carton,
    Finding,
    Pallet,
    SeenScan,
    Step,
    event_id,
    judge_apart,
    judge_carton,
    judge_pallet,
    read_label,
)
from cloud.instant import from_ms
from cloud.telemetry.place import Place
from standards.epcis.json_form import parse_event, to_json
from standards.epcis.model import AggregationEvent, Event, ObjectEvent, QuantityElement
from standards.gs1 import digital_link
from tests.cloud.site import GTIN, HALL, SSCC_1, carton, pallet

LOT_URI = digital_link.lot(GTIN, "L1")
SSCC_URI = digital_link.sscc(SSCC_1)
EARLIER = digital_link.lot(GTIN, "A0")
PLACE = digital_link.place(HALL)


def seen(ordinal: int = 0, **changes: object) -> SeenScan:
    given_ = {
        "gateway": "gw-kho-01",
        "stream": bytes(16),
        "seq": 1,
        "ordinal": ordinal,
        "pack_id": 1,
        "channel": "packing/scan",
        "code": carton(),
        "symbology": "C1",
        "observed_ms": 1_760_000_000_123,
        "quality": 0,
        "place": Place(bytes(16), 1, 0),
        **changes,
    }
    return SeenScan(**given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (carton(), Carton(GTIN, LOT_URI)),
        (f"01{GTIN}17271231" + "10L1", Carton(GTIN, LOT_URI)),
        (pallet(), Pallet(SSCC_URI)),
        (f"00{SSCC_1}02{GTIN}3712\x1d10L1", Pallet(SSCC_URI)),
    ],
)
def test_labels_are_read(code: str, expected: object) -> None:
    assert read_label(code, "C1") == expected


@pytest.mark.parametrize(
    ("code", "symbology", "reason"),
    [
        ("hello", "C1", "unreadable_code"),
        ("", "C1", "unreadable_code"),
        (carton()[:-6], "C1", "unreadable_code"),
        (f"01{GTIN[:-1]}{(int(GTIN[-1]) + 1) % 10}10L1", "C1", "unreadable_code"),  # check digit
        (carton(), "A0", "unreadable_code"),
        (carton().swapcase(), "c1", "unreadable_code"),  # Caps Lock
        (f"10LOT-01{GTIN}", "C1", "unreadable_code"),  # the separator before (01) was lost
        (f"01{GTIN}", "C1", "no_lot"),
        (f"414{HALL}", "C1", "no_key"),
    ],
)
def test_what_is_no_label_says_why(code: str, symbology: str, reason: str) -> None:
    found = read_label(code, symbology)
    assert isinstance(found, Finding)
    assert found.reason == reason
    assert found.detail


def test_damage_is_named_where_the_scan_became_no_event() -> None:
    found = read_label(carton().swapcase(), "c1")
    assert isinstance(found, Finding)
    assert "Caps Lock" in found.detail
    refused = judge_apart("refused", carton().swapcase(), "c1")
    assert refused == found
    assert "refused at the scanner" in judge_apart("refused", carton(), "C1").detail
    assert judge_apart("start-lot", "CP:START:7", "Q1") == Finding("command_card", "start-lot: CP:START:7")


@settings(derandomize=True, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["", "C1", "d2", "Q3", "Q1", "xx"]))
def test_no_code_ever_breaks_the_rules(code: str, symbology: str) -> None:
    found = read_label(code, symbology)
    assert isinstance(found, Carton | Pallet) or found.reason in REASONS


def test_a_carton_at_the_packing_line_is_one_unit_of_its_lot() -> None:
    event = judge_carton(seen(), Carton(GTIN, LOT_URI), Step("pack", PLACE), known_product=True)
    assert isinstance(event, ObjectEvent)
    assert (event.action, event.biz_step, event.quantity_list) == (
        "ADD",
        "commissioning",
        [QuantityElement(epc_class=LOT_URI, quantity=1)],
    )
    assert event.event_time == from_ms(1_760_000_000_123)
    assert event.read_point is not None
    assert event.biz_location is not None
    assert (event.read_point.id, event.biz_location.id) == (PLACE, PLACE)


def judge(step: str, *, cartons: dict[str, int] | None = None, repeated: bool = False) -> Event | Finding:
    return judge_pallet(
        seen(code=pallet()),
        Pallet(SSCC_URI),
        Step(step, PLACE),
        open_cartons=cartons or {},
        repeated=repeated,
    )


def test_an_sscc_at_the_packing_line_closes_the_pallet() -> None:
    event = judge("pack", cartons={LOT_URI: 3, EARLIER: 1})
    assert isinstance(event, AggregationEvent)
    assert (event.action, event.biz_step, event.parent_id) == ("ADD", "packing", SSCC_URI)
    assert event.child_quantity_list == [
        QuantityElement(epc_class=EARLIER, quantity=1),
        QuantityElement(epc_class=LOT_URI, quantity=3),
    ]


@pytest.mark.parametrize(
    ("step", "biz_step", "disposition"),
    [
        ("store", "storing", "in_progress"),
        ("load", "loading", "in_transit"),
        ("deliver", "receiving", "in_progress"),
    ],
)
def test_an_sscc_elsewhere_is_seen_there(step: str, biz_step: str, disposition: str) -> None:
    event = judge(step)
    assert isinstance(event, ObjectEvent)
    assert (event.action, event.epc_list, event.biz_step, event.disposition) == (
        "OBSERVE",
        [SSCC_URI],
        biz_step,
        disposition,
    )


@pytest.mark.parametrize("step", ["store", "load", "deliver"])
def test_a_carton_label_where_pallets_are_scanned_is_a_finding(step: str) -> None:
    found = judge_carton(seen(), Carton(GTIN, LOT_URI), Step(step, PLACE), known_product=True)
    assert isinstance(found, Finding)
    assert found.reason == "lot_label_here"


def test_a_product_nobody_registered_is_a_finding() -> None:
    found = judge_carton(seen(), Carton(GTIN, LOT_URI), Step("pack", PLACE), known_product=False)
    assert isinstance(found, Finding)
    assert found.reason == "unknown_product"


def test_an_empty_pallet_and_a_repeat_are_findings() -> None:
    reasons = [judge("pack"), judge("pack", repeated=True), judge("store", repeated=True)]
    assert [one.reason for one in reasons if isinstance(one, Finding)] == [
        "empty_pallet",
        "repeated_scan",
        "repeated_scan",
    ]


def test_a_pallet_that_is_filled_further_is_no_repeat() -> None:
    assert isinstance(judge("pack", cartons={LOT_URI: 1}, repeated=True), AggregationEvent)


def test_event_ids_are_fixed_by_the_identity_of_the_scan() -> None:
    assert event_id(seen()) == "urn:uuid:93fa55b3-603a-537a-8a0a-3ad45a33906b"
    assert len({event_id(seen(ordinal=at)) for at in range(3)}) == 3
    assert event_id(seen(pack_id=7, channel="other/scan", code="x", observed_ms=5)) == event_id(seen())


@pytest.mark.parametrize("step", ["pack", "store", "load", "deliver"])
def test_every_event_is_epcis(step: str) -> None:
    event = judge(step, cartons={LOT_URI: 2} if step == "pack" else None)
    assert not isinstance(event, Finding)
    assert parse_event(to_json(event)) == event
