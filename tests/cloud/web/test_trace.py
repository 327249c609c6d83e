"""Lines of a chart: never joined across a gap, and never without their extremes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.evidence.statistics import merged
from cloud.web.trace import Piece, Point, Trace, cut, envelope, pieces

values = st.one_of(st.none(), st.floats(-40, 60, allow_nan=False))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    steps = draw(st.lists(st.tuples(st.integers(0, 300), values), max_size=60))
    times = [sum(step for step, _ in steps[: at + 1]) for at in range(len(steps))]
    spans = draw(st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 900)), max_size=4))
    return Trace(times, [value for _, value in steps], 150, [(start, start + length) for start, length in spans])


@given(traces())
def test_no_piece_reaches_over_a_gap_a_long_step_or_a_missing_number(trace: Trace) -> None:
    for piece in pieces(trace):
        for before_ms, after_ms in pairwise(piece.times):
            assert after_ms - before_ms <= trace.max_step_ms
            assert not any(start < after_ms and end > before_ms for start, end in trace.gaps)
    drawn = [pair for piece in pieces(trace) for pair in zip(piece.times, piece.values, strict=True)]
    numbers = [pair for pair in zip(trace.times, trace.values, strict=True) if pair[1] is not None]
    assert drawn == numbers, "every number is drawn once"


@given(traces())
def test_no_line_is_broken_without_a_reason(trace: Trace) -> None:
    for before, after in pairwise(pieces(trace)):
        before_ms, after_ms = before.times[-1], after.times[0]
        missing = any(v is None for at, v in zip(trace.times, trace.values, strict=True) if before_ms <= at <= after_ms)
        gap = any(start <= after_ms and end >= before_ms for start, end in trace.gaps)
        assert missing or gap or after_ms - before_ms > trace.max_step_ms


def test_a_missing_number_breaks_the_line() -> None:
    assert pieces(Trace([0, 10, 20], [1.0, None, 2.0], 1000)) == [Piece([0], [1.0]), Piece([20], [2.0])]


def test_a_line_without_gaps_is_one_piece() -> None:
    assert [len(piece.times) for piece in pieces(Trace(range(0, 6000, 60), [4.0] * 100, 120))] == [100]


def test_a_cut_line_holds_its_part_only() -> None:
    line = [Piece([0, 10, 20], [1.0, 2.0, 3.0]), Piece([50], [4.0])]
    assert cut(line, 10, 50) == [Piece([10, 20], [2.0, 3.0])]
    assert cut(line, 60, 90) == []
    assert line[0].within(10, 20) == [Point(10, 2.0), Point(20, 3.0)]


@given(st.lists(st.floats(-40, 60, allow_nan=False), min_size=1, max_size=400), st.integers(1, 90))
def test_envelope_keeps_ends_and_extremes_of_every_column(values: list[float], columns: int) -> None:
    piece = Piece(list(range(len(values))), values)
    kept = envelope(piece, 0, len(values), columns)
    assert kept[0] == Point(0, values[0])
    assert kept[-1] == Point(len(values) - 1, values[-1])
    assert kept == sorted(kept, key=lambda point: point.at_ms)
    for column in range(columns):
        inside = [value for at, value in enumerate(values) if at * columns // len(values) == column]
        drawn = [point.value for point in kept if point.at_ms * columns // len(values) == column]
        assert len(drawn) <= 4
        if inside:
            assert (min(drawn), max(drawn)) == (min(inside), max(inside))


def test_one_spike_among_a_hundred_thousand_readings_is_drawn() -> None:
    piece = Piece(list(range(100_000)), [4.0] * 100_000)
    piece.values[54_321] = 19.5
    kept = envelope(piece, 0, 100_000, 850)
    assert Point(54_321, 19.5) in kept
    assert len(kept) <= 4 * 850


def test_readings_outside_the_axis_fall_into_its_first_and_last_column() -> None:
    kept = envelope(Piece([-50, 0, 5, 200], [1.0, 2.0, 3.0, 4.0]), 0, 100, 10)
    assert [point.value for point in kept] == [1.0, 2.0, 3.0, 4.0]


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=12))
def test_merged_spans_cover_the_same_and_stand_apart(spans: list[tuple[int, int]]) -> None:
    given_spans = [(start, start + length) for start, length in spans]
    joined = merged(given_spans)
    covered = {at for start, end in given_spans for at in range(start, end)}
    assert {at for start, end in joined for at in range(start, end)} == covered
    assert all(first[1] < second[0] for first, second in pairwise(joined))
