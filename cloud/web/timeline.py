"""The events of a lot as moments a reader can follow: cartons scanned one after another are one moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cloud.instant import to_ms
from standards.epcis.model import Event, ObjectEvent, QuantityElement

_SSCC = "/00/"
_PLACE = "/414/"
_MOST_APART_MS = 3_600_000  # cartons scanned with a longer pause in between were packed in two goes


@dataclass(frozen=True, slots=True)
class Moment:
    """One event, or a go of equal ones. step: the CBV business step; cartons: units that were scanned, None if unsaid.

    place: GLN or the URI as it stands; pallet: SSCC the event speaks of; events: how many are told as one.
    """

    from_ms: int
    to_ms: int
    step: str
    place: str
    pallet: str
    cartons: int | None
    events: int


def moments(events: Iterable[Event], lot_uri: str) -> list[Moment]:
    """The moments of a lot from its events, in order of time."""
    told: list[Moment] = []
    for one in sorted((_moment(event, lot_uri) for event in events), key=lambda moment: moment.from_ms):
        if told and _continues(told[-1], one):
            last = told[-1]
            cartons = None if last.cartons is None or one.cartons is None else last.cartons + one.cartons
            told[-1] = replace(last, to_ms=one.to_ms, cartons=cartons, events=last.events + one.events)
        else:
            told.append(one)
    return told


def _continues(last: Moment, one: Moment) -> bool:
    same = (last.step, last.place, last.pallet) == (one.step, one.place, one.pallet)
    return same and one.step == "commissioning" and one.from_ms - last.to_ms <= _MOST_APART_MS


def _moment(event: Event, lot_uri: str) -> Moment:
    at_ms = to_ms(event.event_time)
    where = event.biz_location or event.read_point
    amounts = [one.quantity for one in _quantities(event) if one.epc_class == lot_uri]
    known = [amount for amount in amounts if amount is not None]
    return Moment(
        from_ms=at_ms,
        to_ms=at_ms,
        step=(event.biz_step or "").rpartition("/")[2].rpartition("-")[2],  # a bare CBV term, or a URI that ends in it
        place=_key(where.id, _PLACE) if where else "",
        pallet=next((_key(uri, _SSCC) for uri in _units(event) if _SSCC in uri), ""),
        cartons=round(sum(known)) if known and len(known) == len(amounts) else None,
        events=1,
    )


def _quantities(event: Event) -> list[QuantityElement]:
    return event.quantity_list if isinstance(event, ObjectEvent) else event.child_quantity_list


def _units(event: Event) -> list[str]:
    """What moved as one: the parent of an aggregation, or the units that were seen."""
    return (event.epc_list or []) if isinstance(event, ObjectEvent) else [event.parent_id or ""]


def _key(uri: str, application: str) -> str:
    """The key in a Digital Link URI, or the URI itself when it is none."""
    return uri.partition(application)[2].partition("/")[0] or uri
