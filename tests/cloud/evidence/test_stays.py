"""Stays from events: EPCIS semantics, splits and merges, and independence of arrival order."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.evidence.stays import Presence, follow
from cloud.instant import from_ms
from standards.epcis.model import (
    AggregationEvent,
    ErrorDeclaration,
    Event,
    Identified,
    ObjectEvent,
    QuantityElement,
)

LOT = "https://id.gs1.org/01/08930000000019/10/A1"
OTHER = "https://id.gs1.org/01/08930000000019/10/B2"
PACK, STORE, TRUCK, SHOP = (f"place:{name}" for name in ("pack", "store", "truck", "shop"))
P1, P2, P3, LORRY = "sscc:1", "sscc:2", "sscc:3", "grai:lorry"


def made(at: int, quantity: float | None = 1, *, lot: str = LOT, place: str | None = PACK) -> ObjectEvent:
    return _object(at, "ADD", place, quantity_list=[QuantityElement(epc_class=lot, quantity=quantity)])


def seen(at: int, epc: str, place: str | None) -> ObjectEvent:
    return _object(at, "OBSERVE", place, epc_list=[epc])


def seen_loose(at: int, place: str, quantity: float | None) -> ObjectEvent:
    return _object(at, "OBSERVE", place, quantity_list=[QuantityElement(epc_class=LOT, quantity=quantity)])


def packed(
    at: int, parent: str, quantity: float | None = None, *, epcs: Sequence[str] = (), place: str | None = None
) -> AggregationEvent:
    return _aggregation(at, "ADD", parent, quantity, epcs, place)


def unpacked(
    at: int, parent: str, quantity: float | None = None, *, epcs: Sequence[str] = (), place: str | None = None
) -> AggregationEvent:
    return _aggregation(at, "DELETE", parent, quantity, epcs, place)


def _object(at: int, action: str, place: str | None, **named: object) -> ObjectEvent:
    return ObjectEvent(
        event_time=from_ms(at),
        event_time_zone_offset="+07:00",
        action=action,  # type: ignore[arg-type]
        biz_location=None if place is None else Identified(id=place),
        **named,  # type: ignore[arg-type]
    )


def _aggregation(
    at: int, action: str, parent: str, quantity: float | None, epcs: Sequence[str], place: str | None
) -> AggregationEvent:
    children = [] if quantity is None else [QuantityElement(epc_class=LOT, quantity=quantity)]
    return AggregationEvent(
        event_time=from_ms(at),
        event_time_zone_offset="+07:00",
        action=action,  # type: ignore[arg-type]
        parent_id=parent,
        child_epcs=list(epcs),
        child_quantity_list=children,
        biz_location=None if place is None else Identified(id=place),
    )


def journey(*events: Event, lot: str = LOT) -> list[tuple[str, int, int | None]]:
    named = [(f"e{index:03}", event) for index, event in enumerate(events)]
    return [(one.place.removeprefix("place:"), one.from_ms, one.to_ms) for one in follow(named, lot).presences]


WAY = [
    made(10),
    made(20),
    packed(30, P1, 2, place=PACK),
    seen(40, P1, STORE),
    seen(60, P1, TRUCK),
    seen(80, P1, SHOP),
]


def test_one_pallet_goes_from_packing_to_the_customer() -> None:
    assert journey(*WAY) == [("pack", 10, 40), ("store", 40, 60), ("truck", 60, 80), ("shop", 80, None)]


@pytest.mark.parametrize("seed", range(20))
def test_stays_do_not_depend_on_the_order_of_arrival(seed: int) -> None:
    events = [(f"e{index}", event) for index, event in enumerate(WAY)]
    expected = follow(events, LOT)
    random.Random(seed).shuffle(events)
    assert follow(events, LOT) == expected


def test_two_pallets_of_one_lot_have_stays_of_their_own() -> None:
    events = [
        *[made(10, 5), packed(20, P1, 5, place=PACK), made(22, 5), packed(30, P2, 5, place=PACK)],
        *[seen(40, P1, STORE), seen(45, P2, STORE), seen(60, P1, TRUCK), seen(60, P2, TRUCK)],
    ]
    assert journey(*events) == [
        ("pack", 10, 40),
        ("pack", 22, 45),
        ("store", 40, 60),
        ("store", 45, 60),
        ("truck", 60, None),  # equal for both: one
    ]


def test_what_stays_behind_keeps_its_stay() -> None:
    events = [made(10, 8), packed(20, P1, 5, place=PACK), seen(40, P1, STORE)]
    assert journey(*events) == [("pack", 10, 40), ("pack", 10, None), ("store", 40, None)]


def test_inside_an_aggregation_the_lot_is_where_its_outermost_parent_is() -> None:
    events = [
        *[made(10, 5), packed(20, P1, 5, place=PACK), packed(30, LORRY, epcs=[P1], place=TRUCK)],
        *[seen(40, P1, STORE), seen(50, LORRY, SHOP)],
    ]
    assert journey(*events) == [("pack", 10, 30), ("truck", 30, 50), ("shop", 50, None)]


def test_taken_out_of_the_lorry_a_pallet_is_where_the_lorry_was_and_goes_its_own_way() -> None:
    events = [
        *[made(10, 5), packed(20, P1, 5, place=PACK), packed(30, LORRY, epcs=[P1], place=TRUCK)],
        *[seen(50, LORRY, SHOP), unpacked(55, LORRY, epcs=[P1]), seen(60, LORRY, PACK), seen(70, P1, STORE)],
    ]
    assert journey(*events) == [("pack", 10, 30), ("truck", 30, 50), ("shop", 50, 70), ("store", 70, None)]


def test_a_disaggregation_without_children_empties_the_parent() -> None:
    events = [made(10, 5), packed(20, P1, 5, place=PACK), seen(30, P1, STORE), unpacked(40, P1), seen(50, P1, SHOP)]
    assert journey(*events) == [("pack", 10, 30), ("store", 30, None)]


def test_part_of_a_pallet_can_be_taken_out_and_packed_anew() -> None:
    events = [
        *[made(10, 10), packed(20, P1, 10, place=PACK), seen(30, P1, STORE)],
        *[unpacked(40, P1, 4), packed(45, P2, 4, place=STORE), seen(60, P2, TRUCK)],
    ]
    assert journey(*events) == [
        ("pack", 10, 30),
        ("store", 30, 60),  # the part that went on
        ("store", 30, None),  # the part that is still there
        ("truck", 60, None),
    ]


def test_parts_that_come_together_keep_both_histories() -> None:
    events = [
        *[made(10, 5), packed(15, P1, 5, place=PACK), made(20, 5), packed(25, P2, 5, place=PACK)],
        *[seen(30, P1, STORE), seen(40, P2, STORE), unpacked(50, P1), unpacked(50, P2)],
        *[packed(55, P3, 10, place=STORE), seen(60, P3, TRUCK)],
    ]
    assert journey(*events) == [("pack", 10, 30), ("pack", 20, 40), ("store", 30, 60), ("truck", 60, None)]


def test_loose_units_seen_elsewhere_were_brought_there() -> None:
    assert journey(made(10, 5), seen_loose(30, STORE, 5)) == [("pack", 10, 30), ("store", 30, None)]
    assert journey(made(10, 5), seen_loose(30, STORE, 2)) == [
        ("pack", 10, 30),
        ("pack", 10, None),
        ("store", 30, None),
    ]
    assert journey(made(10, 5), seen_loose(30, STORE, None)) == [("pack", 10, 30), ("store", 30, None)]
    assert journey(made(10, 5), seen_loose(20, PACK, 5)) == [("pack", 10, None)]


def test_a_lot_first_heard_of_elsewhere_begins_there() -> None:
    assert journey(seen_loose(30, STORE, 5)) == [("store", 30, None)]
    assert journey(packed(30, P1, 5, place=STORE)) == [("store", 30, None)]


def test_an_event_without_location_contradicts_nothing() -> None:
    events = [made(10, 5), packed(20, P1, 5), seen(30, P1, None), seen(40, P1, STORE)]
    assert journey(*events) == [("pack", 10, 40), ("store", 40, None)]


def test_a_destroyed_lot_is_nowhere_any_more() -> None:
    gone = _object(50, "DELETE", PACK, quantity_list=[QuantityElement(epc_class=LOT, quantity=5)])
    assert journey(made(10, 5), gone) == [("pack", 10, 50)]
    lost = _object(50, "DELETE", None, epc_list=[P1])
    assert journey(made(10, 5), packed(20, P1, 5, place=PACK), lost) == [("pack", 10, 50)]


def test_events_of_equal_time_are_taken_in_the_order_of_a_life() -> None:
    events = [seen(10, P1, STORE), packed(10, P1, 1, place=PACK), made(10)]
    assert journey(*events) == [("store", 10, None)]


def test_a_declared_error_moved_nothing() -> None:
    wrong = ObjectEvent(
        event_time=from_ms(50),
        event_time_zone_offset="+07:00",
        action="OBSERVE",
        epc_list=[P1],
        biz_location=Identified(id=SHOP),
        error_declaration=ErrorDeclaration(declaration_time=from_ms(60), reason="did_not_occur"),
    )
    assert journey(made(10, 5), packed(20, P1, 5, place=PACK), wrong) == [("pack", 10, None)]


def test_a_circle_of_parents_ends() -> None:
    events = [made(10, 5), packed(20, P1, 5, place=PACK), packed(30, P2, epcs=[P1]), packed(40, P1, epcs=[P2])]
    assert journey(*events, seen(50, P2, STORE))[0] == ("pack", 10, 50)


def test_only_events_while_inside_concern_the_lot() -> None:
    events = [
        *[("early", seen(5, LORRY, STORE)), ("made", made(10, 5)), ("packed", packed(20, P1, 5, place=PACK))],
        *[("other", made(22, 3, lot=OTHER)), ("loaded", packed(30, LORRY, epcs=[P1], place=TRUCK))],
        *[("driven", seen(40, LORRY, SHOP)), ("unloaded", unpacked(50, LORRY)), ("away", seen(60, LORRY, PACK))],
    ]
    assert follow(events, LOT).event_ids == ["made", "packed", "loaded", "driven", "unloaded"]


_PLACES = st.none() | st.sampled_from([PACK, STORE, TRUCK])
_PALLETS = st.sampled_from([P1, P2, P3, LORRY])
_AMOUNTS = st.none() | st.integers(0, 5)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    at = st.integers(0, 10)
    kinds = st.one_of(
        st.builds(made, at, _AMOUNTS, place=_PLACES),
        st.builds(seen, at, _PALLETS, _PLACES),
        st.builds(seen_loose, at, st.sampled_from([PACK, STORE]), _AMOUNTS),
        st.builds(packed, at, _PALLETS, _AMOUNTS, epcs=st.lists(_PALLETS, max_size=1), place=_PLACES),
        st.builds(unpacked, at, _PALLETS, _AMOUNTS, epcs=st.lists(_PALLETS, max_size=1), place=_PLACES),
    )
    return draw(st.lists(kinds, max_size=12))


@settings(derandomize=True, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_whatever_is_claimed_stays_are_sound_and_the_same_in_any_order(events: list[Event], rng: random.Random) -> None:
    named = [(f"e{index:03}", event) for index, event in enumerate(events)]
    found = follow(named, LOT)
    rng.shuffle(named)
    assert follow(named, LOT) == found
    assert len(set(found.presences)) == len(found.presences)
    for one in found.presences:
        assert isinstance(one, Presence)
        assert one.place
        assert one.to_ms is None or one.from_ms < one.to_ms
