"""Lines of a chart: never joined across a gap, and never without their extremes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud.web.trace import Point, Sample, Trace, envelope, merged, pieces

values = st.one_of(st.none(), st.floats(-40, 60, allow_nan=False))


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    steps = draw(st.lists(st.integers(0, 300), max_size=60))
    at_ms, samples = 0, []
    for step in steps:
        at_ms += step
        samples.append(Sample(at_ms, draw(values)))
    spans = draw(st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 900)), max_size=4))
    return Trace(samples, 150, [(start, start + length) for start, length in spans])


@given(traces())
def test_no_piece_reaches_over_a_gap_a_long_step_or_a_missing_number(trace: Trace) -> None:
    for piece in pieces(trace):
        for before, after in pairwise(piece):
            assert after.at_ms - before.at_ms <= trace.max_step_ms
            assert not any(start < after.at_ms and end > before.at_ms for start, end in trace.gaps)
    missing = [at for at, sample in enumerate(trace.samples) if sample.value is None]
    drawn = [point for piece in pieces(trace) for point in piece]
    assert len(drawn) == len(trace.samples) - len(missing), "every number is drawn once"


def test_a_missing_number_breaks_the_line() -> None:
    trace = Trace([Sample(0, 1.0), Sample(10, None), Sample(20, 2.0)], 1000)
    assert pieces(trace) == [[Point(0, 1.0)], [Point(20, 2.0)]]


def test_a_line_without_gaps_is_one_piece() -> None:
    trace = Trace([Sample(at * 60, 4.0) for at in range(100)], 120)
    assert [len(piece) for piece in pieces(trace)] == [100]


@given(st.lists(st.floats(-40, 60, allow_nan=False), min_size=1, max_size=400), st.integers(1, 50))
def test_envelope_keeps_ends_and_extremes_of_every_column(values: list[float], per_column: int) -> None:
    piece = [Point(at, value) for at, value in enumerate(values)]
    kept = envelope(piece, lambda at_ms: at_ms // per_column)
    assert kept[0] == piece[0]
    assert kept[-1] == piece[-1]
    assert kept == sorted(kept, key=lambda point: point.at_ms)
    for start in range(0, len(piece), per_column):
        inside = [point.value for point in piece[start : start + per_column]]
        drawn = [point.value for point in kept if start <= point.at_ms < start + per_column]
        assert (min(drawn), max(drawn)) == (min(inside), max(inside))
        assert len(drawn) <= 4


def test_one_spike_among_a_hundred_thousand_readings_is_drawn() -> None:
    piece = [Point(at, 4.0) for at in range(100_000)]
    piece[54_321] = Point(54_321, 19.5)
    kept = envelope(piece, lambda at_ms: at_ms // 120)
    assert Point(54_321, 19.5) in kept
    assert len(kept) < 4_000


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=12))
def test_merged_spans_cover_the_same_and_stand_apart(spans: list[tuple[int, int]]) -> None:
    given_spans = [(start, start + length) for start, length in spans]
    joined = merged(given_spans)
    covered = {at for start, end in given_spans for at in range(start, end)}
    assert {at for start, end in joined for at in range(start, end)} == covered
    assert all(first[1] < second[0] for first, second in pairwise(joined))
