"""Events as moments: cartons scanned in one go are one line, everything else stands for itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cloud.web.timeline import moments
from standards.epcis.model import AggregationEvent, Identified, ObjectEvent, QuantityElement
from standards.gs1 import digital_link
from tests.cloud.site import GTIN, HALL, ROOM, SSCC_1

LOT = digital_link.lot(GTIN, "L1")
OTHER = digital_link.lot(GTIN, "L2")
START = datetime(2025, 10, 9, 9, tzinfo=UTC)


def carton(minute: int, *, lot: str = LOT, place: str = HALL) -> ObjectEvent:
    return ObjectEvent(
        event_time=START + timedelta(minutes=minute),
        event_time_zone_offset="+07:00",
        action="ADD",
        quantity_list=[QuantityElement(epc_class=lot, quantity=1)],
        biz_step="commissioning",
        biz_location=Identified(id=digital_link.place(place)),
    )


def pallet(minute: int) -> AggregationEvent:
    return AggregationEvent(
        event_time=START + timedelta(minutes=minute),
        event_time_zone_offset="+07:00",
        action="ADD",
        parent_id=digital_link.sscc(SSCC_1),
        child_quantity_list=[
            QuantityElement(epc_class=LOT, quantity=3),
            QuantityElement(epc_class=OTHER, quantity=9),
        ],
        biz_step="https://ref.gs1.org/cbv/BizStep-packing",
        read_point=Identified(id=digital_link.place(HALL)),
    )


def test_cartons_of_one_go_are_one_moment_whatever_the_order_of_arrival() -> None:
    told = moments([carton(2), carton(0), carton(1), pallet(5)], LOT)
    assert [(one.step, one.cartons, one.events) for one in told] == [("commissioning", 3, 3), ("packing", 3, 1)]
    assert told[0].to_ms - told[0].from_ms == 2 * 60_000


def test_a_long_pause_or_another_place_begins_a_new_moment() -> None:
    told = moments([carton(0), carton(200), carton(201, place=ROOM)], LOT)
    assert [one.place for one in told] == [HALL, HALL, ROOM]


def test_pallet_and_place_are_told_by_their_numbers() -> None:
    (one,) = moments([pallet(5)], LOT)
    assert (one.pallet, one.place) == (SSCC_1, HALL)


def test_an_unknown_quantity_is_not_guessed() -> None:
    open_amount = ObjectEvent(
        event_time=START,
        event_time_zone_offset="+07:00",
        action="ADD",
        quantity_list=[QuantityElement(epc_class=LOT)],
        biz_step="commissioning",
    )
    (one,) = moments([open_amount], LOT)
    assert (one.cartons, one.place, one.pallet) == (None, "", "")
