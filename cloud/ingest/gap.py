"""The gaps of a stream: which numbers are missing (open), declared lost or thinned (explained), or came late (closed).

A number is missing from the moment at which a higher one of its stream is in the record. Order is the order of leaves
and instants are those of receipt, so the same record gives the same gaps whenever and in whatever portions they are
worked out. Pure; the follower (cloud/ingest/gap_follower.py) keeps them in the database.

Invariants: gaps of a stream are ascending and do not overlap; those that touch and tell the same are one; a number is
open when it is below the head and not settled (cloud/ingest/settled.py), and not otherwise; what closed stays closed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from wire.observation import INT64_MAX

OPEN, EXPLAINED, CLOSED = "open", "explained", "closed"

LossName = tuple[int, int]  # the pack that declares a loss, by id, and the loss's position in it


class Gap(msgspec.Struct, frozen=True):
    """Numbers first_seq … last_seq, and what is known of them.

    opened_ms: when the first higher number came, or when they were declared, if that was before. settled_ms: when they
    were declared or came, the last of them; None while open. An open end is INT64_MAX.
    """

    first_seq: int
    last_seq: int
    state: str
    opened_ms: int
    settled_ms: int | None = None
    loss: LossName | None = None


class Fact(msgspec.Struct, frozen=True):
    """What a pack says of a stream: numbers that it declares (`loss` names where), or its own number that came."""

    first_seq: int
    last_seq: int
    at_ms: int
    loss: LossName | None = None


class Gaps:
    """The gaps of one stream, or of that part of it which facts may touch, while facts are taken in."""

    def __init__(self, head: int, gaps: Iterable[Gap]) -> None:
        """head: the highest number that came; gaps: all that touch a number of the facts, or lie between them."""
        self.head = head
        self._gaps = sorted(gaps, key=_first)

    def take(self, facts: Iterable[Fact]) -> list[Gap]:
        """The gaps after these facts, given in the order of leaves: what a pack declares before the pack itself."""
        for one in facts:
            if one.loss is None:
                self._arrive(one.first_seq, one.at_ms)
            else:
                self._declare(one)
        self._gaps = _joined(self._gaps)
        return self._gaps

    def _arrive(self, seq: int, at_ms: int) -> None:
        if seq > self.head:
            missing = [
                Gap(first, last, OPEN, at_ms) for first, last in self._free(self.head + 1, seq - 1)
            ]  # what was declared before is there already
            self._replace(self.head + 1, seq - 1, [*self._within(self.head + 1, seq - 1), *missing])
            self.head = seq
        for late in self._within(seq, seq):
            if late.state != CLOSED:
                self._replace(seq, seq, [Gap(seq, seq, CLOSED, late.opened_ms, at_ms)])

    def _declare(self, fact: Fact) -> None:
        here = self._within(fact.first_seq, fact.last_seq)
        told = [
            Gap(one.first_seq, one.last_seq, EXPLAINED, one.opened_ms, fact.at_ms, fact.loss)
            if one.state == OPEN
            else one
            for one in here
        ]
        ahead = [
            Gap(first, last, EXPLAINED, fact.at_ms, fact.at_ms, fact.loss)
            for first, last in self._free(max(fact.first_seq, self.head + 1), fact.last_seq)
        ]
        self._replace(fact.first_seq, fact.last_seq, [*told, *ahead])

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """Where the gaps that overlap [first, last] stand."""
        at = bisect_right(self._gaps, first, key=_first)
        if at > 0 and self._gaps[at - 1].last_seq >= first:
            at -= 1
        return at, bisect_right(self._gaps, last, lo=at, key=_first)

    def _within(self, first: int, last: int) -> list[Gap]:
        """The gaps in [first, last], cut to it."""
        if first > last:
            return []
        at, end = self._span(first, last)
        return [_cut(one, first, last) for one in self._gaps[at:end]]

    def _free(self, first: int, last: int) -> list[tuple[int, int]]:
        """The numbers of [first, last] that are in no gap."""
        free, at = [], first
        for one in self._within(first, last):
            if at < one.first_seq:
                free.append((at, one.first_seq - 1))
            at = one.last_seq + 1
        return [*free, (at, last)] if at <= last else free

    def _replace(self, first: int, last: int, gaps: Sequence[Gap]) -> None:
        """Put gaps, all of them within [first, last], into the place of what is there."""
        if first > last:
            return
        at, end = self._span(first, last)
        beyond = [
            _cut(one, low, high)
            for one in self._gaps[at:end]
            for low, high in ((one.first_seq, first - 1), (last + 1, one.last_seq))
            if low <= high
        ]
        self._gaps[at:end] = sorted([*beyond, *gaps], key=_first)


def reach(head: int, facts: Sequence[Fact]) -> tuple[int, int]:
    """Between which numbers gaps must be known to take the facts in: their own, those below them, neighbours."""
    first = min(head + 1, *(one.first_seq for one in facts))
    last = max(one.last_seq for one in facts)
    return max(1, first - 1), min(last + 1, INT64_MAX)


def _joined(gaps: Sequence[Gap]) -> list[Gap]:
    """The same, those that touch and tell the same as one."""
    joined: list[Gap] = []
    for one in gaps:
        last = joined[-1] if joined else None
        if last is not None and last.last_seq + 1 == one.first_seq and _tells(last) == _tells(one):
            settled_ms = None if one.settled_ms is None else max(one.settled_ms, last.settled_ms or 0)
            joined[-1] = msgspec.structs.replace(last, last_seq=one.last_seq, settled_ms=settled_ms)
        else:
            joined.append(one)
    return joined


def _tells(one: Gap) -> tuple[str, int, LossName | None]:
    return one.state, one.opened_ms, one.loss


def _cut(one: Gap, first: int, last: int) -> Gap:
    return msgspec.structs.replace(one, first_seq=max(first, one.first_seq), last_seq=min(last, one.last_seq))


def _first(one: Gap) -> int:
    return one.first_seq
