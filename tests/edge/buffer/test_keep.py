"""What survives thinning, as properties over any series of readings."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.buffer.keep import GAP_STEPS, HOUR_MS, Row, block_of, kept, rows_of
from edge.limits import Limit, Limits
from tests.edge.buffer.history import minute_reading
from wire.columns import build_blocks, check_block, expand
from wire.observation import Quality

LIMITS = Limits([Limit("room-1/air", above=8.0, below=2.0)])
NONE = Limits()
MINUTE_MS = 60_000


@st.composite
def series(draw: st.DrawFn) -> list[Row]:
    """A reading a minute with gaps, failures and steps of the wall clock."""
    rows = []
    monotonic_ms, offset_ms = 0, 1_762_000_000_000
    for _ in range(draw(st.integers(1, 60))):
        monotonic_ms += MINUTE_MS * draw(st.sampled_from([1] * 30 + [0, 2, 3, 90]))
        offset_ms += draw(st.sampled_from([0] * 40 + [-86_400_000, 5_000]))
        mantissa = draw(st.one_of(st.none(), *[st.integers(15, 85)] * 9))
        quality = draw(st.sampled_from([0] * 20 + [1, 2, 3])) if mantissa is not None else 3
        rows.append(Row(monotonic_ms, offset_ms + monotonic_ms, mantissa, quality, 0))
    return rows


def beyond(row: Row) -> bool:
    return row.mantissa is not None and not 20 <= row.mantissa <= 80


@settings(max_examples=60, deadline=None)
@given(series())
def test_extremes_survive_thinning(rows: list[Row]) -> None:
    keep = [rows[at] for at in kept(rows, NONE.bounds("room-1/air", -1))]
    for hour in {row.wall_ms // HOUR_MS for row in rows}:
        numbers = [r.mantissa for r in rows if r.wall_ms // HOUR_MS == hour and r.mantissa is not None]
        stayed = [r.mantissa for r in keep if r.wall_ms // HOUR_MS == hour and r.mantissa is not None]
        if numbers:
            assert (min(stayed), max(stayed)) == (min(numbers), max(numbers))


@settings(max_examples=60, deadline=None)
@given(series())
def test_excursions_survive_thinning_with_their_edges(rows: list[Row]) -> None:
    keep = kept(rows, LIMITS.bounds("room-1/air", -1))
    for at, row in enumerate(rows):
        if beyond(row):
            assert {max(0, at - 1), at, min(len(rows) - 1, at + 1)} <= keep


@settings(max_examples=60, deadline=None)
@given(series())
def test_edges_of_gaps_survive_thinning(rows: list[Row]) -> None:
    keep = kept(rows, NONE.bounds("room-1/air", -1))
    assert {0, len(rows) - 1} <= keep
    steps = sorted(step for a, b in pairwise(rows) if (step := b.monotonic_ms - a.monotonic_ms) > 0)
    for at, (before, after) in enumerate(pairwise(rows)):
        step = after.monotonic_ms - before.monotonic_ms
        gap = step > GAP_STEPS * steps[(len(steps) - 1) // 2] if steps else False
        if gap or before.quality != after.quality or (before.mantissa is None) != (after.mantissa is None):
            assert {at, at + 1} <= keep
    for hour in {row.wall_ms // HOUR_MS for row in rows}:
        inside = [at for at, row in enumerate(rows) if row.wall_ms // HOUR_MS == hour]
        assert {inside[0], inside[-1]} <= keep


def test_a_quiet_day_is_thinned_to_four_readings_an_hour_at_most() -> None:
    rows = [Row(n * MINUTE_MS, n * MINUTE_MS, 40 + n % 7, 0, 0) for n in range(24 * 60)]
    assert len(kept(rows, LIMITS.bounds("room-1/air", -1))) <= 24 * 4


@settings(max_examples=40, deadline=None)
@given(series(), st.data())
def test_a_thinned_block_holds_exactly_the_rows_chosen(rows: list[Row], data: st.DataObject) -> None:
    readings = [minute_reading(n, row.mantissa, quality=Quality(row.quality)) for n, row in enumerate(rows)]
    (block,) = build_blocks(readings)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    every = rows_of(block)
    thin = block_of(block, [every[at] for at in chosen])
    check_block(thin, "thin")
    assert thin.thinned
    assert list(expand(thin)) == [readings[at] for at in chosen]


@pytest.mark.parametrize(("mantissa", "exponent", "crossed"), [(83, -1, False), (84, -1, True), (8, 0, False)])
def test_limits_are_compared_as_decimals(mantissa: int, exponent: int, crossed: bool) -> None:
    limits = Limits([Limit("room-1/air", above=8.3)])
    assert limits.bounds("room-1/air", exponent).crossed_by(mantissa) is crossed
    assert not limits.bounds("room-2/air", exponent).crossed_by(10**9)


@pytest.mark.parametrize("named", [{}, {"above": 1.0, "below": 2.0}, {"above": float("inf")}])
def test_senseless_limits_are_refused(named: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above"):
        Limit("room-1/air", **named)
