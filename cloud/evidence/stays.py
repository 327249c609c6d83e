"""Where a lot was, from the events that speak of it. Pure, and the same whatever order the events arrived in.

EPCIS 2.0 semantics: an object is at an event's `bizLocation` until a later event contradicts it; inside an aggregation
it is where its outermost parent is. A lot is a quantity: units scanned loose at a place, and units inside parents
(pallets, crates), which may lie in parents of their own (a truck). Every such *part* has its own way; stays that are
equal for several parts are one. Units that go into or out of a parent take their history with them.

Events of equal time are taken in the order of a life: made, packed, seen, unpacked, gone; then by event id.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from cloud.instant import to_ms
from standards.epcis.model import AggregationEvent, Event, ObjectEvent


class Presence(NamedTuple):
    """A part of the lot at a place (its Digital Link URI) for [from_ms, to_ms); to_ms None: still there."""

    place: str
    from_ms: int
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Journey:
    """A lot's presences in order of time, and the ids of the events that made or moved them, in order."""

    presences: list[Presence]
    event_ids: list[str]


def follow(events: Iterable[tuple[str, Event]], lot: str) -> Journey:
    """The journey of the lot with this URI through (event id, event) pairs; others' events change nothing."""
    tracker = _Tracker(lot)
    stated = (pair for pair in events if pair[1].error_declaration is None)  # a declared error moved nothing
    concerned = [event_id for event_id, event in sorted(stated, key=_life_order) if tracker.apply(event)]
    return Journey(tracker.presences(), concerned)


_LIFE = {
    (ObjectEvent, "ADD"): 0,
    (AggregationEvent, "ADD"): 1,
    (AggregationEvent, "OBSERVE"): 2,
    (ObjectEvent, "OBSERVE"): 3,
    (AggregationEvent, "DELETE"): 4,
    (ObjectEvent, "DELETE"): 5,
}


def _life_order(pair: tuple[str, Event]) -> tuple[int, int, str]:
    event_id, event = pair
    return to_ms(event.event_time), _LIFE[type(event), event.action], event_id


class _Key(NamedTuple):
    """Where a part is held: loose at a place, or inside a parent."""

    inside: bool
    uri: str


@dataclass(frozen=True, slots=True)
class _Part:
    """Some units with one history: where they are since when (None: nowhere known), and where they were."""

    quantity: float
    place: str | None
    since_ms: int
    past: frozenset[Presence] = frozenset()

    def moved(self, place: str | None, at_ms: int) -> _Part:
        if place == self.place:
            return self
        return replace(self, place=place, since_ms=at_ms, past=self.ended(at_ms))

    def ended(self, at_ms: int) -> frozenset[Presence]:
        """All presences when the current one ends now; a presence of no duration is none."""
        if self.place is None or at_ms <= self.since_ms:
            return self.past
        return self.past | {Presence(self.place, self.since_ms, at_ms)}

    def joined(self, other: _Part, at_ms: int) -> _Part:
        """Both histories in one part, at this part's place."""
        if other.place == self.place:
            since_ms, past = min(self.since_ms, other.since_ms), self.past | other.past
        else:
            since_ms, past = self.since_ms, self.past | other.ended(at_ms)
        return _Part(self.quantity + other.quantity, self.place, since_ms, past)


@dataclass(slots=True)
class _Tracker:
    """Replays events. Invariant: a part inside a parent is at the place of its outermost known parent."""

    lot: str
    parts: dict[_Key, _Part] = field(default_factory=dict)
    gone: set[Presence] = field(default_factory=set)
    parent_of: dict[str, str] = field(default_factory=dict)
    place_of: dict[str, str | None] = field(default_factory=dict)

    def apply(self, event: Event) -> bool:
        """Take in one event; whether it concerned the lot."""
        named = _units_named(event)
        before = self._holders() if named else set()
        mentioned = self._object(event) if isinstance(event, ObjectEvent) else self._aggregation(event)
        return mentioned or bool(named & (before | self._holders()))

    def presences(self) -> list[Presence]:
        found = set(self.gone)
        for part in self.parts.values():
            found |= part.past
            if part.place is not None:
                found.add(Presence(part.place, part.since_ms, None))
        return sorted(found, key=lambda one: (one.from_ms, math.inf if one.to_ms is None else one.to_ms, one.place))

    def _object(self, event: ObjectEvent) -> bool:
        at_ms, place = to_ms(event.event_time), _place_of(event)
        for epc in event.epc_list or []:
            if event.action == "DELETE":
                self.place_of[epc] = None
            elif place is not None:
                self.place_of[epc] = place
        if event.epc_list:
            self._settle(at_ms)
        amounts = [one.quantity for one in event.quantity_list if one.epc_class == self.lot]
        for amount in amounts:
            if event.action == "ADD":
                self._put(_Key(False, place or ""), _Part(_units(amount), place, at_ms), at_ms)
            elif event.action == "DELETE":
                for part in self._take_loose(place, _units(amount)):
                    self.gone |= part.ended(at_ms)
            elif place is not None:
                self._seen_loose(place, _units(amount), at_ms)
        return bool(amounts)

    def _aggregation(self, event: AggregationEvent) -> bool:
        at_ms, parent = to_ms(event.event_time), event.parent_id
        if parent is None:  # EPCIS allows it for OBSERVE alone: children seen together, in nothing named
            return False
        place = _place_of(event)
        if place is not None:
            self.place_of[parent] = place
        amounts = [one.quantity for one in event.child_quantity_list if one.epc_class == self.lot]
        if event.action == "DELETE":
            everything = not event.child_epcs and not event.child_quantity_list
            mentioned = self._unpack(parent, event.child_epcs, amounts, everything=everything, at_ms=at_ms)
        else:
            for epc in event.child_epcs:
                self.parent_of[epc] = parent
            new = event.action == "ADD" or _Key(True, parent) not in self.parts
            for amount in amounts if new else []:
                self._pack(parent, _units(amount), place, at_ms)
            mentioned = bool(amounts)
        self._settle(at_ms)
        return mentioned

    def _pack(self, parent: str, amount: float, place: str | None, at_ms: int) -> None:
        taken = self._take_loose(place, amount) or [_Part(amount, place, at_ms)]  # never seen loose: begins here
        for part in taken:
            self._put(_Key(True, parent), part, at_ms)

    def _unpack(
        self, parent: str, epcs: Iterable[str], amounts: list[float | None], *, everything: bool, at_ms: int
    ) -> bool:
        place = self._place(parent)
        children = [epc for epc, holder in self.parent_of.items() if holder == parent] if everything else epcs
        for epc in children:
            if self.parent_of.get(epc) == parent:
                del self.parent_of[epc]
                self.place_of[epc] = place
        key = _Key(True, parent)
        for amount in [None] if everything and key in self.parts else amounts:
            part = self._take(key, _units(amount))
            if part is not None:
                here = part.place if place is None else place
                self._put(_Key(False, here or ""), part.moved(here, at_ms), at_ms)
        return bool(amounts)

    def _seen_loose(self, place: str, amount: float, at_ms: int) -> None:
        """Units seen loose at a place: those not known to be there came from where others lay loose."""
        here = self.parts.get(_Key(False, place))
        taken = self._take_loose(None, amount - (here.quantity if here else 0), leaving=place)
        if not taken and not self.parts:
            taken = [_Part(amount, place, at_ms)]  # the first we hear of this lot
        for part in taken:
            self._put(_Key(False, place), part.moved(place, at_ms), at_ms)

    def _take_loose(self, place: str | None, amount: float, *, leaving: str | None = None) -> list[_Part]:
        """Up to `amount` loose units, none from `leaving`: those at `place` first, then by how long they lay there."""
        loose = [key for key in self.parts if not key.inside and key.uri != leaving]
        loose.sort(key=lambda key: (key.uri != (place or ""), self.parts[key].since_ms, key.uri))
        taken: list[_Part] = []
        for key in loose:
            if not amount > 0:  # an open amount minus an open amount is no number: nothing is missing then either
                break
            part = self._take(key, amount)
            if part is not None:
                taken.append(part)
                amount -= part.quantity if math.isfinite(amount) else 0
        return taken

    def _take(self, key: _Key, amount: float) -> _Part | None:
        part = self.parts.get(key)
        if part is None:
            return None
        if amount >= part.quantity:
            return self.parts.pop(key)
        self.parts[key] = replace(part, quantity=part.quantity - amount)
        return replace(part, quantity=amount)

    def _put(self, key: _Key, part: _Part, at_ms: int) -> None:
        there = self.parts.get(key)
        self.parts[key] = part if there is None else there.joined(part, at_ms)

    def _settle(self, at_ms: int) -> None:
        """Bring every part inside a parent to the place of its outermost parent."""
        for key, part in self.parts.items():
            if key.inside and any(epc in self.place_of for epc in self._chain(key.uri)):
                self.parts[key] = part.moved(self._place(key.uri), at_ms)

    def _place(self, epc: str) -> str | None:
        """The place of the outermost parent that has one; parents never seen anywhere say nothing."""
        for holder in reversed(self._chain(epc)):
            if holder in self.place_of:
                return self.place_of[holder]
        return None

    def _chain(self, epc: str) -> list[str]:
        """`epc` and its parents, outermost last; a circle (which events can claim) is cut."""
        chain = [epc]
        while (parent := self.parent_of.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _holders(self) -> set[str]:
        return {epc for key in self.parts if key.inside for epc in self._chain(key.uri)}


def _units(quantity: float | None) -> float:
    """An amount left open means all there is."""
    return math.inf if quantity is None else quantity


def _units_named(event: Event) -> set[str]:
    """The units an event names one by one: what was seen, or a parent and what is in it."""
    if isinstance(event, ObjectEvent):
        return set(event.epc_list or [])
    return {event.parent_id or "", *event.child_epcs}


def _place_of(event: Event) -> str | None:
    return None if event.biz_location is None else event.biz_location.id
