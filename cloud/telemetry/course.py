"""Which correction counts for a row of a boot (docs/wire.md §4.3). Pure.

Corrections don't add up: of those that cover a row the one with the highest precedence counts. That is decided once per
boot: the result is a list of stretches of monotonic time that don't overlap, each with the correction that holds there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

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
    """From the strongest on, each one takes what the stronger ones left free."""
    taken: list[Stretch] = []
    for one in sorted(told, key=lambda one: one.precedence, reverse=True):
        free, begin = [], one.from_monotonic_ms
        for stretch in taken:
            if stretch.to_monotonic_ms < begin:
                continue
            if stretch.from_monotonic_ms > one.to_monotonic_ms:
                break
            if stretch.from_monotonic_ms > begin:
                free.append(Stretch(begin, stretch.from_monotonic_ms - 1, one.correction))
            begin = stretch.to_monotonic_ms + 1
        if begin <= one.to_monotonic_ms:
            free.append(Stretch(begin, one.to_monotonic_ms, one.correction))
        if free:
            taken = sorted([*taken, *free], key=lambda stretch: stretch.from_monotonic_ms)
    return taken


NOTHING = Course()
