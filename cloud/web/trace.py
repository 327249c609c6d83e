"""From readings to the line of a chart: where it must break, and how it is thinned without losing an extreme. Pure.

A line says "in between it was like this". Over a gap nobody knows, so the line ends before it and begins again after.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Sample(NamedTuple):
    """One reading on a chart; value is None where the sensor gave no number."""

    at_ms: int
    value: float | None


class Point(NamedTuple):
    """One reading that has a number."""

    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Trace:
    """The readings of one series in order of time, and where its line must break: its gaps, and any longer step."""

    samples: Sequence[Sample]
    max_step_ms: int
    gaps: Sequence[tuple[int, int]] = ()


def pieces(trace: Trace) -> list[list[Point]]:
    """The line in pieces: broken at readings without a number, at steps that are too long, and at every gap."""
    gaps = merged(trace.gaps)
    starts = [start for start, _ in gaps]
    found: list[list[Point]] = []
    piece: list[Point] = []
    for at_ms, value in trace.samples:
        if value is None:
            piece = []
            continue
        if not piece or at_ms - piece[-1].at_ms > trace.max_step_ms or _hits(gaps, starts, piece[-1].at_ms, at_ms):
            piece = []
            found.append(piece)
        piece.append(Point(at_ms, value))
    return found


def merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same spans in order, those that overlap or touch made one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _hits(gaps: list[tuple[int, int]], starts: list[int], before_ms: int, after_ms: int) -> bool:
    last = bisect_left(starts, after_ms) - 1  # merged gaps: only the last to start before `after_ms` can reach in
    return last >= 0 and gaps[last][1] > before_ms


def envelope(piece: Sequence[Point], column: Callable[[int], int]) -> list[Point]:
    """At most four points per pixel column: its first, lowest, highest and last, in order of time.

    The line drawn through them covers the same pixels as the line through all points (the "M4" aggregation of Jugel et
    al., VLDB 2014), so a spike of one reading among thousands is still seen.
    """
    kept: list[Point] = []
    start = 0
    while start < len(piece):
        here = column(piece[start].at_ms)
        end = start + 1
        while end < len(piece) and column(piece[end].at_ms) == here:
            end += 1
        kept.extend(piece[index] for index in _telling(piece, start, end))
        start = end
    return kept


def _telling(piece: Sequence[Point], start: int, end: int) -> list[int]:
    if end - start <= 4:
        return list(range(start, end))
    span = range(start, end)
    lowest = min(span, key=lambda index: piece[index].value)
    highest = max(span, key=lambda index: piece[index].value)
    return sorted({start, lowest, highest, end - 1})
