"""Axes: labels at round places, as many as there is room for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.web.formats import local
from cloud.web.scale import Axis, time_ticks, value_domain, value_ticks

START_MS = 1_760_000_000_000


@given(st.floats(-100, 100), st.floats(0.01, 200))
def test_value_ticks_are_inside_few_and_evenly_apart(low: float, width: float) -> None:
    ticks = value_ticks(low, low + width)
    assert 1 <= len(ticks) <= 8
    assert all(low - 1e-6 <= tick <= low + width + 1e-6 for tick in ticks)
    steps = {round(second - first, 6) for first, second in pairwise(ticks)}
    assert len(steps) <= 1


@given(st.integers(0, 10**12), st.integers(1, 3 * 365 * 86_400_000), st.integers(3, 14))
def test_time_ticks_are_inside_and_few(from_ms: int, width_ms: int, most: int) -> None:
    step, ticks = time_ticks(from_ms, from_ms + width_ms, most=most)
    assert len(ticks) <= most + 1
    assert all(from_ms <= tick <= from_ms + width_ms for tick in ticks)
    assert all(second - first == step for first, second in pairwise(ticks))


def test_days_begin_at_local_midnight() -> None:
    _, ticks = time_ticks(START_MS, START_MS + 10 * 86_400_000, most=12)
    assert {(local(tick).hour, local(tick).minute) for tick in ticks} == {(0, 0)}


@given(st.lists(st.floats(-80, 80), min_size=1))
def test_domain_has_air_and_height(values: list[float]) -> None:
    low, high = value_domain(values)
    assert low < min(values)
    assert high > max(values)
    assert high - low >= 0.999


def test_axis_keeps_what_lies_outside_at_its_edge() -> None:
    axis = Axis(0, 10, 100, 0)
    assert [axis.at(value) for value in (-5, 0, 5, 10, 99)] == [100, 100, 50, 0, 0]
