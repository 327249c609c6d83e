"""A calendar of completeness as SVG text: a square per hour or day, filled as far as readings are there. Pure.

What is full is complete. What is not filled shows why by its pattern: hatched where nothing is known, latticed where
the gateway declared a loss, striped where it thinned. Pale: nothing was expected. No script, no style attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from cloud.evidence.completeness import Cell
from cloud.web.ink import INK, MUTED, VEIL, patterns, text

FULL, EDGE = "#5fa777", "#b9c4cd"
_MOST_FULL = 0.75  # of a square that lacks anything: what is missing must be seen, however little it is


@dataclass(frozen=True, slots=True)
class Frame:
    """How large a calendar is drawn, in CSS pixels. every: of the column labels each so many-th has room."""

    name: str
    width: int
    left: int
    row_height: int
    strip_height: int
    every: int


FRAMES = (Frame("wide", 940, 92, 20, 26, 1), Frame("narrow", 350, 52, 15, 22, 2))


@dataclass(frozen=True, slots=True)
class Square:
    """A square and what it says when pointed at; cell None: there is no such hour or day."""

    cell: Cell | None
    words: str


@dataclass(frozen=True, slots=True)
class Line:
    """A row of squares with its label."""

    label: str
    squares: Sequence[Square]


@dataclass(frozen=True, slots=True)
class Calendar:
    """All that a calendar shows. name: unique on the page; columns: number of a column (from 0) → its label."""

    name: str
    title: str
    description: str
    columns: dict[int, str]
    lines: Sequence[Line]


def draw(calendar: Calendar, frame: Frame) -> str:
    """The calendar as one `<svg>` element for this frame."""
    name = f"{calendar.name}-{frame.name}"
    across = max(len(line.squares) for line in calendar.lines)
    step = (frame.width - frame.left) / across
    top = 20
    height = top + len(calendar.lines) * frame.row_height + 2
    parts = [_head(name, frame, height, calendar.title, calendar.description)]
    shown = sorted(calendar.columns.items())[:: frame.every]
    parts += [text(frame.left + at * step + 1, top - 6, label, fill=MUTED) for at, label in shown]
    for number, line in enumerate(calendar.lines):
        y = top + number * frame.row_height
        parts.append(text(frame.left - 6, y + frame.row_height - 5, line.label, anchor="end"))
        for at, square in enumerate(line.squares):
            parts.append(_square(square, (frame.left + at * step, y, step - 1, frame.row_height - 1), name))
    return "".join([*parts, "</svg>"])


def draw_strip(calendar: Calendar, frame: Frame) -> str:
    """The squares of all lines side by side, those that look alike as one: a series at a glance."""
    name = f"{calendar.name}-{frame.name}"
    squares = [one for line in calendar.lines for one in line.squares]
    step = frame.width / max(1, len(squares))
    parts = [_head(name, frame, frame.strip_height + 2, calendar.title, calendar.description)]
    at = 0
    while at < len(squares):
        end = at + 1
        while end < len(squares) and _look(squares[end].cell) == _look(squares[at].cell):
            end += 1
        box = (at * step, 1, (end - at) * step, frame.strip_height)
        parts.append(_filled(squares[at].cell, box, name, edge=False))
        at = end
    for number in range(1, len(calendar.lines)):
        x = number * len(squares) / len(calendar.lines) * step
        parts.append(f'<path d="M{x:.1f} 0V{frame.strip_height + 2}" stroke="#ffffff" stroke-width="1.5"/>')
    parts.append(
        f'<rect x=".5" y=".5" width="{frame.width - 1}" height="{frame.strip_height + 1}" fill="none" stroke="{EDGE}"/>'
    )
    return "".join([*parts, "</svg>"])


def _head(name: str, frame: Frame, height: int, title: str, description: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart chart-{frame.name}" '
        f'viewBox="0 0 {frame.width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-size="12" fill="{INK}">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"<defs>{patterns(name)}</defs>"
    )


def _square(square: Square, box: tuple[float, float, float, float], name: str) -> str:
    if square.cell is None:
        return ""
    return f"<g><title>{escape(square.words)}</title>{_filled(square.cell, box, name, edge=True)}</g>"


def _filled(cell: Cell | None, box: tuple[float, float, float, float], name: str, *, edge: bool) -> str:
    x, y, width, height = box
    fill, full = _look(cell)
    line = f' stroke="{EDGE}" stroke-width=".7"' if edge and fill else ""
    ground = f"url(#{name}-{fill})" if fill else VEIL
    if fill and full == 1.0:
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{FULL}"/>'
    drawn = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{ground}"{line}/>'
    if full > 0:
        tall = height * full
        drawn += (
            f'<rect x="{x:.1f}" y="{y + height - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{FULL}"/>'
        )
    return drawn


def _look(cell: Cell | None) -> tuple[str, float]:
    """The pattern of what lacks (empty where nothing was expected), and how full, in steps that can be seen."""
    if cell is None or not cell.expected:
        return "", 0.0
    lacks = {"gap": cell.missing, "lost": cell.lost, "thinned": cell.thinned}
    total = sum(lacks.values())
    if total == 0:
        return "gap", 1.0
    worst = max(lacks, key=lambda kind: lacks[kind])
    share = max(0.0, (cell.expected - total) / cell.expected)
    return worst, min(_MOST_FULL, round(share * 10) / 10)
