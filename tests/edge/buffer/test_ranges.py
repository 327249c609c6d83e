from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.buffer.ranges import contains, gaps, numbers, size, unite

spans = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))), max_size=12)


def as_set(ranges: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(spans, spans)
def test_union_is_the_union_of_sets_in_canonical_form(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    united = unite(unite([], one), other)
    assert as_set(united) == as_set(one) | as_set(other)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(united))
    assert size(united) == len(as_set(united))


@given(spans, st.integers(1, 70), st.integers(0, 70))
def test_gaps_and_contains_agree_with_sets(some: list[tuple[int, int]], first: int, last: int) -> None:
    ranges = unite([], some)
    left = gaps(ranges, first, last)
    assert as_set(left) == set(range(first, last + 1)) - as_set(ranges)
    assert all(contains(ranges, number) == (number in as_set(ranges)) for number in range(75))
    assert list(numbers(left)) == sorted(as_set(left))
    assert list(numbers(left, descending=True)) == sorted(as_set(left), reverse=True)
