"""Sets of sequence numbers as ascending, non-touching (first, last) ranges: small however long the history is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
Ranges = list[Range]


def unite(ranges: Ranges, more: Iterable[Range]) -> Ranges:
    """The union; neither argument is changed."""
    united: Ranges = []
    for first, last in sorted([*ranges, *more]):
        if united and first <= united[-1][1] + 1:
            united[-1] = (united[-1][0], max(united[-1][1], last))
        else:
            united.append((first, last))
    return united


def contains(ranges: Ranges, number: int) -> bool:
    """Whether `number` lies in one of the ranges."""
    at = bisect_right(ranges, number, key=lambda pair: pair[0]) - 1
    return at >= 0 and number <= ranges[at][1]


def gaps(ranges: Ranges, first: int, last: int) -> Ranges:
    """What the ranges leave out of [first, last]."""
    left: Ranges = []
    for low, high in ranges[max(0, bisect_left(ranges, first, key=lambda pair: pair[1])) :]:
        if low > last:
            break
        if first < low:
            left.append((first, low - 1))
        first = max(first, high + 1)
    if first <= last:
        left.append((first, last))
    return left


def subtract(ranges: Ranges, less: Ranges) -> Ranges:
    """What of the ranges lies in none of `less`."""
    return [piece for first, last in ranges for piece in gaps(less, first, last)]


def numbers(ranges: Ranges, *, descending: bool = False) -> Iterator[int]:
    """Every number of the ranges, one by one."""
    if descending:
        for first, last in reversed(ranges):
            yield from range(last, first - 1, -1)
    else:
        for first, last in ranges:
            yield from range(first, last + 1)


def size(ranges: Ranges) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)
