"""A curve of the last readings as SVG, rendered here: the page sends no script (docs/adr/0007). Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from edge.limits import Limit

WIDTH, HEIGHT = 340, 120
LEFT, RIGHT, TOP, BOTTOM = 44, 6, 8, 22
GAP_FACTOR = 2.5  # of the usual distance between two readings: a longer one is a gap, and not drawn over
GAP_MIN_MS = 3_000  # shorter ones are the unrest of a busy machine
MUTED, GRID, LINE, OUT = "#4d5b69", "#d5dde4", "#0b4f6c", "#a4161a"

Points = Sequence[tuple[int, float]]


class Chart(msgspec.Struct, frozen=True):
    """What a chart shows, and in which words a screen reader is told."""

    points: list[tuple[int, float]]
    title: str
    limit: Limit | None = None
    language: str = "en"

    def number(self, value: float) -> str:
        """As the language writes it."""
        text = f"{value:.1f}".replace("-", "\N{MINUS SIGN}")
        return text.replace(".", ",") if self.language == "vi" else text


def svg(chart: Chart) -> str:
    """The picture. Needs two points or more."""
    points = _thinned(chart.points)
    start, end = points[0][0], max(points[-1][0], points[0][0] + 1)
    bounds = [bound for bound in (_above(chart), _below(chart)) if bound is not None]
    values = [value for _, value in points]
    near = [bound for bound in bounds if min(values) - 5 <= bound <= max(values) + 5]
    low, high = _room(min([*values, *near]), max([*values, *near]))

    def x(at_ms: int) -> float:
        return LEFT + (at_ms - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    label = _escaped(chart.title)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg" aria-label="{label}">']
    for value in (low, (low + high) / 2, high):
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 5, y(value) + 4, chart.number(value), "end"))
    parts += [_text(LEFT, HEIGHT - 6, _time(start), "start"), _text(WIDTH - RIGHT, HEIGHT - 6, _time(end), "end")]
    for bound in near:
        parts.append(f'<path d="M{LEFT} {y(bound):.1f}H{WIDTH - RIGHT}" stroke="{OUT}" stroke-dasharray="5 3"/>')
    drawn = "".join(
        f"M{' L'.join(f'{x(at):.1f} {y(value):.1f}' for at, value in piece)}" + ("h0.1" if len(piece) == 1 else "")
        for piece in _pieces(points)
    )
    parts.append(f'<path d="{drawn}" fill="none" stroke="{LINE}" stroke-width="1.8" stroke-linejoin="round" '
                 'stroke-linecap="round"/>')  # fmt: skip
    at, value = points[-1]
    parts.append(f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{LINE}"/></svg>')
    return "".join(parts)


def _above(chart: Chart) -> float | None:
    return None if chart.limit is None else chart.limit.above


def _below(chart: Chart) -> float | None:
    return None if chart.limit is None else chart.limit.below


def _thinned(points: Points) -> list[tuple[int, float]]:
    """At most one lowest and one highest of each pixel's readings, and both ends: extremes stay."""
    columns = WIDTH - LEFT - RIGHT
    if len(points) <= 2 * columns:
        return list(points)
    size = math.ceil(len(points) / columns)
    kept: list[tuple[int, float]] = []
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept += sorted(ends)
    return sorted({points[0], *kept, points[-1]})


def _pieces(points: Points) -> list[list[tuple[int, float]]]:
    """Split at gaps: nothing is drawn where nothing was read."""
    steps = sorted(later[0] - earlier[0] for earlier, later in pairwise(points))
    usual = steps[len(steps) // 2] if steps else 0
    pieces = [[points[0]]]
    for earlier, later in pairwise(points):
        if later[0] - earlier[0] > max(GAP_FACTOR * usual, GAP_MIN_MS):
            pieces.append([])
        pieces[-1].append(later)
    return pieces


def _room(low: float, high: float) -> tuple[float, float]:
    """At least one unit high, so that noise does not look like weather."""
    middle, half = (low + high) / 2, max((high - low) / 2 * 1.1, 0.5)
    return middle - half, middle + half


def _time(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).astimezone():%H:%M:%S}"


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="{MUTED}">{words}</text>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
