"""Double-entry for the demonstration: what left the devices against what stands in the record. Pure.

Both sides are sequences of the same numbers in the same order, so they are aligned like two texts: equal values
pair up, as near in time as possible, and what finds no partner was lost, or was stored once too often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

BAND = 64  # how far the two sides may drift apart before an alignment is hopeless
_SKIP = 1e9  # leaving a value without partner costs more than any distance in time


class Entry(msgspec.Struct, frozen=True):
    """One value on either side. `host_s` (host monotonic seconds) is known for produced ones only."""

    value: str
    at_ms: int
    host_s: float = 0.0


class Account(msgspec.Struct, frozen=True):
    """The balance: lost = produced − stored − unaccepted when nothing is doubled."""

    produced: int = 0
    stored: int = 0
    unaccepted: int = 0
    lost: int = 0
    duplicated: int = 0

    def __add__(self, other: Account) -> Account:
        return Account(
            self.produced + other.produced,
            self.stored + other.stored,
            self.unaccepted + other.unaccepted,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
        )


Window = tuple[float, float]  # host monotonic seconds in which an answer may be lost with a killed gateway


def balance(produced: Sequence[Entry], stored: Sequence[Entry], windows: Iterable[Window] = ()) -> Account:
    """Balance one channel. A missing value is `unaccepted` inside a window, `lost` outside."""
    pairs = _align(produced, stored)
    missing = set(range(len(produced))) - {here for here, _ in pairs}
    spans = list(windows)
    unaccepted = sum(any(start <= produced[at].host_s <= end for start, end in spans) for at in missing)
    return Account(
        produced=len(produced),
        stored=len(stored),
        unaccepted=unaccepted,
        lost=len(missing) - unaccepted,
        duplicated=len(stored) - len(pairs),
    )


def _align(left: Sequence[Entry], right: Sequence[Entry]) -> list[tuple[int, int]]:
    """Pairs (i, j) with equal values, in order, as many as possible and then as near in time as possible."""
    reach = BAND + abs(len(left) - len(right))
    best: dict[tuple[int, int], float] = {(0, 0): 0.0}
    came_from: dict[tuple[int, int], tuple[int, int]] = {}

    def offer(to: tuple[int, int], cost: float, source: tuple[int, int]) -> None:
        if cost < best.get(to, float("inf")):
            best[to] = cost
            came_from[to] = source

    for i in range(len(left) + 1):
        for j in range(max(0, i - reach), min(len(right), i + reach) + 1):
            here = best.get((i, j))
            if here is None:
                continue
            if i < len(left):
                offer((i + 1, j), here + _SKIP, (i, j))
            if j < len(right):
                offer((i, j + 1), here + _SKIP, (i, j))
            if i < len(left) and j < len(right) and left[i].value == right[j].value:
                offer((i + 1, j + 1), here + min(abs(left[i].at_ms - right[j].at_ms), 1e8), (i, j))
    pairs = []
    at = (len(left), len(right))
    while at != (0, 0):
        before = came_from[at]
        if at[0] - before[0] == 1 and at[1] - before[1] == 1:
            pairs.append(before)
        at = before
    return pairs[::-1]
