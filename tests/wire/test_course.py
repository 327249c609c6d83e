"""What holds of many corrections: the plain rule of wire.md §4.3, and in a time that grows with their number only."""

from __future__ import annotations

from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.telemetry.corrections import CORRECTIONS_MAX
from wire.course import UNCORRECTED, Course, TimeCorrection, Told, changes, rank, ranks

END = 40
LIMIT_S = 2  # it takes a tenth of a second; by pairs it took four


def told(precedence: int, begin: int, end: int, offset_ms: int = 0) -> Told:
    return Told((0, b"s" * 16, precedence, 0), begin, end, TimeCorrection(offset_ms, 20, "ntp"))


ranges = st.lists(st.tuples(st.integers(0, END), st.integers(0, END), st.integers(1, 3)), max_size=12)
several = ranges.map(lambda some: [told(at, min(a, b), max(a, b), what) for at, (a, b, what) in enumerate(some)])


@given(several, st.randoms(use_true_random=False))
def test_of_those_that_cover_a_row_the_strongest_counts(some: list[Told], random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    course = Course(shuffled)
    for at in range(-1, END + 2):
        covers = [one for one in some if one.from_monotonic_ms <= at <= one.to_monotonic_ms]
        assert course.at(at) == (covers[-1].correction if covers else None)
    for one, following in pairwise(course.stretches):
        assert one.from_monotonic_ms <= one.to_monotonic_ms < following.from_monotonic_ms


@given(several, several)
def test_changes_are_where_something_else_holds_and_nowhere_else(some: list[Told], others: list[Told]) -> None:
    before, after = Course(some), Course(others)
    found = {
        at: one.correction
        for one in changes(before, after)
        for at in range(one.from_monotonic_ms, one.to_monotonic_ms + 1)
    }
    for at in range(-1, END + 2):
        holds = after.at(at)
        assert found.get(at) == (None if holds == before.at(at) else holds or UNCORRECTED)
    assert changes(after, after) == []


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 9)))
def test_ranks_are_those_of_each_stream_also_in_a_ring(links: dict[int, int]) -> None:
    predecessors = {bytes([one]): bytes([prior]) for one, prior in links.items()}
    streams = [bytes([one]) for one in range(10)]
    assert ranks(streams, predecessors) == {one: rank(one, predecessors) for one in streams}


@pytest.mark.parametrize("shape", ["disjoint", "nested", "nested the other way"])
def test_as_many_as_a_boot_may_have_cost_little(shape: str) -> None:
    count = CORRECTIONS_MAX
    if shape == "disjoint":
        some = [told(at, 10 * at, 10 * at + 5, at) for at in range(count)]
    else:
        some = [told(at, at, 3 * count - at, at) for at in range(count)]
        if shape == "nested the other way":
            some = [told(count - at, at, 3 * count - at, at) for at in range(count)]
    began_s = process_time()
    course = Course(some)
    assert changes(course, Course(some[1:]))
    assert process_time() - began_s < LIMIT_S
    assert course.at(5) is not None


def test_a_long_line_of_streams_is_ranked_at_once() -> None:
    line = [at.to_bytes(16) for at in range(CORRECTIONS_MAX)]
    predecessors = {stream: prior for prior, stream in pairwise(line)}
    began_s = process_time()
    assert list(ranks(reversed(line), predecessors).values()).count(0) == 1
    assert process_time() - began_s < LIMIT_S
