"""Which correction counts for a row of a boot (docs/wire.md §4.3). Pure.

Corrections don't add up: of those that cover a row the one with the highest precedence counts. That is decided once per
boot: the result is a list of stretches of monotonic time that don't overlap, each with the correction that holds there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import pairwise

import msgspec

Precedence = tuple[int, bytes, int, int]  # how many streams went before, stream, seq, position in `corrections`


class TimeCorrection(msgspec.Struct, frozen=True, gc=False):
    """What was added to a believed time, how far off the result may be, and who knew better: ntp, gps, operator."""

    offset_ms: int
    uncertainty_ms: int
    source: str


class Told(msgspec.Struct, frozen=True):
    """One correction as a pack told it."""

    precedence: Precedence
    from_monotonic_ms: int
    to_monotonic_ms: int
    correction: TimeCorrection


class Stretch(msgspec.Struct, frozen=True):
    """[from, to] of a boot's monotonic time, both inclusive, and what holds there."""

    from_monotonic_ms: int
    to_monotonic_ms: int
    correction: TimeCorrection


class Course:
    """The corrections of one boot, resolved."""

    def __init__(self, told: Sequence[Told] = ()) -> None:
        self.stretches = _resolve(told)
        self._begins = [stretch.from_monotonic_ms for stretch in self.stretches]

    def at(self, monotonic_ms: int) -> TimeCorrection | None:
        """What holds for a row, None where nobody corrected it."""
        at = bisect_right(self._begins, monotonic_ms) - 1
        if at < 0 or self.stretches[at].to_monotonic_ms < monotonic_ms:
            return None
        return self.stretches[at].correction

    def whole(self, from_monotonic_ms: int, to_monotonic_ms: int) -> bool:
        """Whether one thing holds from end to end: the same stretch, or none at all."""
        at = bisect_right(self._begins, from_monotonic_ms) - 1
        following = at + 1
        if following < len(self._begins) and self._begins[following] <= to_monotonic_ms:
            return False
        inside = at >= 0 and self.stretches[at].to_monotonic_ms >= from_monotonic_ms
        return not inside or self.stretches[at].to_monotonic_ms >= to_monotonic_ms


def changes(before: Course, after: Course) -> list[Stretch]:
    """The stretches where something else holds than before, and what it is; `UNCORRECTED` where nothing is left."""
    both = (before.stretches, after.stretches)
    edges = sorted(
        {one.from_monotonic_ms for some in both for one in some}
        | {one.to_monotonic_ms + 1 for some in both for one in some}
    )
    found: list[Stretch] = []
    for edge, following in pairwise(edges):
        holds = after.at(edge)
        if holds == before.at(edge):
            continue
        counts, begin = UNCORRECTED if holds is None else holds, edge
        if found and (found[-1].to_monotonic_ms, found[-1].correction) == (edge - 1, counts):
            begin = found.pop().from_monotonic_ms
        found.append(Stretch(begin, following - 1, counts))
    return found


def ranks(streams: Iterable[bytes], predecessors: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """`rank` of each of these, walking each link once however long the line of streams is."""
    known: dict[bytes, int] = {}
    for stream in streams:
        path: dict[bytes, int] = {}
        at: bytes | None = stream
        while at is not None and at not in known and at not in path:
            path[at] = len(path)
            at = predecessors.get(at)
        line = list(path)
        if at is not None and at in path:  # a ring: each goes on from all the others
            ring = line[path[at] :]
            known.update(dict.fromkeys(ring, len(ring) - 1))
            line = line[: path[at]]
        for one in reversed(line):
            prior = predecessors.get(one)
            known[one] = 0 if prior is None else known[prior] + 1
    return known


def rank(stream: bytes, predecessors: Mapping[bytes, bytes]) -> int:
    """How many streams went before this one, as far as it is known."""
    return len(ancestors(stream, predecessors))


def ancestors(stream: bytes, predecessors: Mapping[bytes, bytes]) -> set[bytes]:
    """The streams that went before this one; a ring, which nobody can sign by mistake, ends."""
    passed = {stream}
    at = stream
    while (before := predecessors.get(at)) is not None and before not in passed:
        passed.add(before)
        at = before
    return passed - {stream}


def _resolve(told: Sequence[Told]) -> list[Stretch]:
    """A sweep along monotonic time: at each edge the strongest of those that hold there goes on."""
    strongest = sorted(told, key=lambda one: one.precedence, reverse=True)
    begins = sorted(range(len(strongest)), key=lambda at: strongest[at].from_monotonic_ms)
    edges = sorted({one.from_monotonic_ms for one in told} | {one.to_monotonic_ms + 1 for one in told})
    holding: list[int] = []  # heap of places in `strongest`; what has ended goes when it comes up
    found: list[tuple[int, int, int]] = []  # from, to, place in `strongest`
    begun = 0
    for edge, following in pairwise(edges):
        while begun < len(begins) and strongest[begins[begun]].from_monotonic_ms <= edge:
            heappush(holding, begins[begun])
            begun += 1
        while holding and strongest[holding[0]].to_monotonic_ms < edge:
            heappop(holding)
        if not holding:
            continue
        if found and found[-1][1:] == (edge - 1, holding[0]):
            found[-1] = found[-1][0], following - 1, holding[0]
        else:
            found.append((edge, following - 1, holding[0]))
    return [Stretch(from_ms, to_ms, strongest[at].correction) for from_ms, to_ms, at in found]


NOTHING = Course()
UNCORRECTED = TimeCorrection(0, 0, "")  # of a stretch where nothing holds any more
