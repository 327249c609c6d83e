"""Statistics of a window, against a plain evaluator that walks every millisecond."""

from __future__ import annotations

import math
import random
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.evidence.model import Gap
from cloud.evidence.statistics import Course, Window, share, summarise

MINUTE = 60_000


def window(
    from_ms: int, until_ms: int, *, interval: int = MINUTE, factor: float = 2.0, is_open: bool = False
) -> Window:
    return Window(from_ms, until_ms, interval, int(interval * factor), is_open)


def every_minute(count: int, start: int = 0) -> list[int]:
    return [start + MINUTE * at for at in range(count)]


def test_even_readings_give_the_plain_mean_and_full_coverage() -> None:
    values = [1.0, 2.0, 3.0, 6.0]
    found = summarise(Course(every_minute(4), values), window(0, 4 * MINUTE))
    assert (found.count, found.min, found.max, found.mean) == (4, 1.0, 6.0, 3.0)
    assert found.covered == [(0, 4 * MINUTE)]
    assert found.gaps == []


def test_mean_weighs_each_reading_by_the_time_until_the_next_one() -> None:
    times = [0, MINUTE, 3 * MINUTE]
    found = summarise(Course(times, [10.0, 20.0, 40.0]), window(0, 4 * MINUTE))
    assert found.mean == pytest.approx((10 * 1 + 20 * 2 + 40 * 1) / 4, abs=1e-12)


def test_a_reading_before_a_gap_speaks_for_one_interval_only() -> None:
    times = [0, 10 * MINUTE]
    found = summarise(Course(times, [0.0, 9.0]), window(0, 12 * MINUTE))
    assert found.mean == pytest.approx(4.5, abs=1e-12)
    assert found.covered == [(0, MINUTE), (10 * MINUTE, 11 * MINUTE)]
    assert found.gaps == [Gap(0, 10 * MINUTE, "unknown")]


def test_a_silence_of_exactly_the_limit_is_no_gap() -> None:
    times = [0, 2 * MINUTE]
    assert summarise(Course(times, [1.0, 1.0]), window(0, 3 * MINUTE)).gaps == []
    times = [0, 2 * MINUTE + 1]
    assert summarise(Course(times, [1.0, 1.0]), window(0, 3 * MINUTE)).gaps == [Gap(0, 2 * MINUTE + 1, "unknown")]


def test_the_reading_before_the_stay_covers_its_start_but_is_not_counted() -> None:
    stay = window(0, 2 * MINUTE)
    found = summarise(Course([MINUTE], [5.0], carry_ms=-30_000), stay)
    assert found.covered == [(0, 2 * MINUTE)]
    assert (found.count, found.mean) == (1, 5.0)
    alone = summarise(Course([MINUTE], [5.0]), stay)
    assert alone.covered == [(MINUTE, 2 * MINUTE)]


def test_a_reading_too_long_before_the_stay_covers_nothing() -> None:
    found = summarise(Course([], [], carry_ms=-3 * MINUTE), window(0, 5 * MINUTE))
    assert found.covered == []
    assert found.gaps == [Gap(0, 5 * MINUTE, "unknown")]


def test_silence_that_begins_before_the_stay_is_measured_whole_and_shown_inside() -> None:
    found = summarise(Course([100_000], [5.0], carry_ms=-90_000), window(0, 3 * MINUTE))
    assert found.gaps == [Gap(0, 100_000, "unknown")]


def test_gaps_at_both_edges_of_the_stay_are_found() -> None:
    found = summarise(Course([10 * MINUTE], [5.0]), window(0, 20 * MINUTE))
    assert [(gap.from_ms, gap.to_ms) for gap in found.gaps] == [(0, 10 * MINUTE), (10 * MINUTE, 20 * MINUTE)]


def test_silence_at_the_end_of_a_running_stay_is_not_yet_read() -> None:
    stay = window(0, 20 * MINUTE, is_open=True)
    assert summarise(Course([0], [5.0]), stay).gaps == [Gap(0, 20 * MINUTE, "no_reading_yet")]


@pytest.mark.parametrize(
    ("errors", "stale", "cause"),
    [([5 * MINUTE], [], "sensor_error"), ([], [5 * MINUTE], "stale"), ([5], [5], "sensor_error"), ([], [], "unknown")],
)
def test_a_gap_names_its_cause(errors: list[int], stale: list[int], cause: str) -> None:
    course = Course([0, 10 * MINUTE], [1.0, 1.0], error_ms=errors, stale_ms=stale)
    assert [gap.cause for gap in summarise(course, window(0, 11 * MINUTE)).gaps] == [cause]


def test_no_reading_at_all_gives_no_numbers_and_one_gap() -> None:
    found = summarise(Course([], []), window(0, 10 * MINUTE))
    assert (found.count, found.min, found.max, found.mean, found.covered) == (0, None, None, None, [])
    assert found.gaps == [Gap(0, 10 * MINUTE, "unknown")]


def test_an_empty_window_has_neither_coverage_nor_gaps() -> None:
    found = summarise(Course([], []), window(5, 5))
    assert (found.covered, found.gaps, share(found.covered, 5, 5)) == ([], [], 0.0)


def test_equal_times_are_all_counted_and_the_last_one_stands() -> None:
    found = summarise(Course([0, 0, MINUTE], [1.0, 3.0, 5.0]), window(0, 2 * MINUTE))
    assert (found.count, found.mean) == (3, 4.0)


def test_mean_never_leaves_the_range_of_the_readings() -> None:
    found = summarise(Course(every_minute(3), [0.1, 0.1, 0.1]), window(0, 3 * MINUTE))
    assert found.mean == 0.1


def test_coverage_counts_overlapping_series_once() -> None:
    assert share([(0, 60), (40, 80), (90, 200)], 0, 100) == pytest.approx(0.9)


@st.composite
def courses(draw: st.DrawFn) -> tuple[Course, Window]:
    """Small windows with whole-number times, so that a walk over every millisecond is possible."""
    from_ms = draw(st.integers(0, 20))
    until_ms = from_ms + draw(st.integers(1, 60))
    interval = draw(st.integers(1, 8))
    limit = interval * draw(st.integers(1, 3))
    times = sorted(draw(st.lists(st.integers(from_ms, until_ms - 1), max_size=20)))
    numbers = st.integers(-4000, 4000).map(lambda mantissa: mantissa / 100)
    values = draw(st.lists(numbers, min_size=len(times), max_size=len(times)))
    carry = draw(st.none() | st.integers(from_ms - 30, from_ms - 1))
    return Course(times, values, carry), Window(from_ms, until_ms, interval, limit)


def walk(course: Course, stay: Window) -> tuple[set[int], Fraction | None]:
    """Covered milliseconds and exact mean, by asking at every instant which reading speaks for it."""
    marks = ([] if course.carry_ms is None else [(course.carry_ms, None)]) + list(
        zip(course.times, map(Fraction, course.values), strict=True)
    )
    if course.carry_ms is not None and stay.from_ms - course.carry_ms > stay.gap_limit_ms:
        marks = marks[1:]
    covered, total, weight = set(), Fraction(0), 0
    for instant in range(stay.from_ms, stay.until_ms):
        index = max((i for i, (at, _) in enumerate(marks) if at <= instant), default=None)
        if index is None:
            continue
        at, value = marks[index]
        following = marks[index + 1][0] if index + 1 < len(marks) else None
        joined = following is not None and following - at <= stay.gap_limit_ms
        if joined or instant < at + stay.log_interval_ms:
            covered.add(instant)
            if value is not None:
                total, weight = total + value, weight + 1
    return covered, (total / weight if weight else None)


@settings(derandomize=True, deadline=None)
@given(courses())
def test_mean_and_coverage_equal_a_walk_over_every_instant(given_: tuple[Course, Window]) -> None:
    course, stay = given_
    found = summarise(course, stay)
    covered, mean = walk(course, stay)
    assert {at for start, end in found.covered for at in range(start, end)} == covered
    assert share(found.covered, stay.from_ms, stay.until_ms) == len(covered) / (stay.until_ms - stay.from_ms)
    if mean is None:
        assert found.mean is None
    else:
        assert found.mean is not None
        assert math.isclose(found.mean, mean, rel_tol=0, abs_tol=1e-9)


@settings(derandomize=True, deadline=None)
@given(courses())
def test_gaps_are_exactly_the_silences_beyond_the_limit(given_: tuple[Course, Window]) -> None:
    course, stay = given_
    found = summarise(course, stay)
    carried = course.carry_ms is not None and stay.from_ms - course.carry_ms <= stay.gap_limit_ms
    marks = [course.carry_ms if carried else stay.from_ms, *course.times, stay.until_ms]
    expected = []
    for before, after in pairwise(marks):
        assert before is not None
        if after - before > stay.gap_limit_ms and after > stay.from_ms:
            expected.append((max(before, stay.from_ms), after))
    assert [(gap.from_ms, gap.to_ms) for gap in found.gaps] == expected
    assert all(not any(gap.from_ms < at < gap.to_ms for at in course.times) for gap in found.gaps)


def test_ten_series_of_fifteen_thousand_readings_take_less_than_half_a_second() -> None:
    rng = random.Random(20211107)
    series = [[round(rng.gauss(-20, 2), 2) for _ in range(15_000)] for _ in range(10)]
    times = every_minute(15_000)
    started = time.process_time()
    for values in series:
        summarise(Course(times, values, carry_ms=-1), window(0, 15_000 * MINUTE))
    assert time.process_time() - started < 0.5
