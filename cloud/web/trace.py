"""From readings to the line of a chart: where it must break, and how it is thinned without losing an extreme. Pure.

A line says "in between it was like this". Over a gap nobody knows, so the line ends before it and begins again after.
Readings are columns of plain numbers here: a lot page draws 10 probes × a month in well under a second.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cloud.evidence.statistics import merged


class Point(NamedTuple):
    """One reading that has a number."""

    at_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class Trace:
    """The readings of one series in order of time; a value is None where the sensor gave no number.

    Its line must break at its gaps, and at any step longer than `max_step_ms`.
    """

    times: Sequence[int]
    values: Sequence[float | None]
    max_step_ms: int
    gaps: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a line without a break: instants and values, one of each per reading, never empty."""

    times: list[int]
    values: list[float]

    def within(self, from_ms: int, to_ms: int) -> list[Point]:
        """The readings in [from_ms, to_ms], both ends included."""
        start, end = bisect_left(self.times, from_ms), bisect_right(self.times, to_ms)
        return [Point(*pair) for pair in zip(self.times[start:end], self.values[start:end], strict=True)]


def pieces(trace: Trace) -> list[Piece]:
    """The line in pieces: broken at readings without a number, at steps that are too long, and at every gap."""
    breaks = _breaks(trace)
    found: list[Piece] = []
    piece: Piece | None = None
    last_ms = 0
    for index, (at_ms, value) in enumerate(zip(trace.times, trace.values, strict=True)):
        if value is None:
            piece = None
            continue
        if piece is None or at_ms - last_ms > trace.max_step_ms or index in breaks:
            piece = Piece([], [])
            found.append(piece)
        piece.times.append(at_ms)
        piece.values.append(value)
        last_ms = at_ms
    return found


def _breaks(trace: Trace) -> set[int]:
    """The readings whose step from the one before reaches into a gap."""
    found: set[int] = set()
    for start, end in merged(trace.gaps):
        found.update(range(bisect_right(trace.times, start), bisect_left(trace.times, end) + 1))
    return found


def cut(line: Iterable[Piece], from_ms: int, to_ms: int) -> list[Piece]:
    """The part of a line in [from_ms, to_ms)."""
    found = []
    for piece in line:
        start, end = bisect_left(piece.times, from_ms), bisect_left(piece.times, to_ms)
        if start < end:
            found.append(Piece(piece.times[start:end], piece.values[start:end]))
    return found


def envelope(piece: Piece, from_ms: int, to_ms: int, columns: int) -> list[Point]:
    """At most four points per pixel column of [from_ms, to_ms]: its first, lowest, highest and last, in order of time.

    The line drawn through them covers the same pixels as the line through all points (the "M4" aggregation of Jugel et
    al., VLDB 2014), so a spike of one reading among thousands is still seen.
    """
    kept: list[Point] = []
    start, column = 0, 0
    while start < len(piece.times):
        column = max(0, min(columns - 1, (piece.times[start] - from_ms) * columns // (to_ms - from_ms)))
        next_ms = from_ms - (-(column + 1) * (to_ms - from_ms) // columns)  # where the next column begins, rounded up
        end = len(piece.times) if column == columns - 1 else bisect_left(piece.times, next_ms, start + 1)
        kept.extend(Point(piece.times[index], piece.values[index]) for index in _telling(piece.values, start, end))
        start = end
    return kept


def _telling(values: list[float], start: int, end: int) -> list[int]:
    if end - start <= 4:
        return list(range(start, end))
    here = values[start:end]
    return sorted({start, start + here.index(min(here)), start + here.index(max(here)), end - 1})
