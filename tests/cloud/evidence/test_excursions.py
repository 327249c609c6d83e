"""Excursions, by table and against a plain state machine that looks at one reading after the other."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.evidence.excursions import Limits, find
from cloud.evidence.statistics import Course, Window
from cloud.registry.profile import Profile, Rule

MINUTE = 60_000


def rule(threshold: float = 8.0, minutes: int = 5, **changes: object) -> Rule:
    given = {"name": "warm", "direction": "above", "severity": "critical", **changes}
    return Rule(threshold=threshold, duration_s=minutes * 60, **given)  # type: ignore[arg-type]


def limits(*rules: Rule) -> Limits:
    return Limits([(0, profile(*rules))])


def profile(*rules: Rule, version: int = 1) -> Profile:
    return Profile("chilled", version, "Hàng mát", "Chilled", "test", 2.0, 8.0, list(rules))


def per_minute(values: list[float]) -> tuple[Course, Window]:
    times = [MINUTE * at for at in range(len(values))]
    return Course(times, values), Window(0, MINUTE * len(values), MINUTE, 2 * MINUTE)


def spans(values: list[float], *rules: Rule) -> list[tuple[int, int, bool, bool]]:
    """(from, to, triggered, open) in minutes."""
    course, window = per_minute(values)
    found = find(course, window, limits(*rules), kind="storage", measurement="Temperature")
    return [(one.from_ms // MINUTE, one.to_ms // MINUTE, one.triggered, one.open) for one in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5, 5, 5], []),
        ([5, 9, 9, 5], [(1, 3, False, False)]),
        ([5, 9, 9, 9, 9, 9, 5], [(1, 6, True, False)]),
        ([9, 9, 9, 9, 5], [(0, 4, False, False)]),
        ([5, 9, 9], [(1, 3, False, True)]),
        ([9] * 5, [(0, 5, True, True)]),
        ([9, 5, 9, 5], [(0, 1, False, False), (2, 3, False, False)]),
        ([8, 8, 5], [(0, 2, False, False)]),  # inclusive: the threshold itself is out
        ([7.99, 5, 5], []),
    ],
)
def test_runs_above_a_threshold(values: list[float], expected: list[tuple[int, int, bool, bool]]) -> None:
    assert spans(values, rule(8, 5)) == expected


def test_an_exclusive_threshold_is_still_in() -> None:
    assert spans([8, 8, 8.01, 5], rule(8, 5, inclusive=False)) == [(2, 3, False, False)]


def test_runs_below_a_threshold_keep_the_lowest_value() -> None:
    course, window = per_minute([3, 1.5, -0.5, 3])
    [one] = find(course, window, limits(rule(2, 1, direction="below")), kind="storage", measurement="Temperature")
    assert (one.extreme, one.threshold, one.triggered) == (-0.5, 2, True)


def test_an_instant_rule_triggers_on_one_reading() -> None:
    assert spans([5, 9, 5], rule(8, 0)) == [(1, 2, True, False)]


def test_an_excursion_is_never_joined_across_a_gap() -> None:
    times = [0, MINUTE, 10 * MINUTE, 11 * MINUTE]
    window = Window(0, 12 * MINUTE, MINUTE, 2 * MINUTE)
    found = find(Course(times, [9, 9, 9, 9]), window, limits(rule()), kind="storage", measurement="Temperature")
    assert [(one.from_ms, one.to_ms, one.triggered, one.open) for one in found] == [
        (0, 2 * MINUTE, False, False),
        (10 * MINUTE, 12 * MINUTE, False, True),
    ]


def test_an_excursion_before_a_silent_end_is_not_called_open() -> None:
    window = Window(0, 30 * MINUTE, MINUTE, 2 * MINUTE)
    [one] = find(Course([0], [9]), window, limits(rule()), kind="storage", measurement="Temperature")
    assert (one.to_ms, one.open) == (MINUTE, False)


def test_rules_hold_for_their_places_and_measurement_only() -> None:
    course, window = per_minute([9, 9, 5])
    of = limits(rule(places=["vehicle"]), rule(name="damp", measurement="RelativeHumidity", unit="P1"))
    assert find(course, window, of, kind="storage", measurement="Temperature") == []
    assert len(find(course, window, of, kind="vehicle", measurement="Temperature")) == 1
    assert len(find(course, window, of, kind="storage", measurement="RelativeHumidity")) == 1


def test_each_reading_is_judged_by_the_limits_in_force_when_it_was_taken() -> None:
    course, window = per_minute([7, 7, 7, 7, 5])
    versions = Limits([(0, profile(rule(8, 2))), (2 * MINUTE, profile(rule(6, 2), version=2))])
    [one] = find(course, window, versions, kind="storage", measurement="Temperature")
    assert (one.from_ms, one.to_ms, one.threshold) == (2 * MINUTE, 4 * MINUTE, 6)


def test_a_run_across_a_change_of_limits_stays_one_excursion() -> None:
    course, window = per_minute([9, 9, 9, 9, 5])
    versions = Limits([(0, profile(rule(8, 4))), (2 * MINUTE, profile(rule(6, 4), version=2))])
    [one] = find(course, window, versions, kind="storage", measurement="Temperature")
    assert (one.from_ms, one.to_ms, one.threshold, one.triggered) == (0, 4 * MINUTE, 8, True)


def test_a_version_without_the_rule_ends_the_excursion() -> None:
    course, window = per_minute([9, 9, 9, 9, 5])
    versions = Limits([(0, profile(rule(8, 1))), (2 * MINUTE, profile(version=2))])
    [one] = find(course, window, versions, kind="storage", measurement="Temperature")
    assert (one.from_ms, one.to_ms) == (0, 2 * MINUTE)


@st.composite
def courses(draw: st.DrawFn) -> tuple[Course, Window, Rule]:
    interval = draw(st.integers(1, 5)) * 1000
    times = sorted(draw(st.lists(st.integers(0, 99_999), max_size=25)))
    values = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=len(times), max_size=len(times)))
    judged = Rule(
        name="r",
        direction=draw(st.sampled_from(["above", "below"])),
        threshold=2.0,
        duration_s=draw(st.integers(0, 20)),
        severity="critical",
        inclusive=draw(st.booleans()),
    )
    return Course(times, values), Window(0, 100_000, interval, interval * 2), judged


def plain(course: Course, window: Window, judged: Rule) -> list[tuple[int, int, float, bool, bool]]:
    """The same by hand: (from, to, extreme, triggered, open)."""
    beyond = {
        ("above", True): lambda value: value >= judged.threshold,
        ("above", False): lambda value: value > judged.threshold,
        ("below", True): lambda value: value <= judged.threshold,
        ("below", False): lambda value: value < judged.threshold,
    }[judged.direction, judged.inclusive]
    pick = max if judged.direction == "above" else min
    found = []
    running: list[tuple[int, float]] = []

    def close(to_ms: int, is_open: bool) -> None:
        start = running[0][0]
        extreme = pick(value for _, value in running)
        found.append((start, to_ms, extreme, to_ms - start >= judged.duration_s * 1000, is_open))
        running.clear()

    previous = None
    for at, value in zip(course.times, course.values, strict=True):
        if running and previous is not None and at - previous > window.gap_limit_ms:
            close(previous + window.log_interval_ms, False)
        if beyond(value):
            running.append((at, value))
        elif running:
            close(at, False)
        previous = at
    if running and previous is not None:
        end = min(previous + window.log_interval_ms, window.until_ms)
        close(end, window.until_ms - previous <= window.gap_limit_ms)
    return found


@settings(derandomize=True, deadline=None)
@given(courses())
def test_excursions_equal_a_walk_over_the_readings(given_: tuple[Course, Window, Rule]) -> None:
    course, window, judged = given_
    found = find(course, window, limits(judged), kind="storage", measurement="Temperature")
    got = [(one.from_ms, one.to_ms, one.extreme, one.triggered, one.open) for one in found]
    assert got == plain(course, window, judged)


def test_a_long_stay_is_judged_fast() -> None:
    rng = random.Random(7)
    times = [MINUTE * at for at in range(15_000)]
    window = Window(0, 15_000 * MINUTE, MINUTE, 2 * MINUTE)
    columns = [[rng.gauss(5, 3) for _ in times] for _ in range(10)]
    of = limits(rule(8, 30), rule(2, 30, name="cold", direction="below"))
    started = time.process_time()
    for values in columns:
        find(Course(times, values), window, of, kind="storage", measurement="Temperature")
    assert time.process_time() - started < 0.5
