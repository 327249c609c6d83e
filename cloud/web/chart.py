"""A temperature chart as SVG text: band, excursions, gaps, losses, the line. Pure: the same input, the same bytes.

What it promises: the line is never joined across a gap; every extreme is drawn, however many readings there are; what
matters is told by pattern, shape and words as well as by colour, so that it survives black-and-white print. Nothing
from outside gets into the markup unescaped, and no style attribute or script is used (the pages forbid both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil

from cloud.evidence.statistics import merged
from cloud.web.formats import Language, clock_time, local, number, short_day, unit_sign
from cloud.web.ink import BAND, GRID, INK, LIMIT, LINE, MUTED, OUT, VEIL, patterns, text
from cloud.web.scale import Axis, time_ticks, value_domain, value_ticks
from cloud.web.trace import Piece, envelope

_LETTER_PX = 6.6  # mean width of a letter at 12 px in the system fonts, to see whether a label fits
_MOST_MARKS = 8  # labelled extremes on one chart; more would hide the line, and all stand in the table


@dataclass(frozen=True, slots=True)
class Frame:
    """How large a chart is drawn, in CSS pixels."""

    name: str
    width: int
    height: int
    time_labels: int
    left: int = 46
    right: int = 50
    top: int = 30
    bottom: int = 40


WIDE = Frame("wide", 940, 300, 12)
NARROW = Frame("narrow", 350, 240, 4, left=36, right=40)
FRAMES = (WIDE, NARROW)


@dataclass(frozen=True, slots=True)
class Excess:
    """A stretch beyond a limit. severe: it broke a critical rule; otherwise it was too short to, or a warning."""

    from_ms: int
    to_ms: int
    extreme: float
    severe: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A stay on the time axis: a number that stands in the timeline too, and a name where there is room for it.

    limited: whether the chart's limits hold here.
    """

    number: int
    name: str
    from_ms: int
    to_ms: int
    limited: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """All that a chart shows. name: unique on the page. gap_words: written into gaps that are wide enough; the same for
    lost (gaps that the gateway declares) and thinned (where only some readings were kept).

    lines: every line in pieces that are already broken at its gaps (trace.py); the chart joins none of them.
    """

    name: str
    title: str
    description: str
    language: Language
    unit: str
    from_ms: int
    to_ms: int
    lines: Sequence[Piece]
    low: float | None
    high: float | None
    excesses: Sequence[Excess]
    gaps: Sequence[tuple[int, int]]
    sections: Sequence[Section]
    gap_words: str
    lost: Sequence[tuple[int, int]] = ()
    lost_words: str = ""
    thinned: Sequence[tuple[int, int]] = ()
    thinned_words: str = ""


def draw(chart: Chart, frame: Frame) -> str:
    """The chart as one `<svg>` element for this frame."""
    plot = _Plot(chart, frame)
    name = f"{chart.name}-{frame.name}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart chart-{frame.name}" '
        f'viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc" font-size="12" fill="{INK}">'
    )
    parts = [
        head,
        f'<title id="{name}-title">{escape(chart.title)}</title>',
        f'<desc id="{name}-desc">{escape(chart.description)}</desc>',
        f"<defs>{patterns(name)}{_clips(plot, name)}</defs>",
        plot.box(chart.from_ms, chart.to_ms, "#ffffff"),
        _band(plot),
        _veil(plot),
        _spans(plot, f"{name}-thinned", chart.thinned, chart.thinned_words, at_px=plot.bottom - 8),
        _grid(plot),
        _spans(plot, f"{name}-gap", chart.gaps, chart.gap_words, at_px=frame.top + 16),
        _spans(plot, f"{name}-lost", chart.lost, chart.lost_words, at_px=frame.top + 16),
        _excess_areas(plot, name),
        _limits(plot),
        _lines(plot, name),
        _sections(plot),
        _marks(plot),
        f'<path d="M{frame.left} {plot.bottom}H{plot.right}" stroke="{MUTED}"/>',
        "</svg>",
    ]
    return "".join(parts)


class _Plot:
    """The chart's two axes in one frame."""

    def __init__(self, chart: Chart, frame: Frame) -> None:
        self.chart, self.frame = chart, frame
        self.right, self.bottom = frame.width - frame.right, frame.height - frame.bottom
        values = [value for piece in chart.lines for value in (min(piece.values), max(piece.values))]
        values += [limit for limit in (chart.low, chart.high) if limit is not None]
        low, high = value_domain(values or [0.0])
        self.from_ms, self.to_ms = chart.from_ms, max(chart.to_ms, chart.from_ms + 1)
        self.x = Axis(self.from_ms, self.to_ms, frame.left, self.right)
        self.y = Axis(low, high, self.bottom, frame.top)

    @property
    def limited(self) -> list[tuple[float, float]]:
        """From which to which pixel the limits hold: everywhere, or over the stays they are meant for."""
        if all(section.limited for section in self.chart.sections):
            return [(self.frame.left, self.right)]
        spans = merged((one.from_ms, one.to_ms) for one in self.chart.sections if one.limited)
        return [(self.x.at(start), self.x.at(end)) for start, end in spans]

    def box(self, from_ms: int, to_ms: int, fill: str) -> str:
        """A rectangle over the whole height; a short time is still one and a half pixels wide."""
        return self.strip(self.x.at(from_ms), self.x.at(to_ms), fill)

    def strip(self, left: float, right: float, fill: str) -> str:
        """The same between two pixels."""
        width = max(1.5, right - left)
        return (
            f'<rect x="{left:.1f}" y="{self.frame.top}" width="{width:.1f}" '
            f'height="{self.bottom - self.frame.top}" fill="{fill}"/>'
        )


def _clips(plot: _Plot, name: str) -> str:
    """The areas beyond the limits: the line is drawn again there, thicker and in red."""
    top, rects = plot.frame.top, ""
    for left, right in plot.limited:
        across = f'x="{left:.1f}" width="{right - left:.1f}"'
        if plot.chart.high is not None:
            rects += f'<rect {across} y="{top}" height="{plot.y.at(plot.chart.high) - top:.1f}"/>'
        if plot.chart.low is not None:
            low = plot.y.at(plot.chart.low)
            rects += f'<rect {across} y="{low:.1f}" height="{plot.bottom - low:.1f}"/>'
    return f'<clipPath id="{name}-beyond">{rects}</clipPath>'


def _band(plot: _Plot) -> str:
    if plot.chart.low is None and plot.chart.high is None:
        return ""
    top = plot.frame.top if plot.chart.high is None else plot.y.at(plot.chart.high)
    bottom = plot.bottom if plot.chart.low is None else plot.y.at(plot.chart.low)
    return "".join(
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" fill="{BAND}"/>'
        for left, right in plot.limited
    )


def _veil(plot: _Plot) -> str:
    """Grey over what lies before and after the stays: context, not evidence."""
    if not plot.chart.sections:
        return ""
    first = min(section.from_ms for section in plot.chart.sections)
    last = max(section.to_ms for section in plot.chart.sections)
    sides = [(plot.chart.from_ms, first), (last, plot.chart.to_ms)]
    return "".join(plot.box(start, end, VEIL) for start, end in sides if end > start)


def _spans(plot: _Plot, pattern: str, spans: Sequence[tuple[int, int]], words: str, *, at_px: float) -> str:
    """Patterned areas; those less than a pixel apart are one, so that there are never more of them than pixels."""
    found = ""
    for left, right in merged((int(plot.x.at(start)), ceil(plot.x.at(end)) + 1) for start, end in spans):
        found += plot.strip(left, right - 1, f"url(#{pattern})")
        if right - left > len(words) * _LETTER_PX + 16:
            found += text((left + right) / 2, at_px, words, anchor="middle", halo=5)
    return found


def _excess_areas(plot: _Plot, name: str) -> str:
    found = ""
    for excess in sorted(plot.chart.excesses, key=lambda excess: excess.severe):
        found += plot.box(excess.from_ms, excess.to_ms, f"url(#{name}-{'out' if excess.severe else 'short'})")
    return found


def _grid(plot: _Plot) -> str:
    chart, frame = plot.chart, plot.frame
    parts: list[str] = []
    ticks = value_ticks(plot.y.start, plot.y.end)
    whole = all(tick == int(tick) for tick in ticks)
    for tick in ticks:
        y = plot.y.at(tick)
        parts.append(f'<path d="M{frame.left} {y:.1f}H{plot.right}" stroke="{GRID}"/>')
        label = number(tick, chart.language, decimals=0 if whole else 1)
        parts.append(text(frame.left - 6, y + 4, label, anchor="end"))
    parts.append(text(frame.left - 6, frame.top - 12, unit_sign(chart.unit), anchor="end", fill=MUTED))
    step, times = time_ticks(chart.from_ms, chart.to_ms, most=frame.time_labels)
    days_seen: set[str] = set()
    for at_ms in times:
        x, day = plot.x.at(at_ms), short_day(at_ms, chart.language)
        midnight = local(at_ms).hour == 0 and local(at_ms).minute == 0
        parts.append(f'<path d="M{x:.1f} {frame.top}V{plot.bottom + 4}" stroke="{MUTED if midnight else GRID}" '
                     f'stroke-width="{0.7 if midnight else 1}"/>')  # fmt: skip
        if step < 86_400_000:
            parts.append(text(x, plot.bottom + 17, clock_time(at_ms), anchor="middle", fill=MUTED))
        if day not in days_seen:
            parts.append(text(x, plot.bottom + (32 if step < 86_400_000 else 17), day, anchor="middle", weight="600"))
            days_seen.add(day)
    return "".join(parts)


def _limits(plot: _Plot) -> str:
    found = ""
    for limit in (plot.chart.high, plot.chart.low):
        if limit is None:
            continue
        y = plot.y.at(limit)
        d = "".join(f"M{left:.1f} {y:.1f}H{right:.1f}" for left, right in plot.limited)
        found += f'<path d="{d}" stroke="{LIMIT}" stroke-dasharray="6 3"/>'
        words = f"{number(limit, plot.chart.language, decimals=0 if limit == int(limit) else 1)} "
        words += unit_sign(plot.chart.unit)
        found += text(plot.right + 5, y + 4, words, fill="#1b6e3c", weight="600")
    return found


def _lines(plot: _Plot, name: str) -> str:
    if not plot.chart.lines:
        return ""
    d = "".join(_path(plot, piece) for piece in plot.chart.lines)
    return (
        f'<defs><path id="{name}-line" class="line" d="{d}" fill="none" stroke-linejoin="round" '
        'stroke-linecap="round"/></defs>'
        f'<use href="#{name}-line" stroke="{LINE}" stroke-width="1.6"/>'
        f'<g clip-path="url(#{name}-beyond)"><use href="#{name}-line" stroke="{OUT}" stroke-width="2.6"/></g>'
        f"{_lone(plot)}"
    )


def _lone(plot: _Plot) -> str:
    """Readings that stand alone, as those that thinning kept: larger, for nobody sees a dot as thin as the line."""
    lone = [
        piece for piece in plot.chart.lines if len(piece.times) == 1 and plot.from_ms <= piece.times[0] < plot.to_ms
    ]
    places = {(round(plot.x.at(piece.times[0])), round(plot.y.at(piece.values[0]))) for piece in lone}
    d = "".join(f"M{x} {y}h0" for x, y in sorted(places))
    return f'<path class="lone" d="{d}" stroke="{LINE}" stroke-width="4.5" stroke-linecap="round"/>' if d else ""


def _path(plot: _Plot, piece: Piece) -> str:
    """One piece as a subpath; a lone reading is a dot (a line of no length with round ends)."""
    columns = plot.right - plot.frame.left
    drawn = envelope(piece, plot.from_ms, plot.to_ms, columns)
    places = [f"{plot.x.at(point.at_ms):.1f} {plot.y.at(point.value):.1f}" for point in drawn]
    return f"M{places[0]}L{' '.join(places[1:] or places)}"


def _sections(plot: _Plot) -> str:
    """Hand-over lines, and the stay's number and name over the plot as far as they fit.

    Parts of a lot may be at several places at once: where labels would cover each other, the later one is left out.
    """
    found, taken_to = "", float(plot.frame.left)
    for section in sorted(plot.chart.sections, key=lambda section: (section.from_ms, section.number)):
        left, right = plot.x.at(section.from_ms), plot.x.at(section.to_ms)
        for x in (left, right):
            found += f'<path d="M{x:.1f} {plot.frame.top - 22}V{plot.bottom}" stroke="{INK}" stroke-width="1.2"/>'
        words = _fitting(section, right - max(left, taken_to))
        if words:
            middle, half = (max(left, taken_to) + right) / 2, len(words) * _LETTER_PX / 2
            found += text(middle, plot.frame.top - 9, words, anchor="middle", weight="600")
            taken_to = middle + half + _LETTER_PX
    return found


def _fitting(section: Section, room_px: float) -> str:
    """Number and name, shortened, or the number alone, or nothing."""
    words = f"{section.number} · {section.name}"
    room = int((room_px - 10) / _LETTER_PX)
    if room >= len(words):
        return words
    if room >= 8:
        return words[: room - 1].rstrip() + "…"
    return str(section.number) if room_px >= 12 else ""


def _marks(plot: _Plot) -> str:
    """A ring and a number at the extreme of each excursion, the worst first."""
    found = ""
    ranked = sorted(plot.chart.excesses, key=lambda excess: (not excess.severe, excess.from_ms - excess.to_ms))
    for excess in ranked[:_MOST_MARKS]:
        inside = (point for piece in plot.chart.lines for point in piece.within(excess.from_ms, excess.to_ms))
        at = next((point for point in inside if point.value == excess.extreme), None)
        if at is None:
            continue
        x, y = plot.x.at(at.at_ms), plot.y.at(at.value)
        above = plot.chart.high is not None and at.value >= plot.chart.high
        words = f"{number(at.value, plot.chart.language, exact=True)} {unit_sign(plot.chart.unit)}"
        label_x = min(max(x, plot.frame.left + 24), plot.right - 24)
        found += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#ffffff" stroke="{OUT}" stroke-width="2"/>'
        label_y = max(plot.frame.top + 10, y - 8) if above else min(plot.bottom - 4, y + 17)
        found += text(label_x, label_y, words, anchor="middle", fill=OUT, weight="700", halo=4)
    return found
