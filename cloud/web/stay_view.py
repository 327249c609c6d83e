"""A stay as the lot page shows it: charts, numbers and tables, made from evidence and readings."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum

from markupsafe import Markup
from sqlalchemy import Connection

from cloud.evidence.model import Excursion, Gap, SeriesEvidence, Stay
from cloud.evidence.series import DEFAULT_GAP_FACTOR, number_in
from cloud.evidence.source import ReadingsOnce
from cloud.evidence.statistics import Span
from cloud.registry import query as registry
from cloud.registry.profile import Profile
from cloud.telemetry.declared import LOST, THINNED
from cloud.telemetry.query import ReadingRow
from cloud.web import formats, phrase
from cloud.web.chart import FRAMES, Chart, Excess, Section, draw
from cloud.web.page import Page
from cloud.web.trace import Piece, Trace, cut, pieces
from wire.observation import Quality

AROUND = 0.03  # share of a stay shown before and after it, so that a hand-over is seen as one
_DAYS_BY_HOUR = 8  # a longer stay is told by day: nobody reads a table of 200 rows
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """The readings of one hour or day: how many, lowest, highest, arithmetic mean."""

    from_ms: int
    count: int
    low: float
    high: float
    mean: float


@dataclass(frozen=True, slots=True)
class ExcursionRow:
    """An excursion and the rule it went beyond, in words."""

    excursion: Excursion
    rule: str


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One series of a stay. line: its readings inside the stay, for the chart of the whole journey; clock: notes."""

    evidence: SeriesEvidence
    measurement: str
    figure: Markup
    excursions: list[ExcursionRow]
    gaps: list[Gap]
    buckets: list[Bucket]
    by_day: bool
    line: list[Piece]
    clock: list[str]


@dataclass(frozen=True, slots=True)
class StayView:
    """One stay, numbered as on the charts. limits: the band in words, empty without one."""

    number: int
    stay: Stay
    place_name: str
    reasons: list[str]
    limits: str
    series: list[SeriesView]

    @property
    def worth_opening(self) -> bool:
        """Whether its charts stand open from the start even where there are many."""
        return any(view.evidence.excursions or view.evidence.gaps or view.evidence.declared for view in self.series)


def view_stay(
    conn: Connection,
    page: Page,
    stay: Stay,
    number: int,
    *,
    source: ReadingsOnce,
    profile_name: str,
    readings_by_pack: Counter[int],
) -> StayView:
    """The view of one stay; counts into `readings_by_pack` what its evidence rests on."""
    profile = registry.profile_at(conn, profile_name, stay.from_ms)
    name = page.named(stay.place_name, stay.place_name_en)
    around_ms = max(int((stay.until_ms - stay.from_ms) * AROUND), 1)
    limited = profile is not None and profile.band_holds(stay.kind)
    section = Section(number, name, stay.from_ms, stay.until_ms, limited=limited)
    series = []
    for index, one in enumerate(stay.series):
        rows = _rows(conn, source, stay.place, one, (stay.from_ms - around_ms, stay.until_ms + around_ms))
        readings_by_pack.update(row.pack_id for row in rows if stay.from_ms <= row.observed_ms < stay.until_ms)
        line = _line(one, rows, profile)
        chart = _chart(page, one, line, section=section, profile=profile, around_ms=around_ms)
        figure = drawn(replace(chart, name=f"stay-{number}-{index + 1}"))
        series.append(_view_series(page, one, cut(line, stay.from_ms, stay.until_ms), figure=figure, profile=profile))
    names = {stay.place: name}
    reasons = [phrase.reason_sentence(reason, names, page.words) for reason in stay.reasons]
    return StayView(number, stay, name, reasons, phrase.limits(profile, page.words) if limited else "", series)


def _rows(conn: Connection, source: ReadingsOnce, place: str, one: SeriesEvidence, window: Span) -> list[ReadingRow]:
    """The readings of a series while it was bound to this place, without those made to try the installation."""
    from_ms, to_ms = window
    bound = [
        (binding.valid_from_ms, binding.valid_to_ms if binding.valid_to_ms is not None else to_ms)
        for binding in registry.bindings(conn, place, from_ms, to_ms)
        if (binding.gateway, binding.channel) == (one.gateway, one.channel)
    ]
    found = source.between(one.gateway, one.channel, from_ms, to_ms)
    if not any(start <= from_ms and to_ms <= end for start, end in bound):
        found = [row for row in found if any(start <= row.observed_ms < end for start, end in bound)]
    return [row for row in found if row.quality is not Quality.TEST]


def _line(one: SeriesEvidence, rows: Sequence[ReadingRow], profile: Profile | None) -> list[Piece]:
    step_ms = int(one.log_interval_s * 1000 * (profile.gap_factor if profile else DEFAULT_GAP_FACTOR))
    gaps = [(gap.from_ms, gap.to_ms) for gap in one.gaps]
    return pieces(Trace([row.observed_ms for row in rows], [number_in(row, one.unit) for row in rows], step_ms, gaps))


def _chart(
    page: Page, one: SeriesEvidence, line: list[Piece], *, section: Section, profile: Profile | None, around_ms: int
) -> Chart:
    limits = profile if one.measurement == phrase.TEMPERATURE and section.limited else None
    measurement = phrase.measurement(one.measurement, page.words)
    return Chart(
        name="chart",
        title=page.words("chart.title", measurement=measurement, place=section.name, sensor=one.sensor),
        description=describe(page, one),
        language=page.language,
        unit=one.unit,
        from_ms=section.from_ms - around_ms,
        to_ms=section.to_ms + around_ms,
        lines=line,
        low=limits.low if limits else None,
        high=limits.high if limits else None,
        excesses=excesses(one),
        gaps=silences(one),
        sections=[section],
        gap_words=page.words("chart.gap"),
        lost=losses(one),
        lost_words=page.words("chart.lost"),
        thinned=thinned(one, section.from_ms, section.to_ms),
        thinned_words=page.words("chart.thinned"),
    )


def _view_series(
    page: Page, one: SeriesEvidence, inside: list[Piece], *, figure: Markup, profile: Profile | None
) -> SeriesView:
    rules = {rule.name: rule for rule in profile.rules} if profile else {}
    lasts_ms = inside[-1].times[-1] - inside[0].times[0] if inside else 0
    by_day = lasts_ms > _DAYS_BY_HOUR * _DAY_MS
    return SeriesView(
        evidence=one,
        measurement=phrase.measurement(one.measurement, page.words),
        figure=figure,
        excursions=[
            ExcursionRow(each, phrase.rule_sentence(rules.get(each.rule), each, one.unit, page.words))
            for each in one.excursions
        ],
        gaps=list(one.gaps),
        buckets=_buckets(inside, _DAY_MS if by_day else _HOUR_MS),
        by_day=by_day,
        line=inside,
        clock=phrase.clock_notes(one, page.words),
    )


def drawn(chart: Chart) -> Markup:
    """The chart for every width; the style sheet shows the one that fits."""
    return Markup("".join(draw(chart, frame) for frame in FRAMES))  # noqa: S704 — draw() escapes all it is given


def excesses(one: SeriesEvidence) -> list[Excess]:
    """A series' excursions as a chart shows them."""
    return [
        Excess(each.from_ms, each.to_ms, each.extreme, each.triggered and each.severity == "critical")
        for each in phrase.goes(one.excursions)
    ]


def silences(one: SeriesEvidence) -> list[Span]:
    """A series' gaps that no declared loss explains."""
    return [(gap.from_ms, gap.to_ms) for gap in one.gaps if gap.cause != LOST]


def losses(one: SeriesEvidence) -> list[Span]:
    """A series' gaps that the gateway declares lost."""
    return [(gap.from_ms, gap.to_ms) for gap in one.gaps if gap.cause == LOST]


def thinned(one: SeriesEvidence, from_ms: int, to_ms: int) -> list[Span]:
    """Where only some readings of a series were kept, as far as it lies in [from_ms, to_ms)."""
    spans = [(max(each.from_ms, from_ms), min(each.to_ms, to_ms)) for each in one.declared if each.kind == THINNED]
    return [(start, end) for start, end in spans if start < end]


def describe(page: Page, one: SeriesEvidence) -> str:
    """A chart in one sentence, for who can't see it."""
    words, language = page.words, page.language
    if one.min is None or one.max is None or one.mean is None:
        return words("chart.empty")
    told = words(
        "chart.description",
        count=formats.number(one.count, language, decimals=0),
        low=formats.quantity(one.min, one.unit, language),
        high=formats.quantity(one.max, one.unit, language),
        mean=formats.quantity(round(one.mean, 2), one.unit, language),
        excursions=words.counted("chart.excursions", len(phrase.goes(one.excursions))),
        gaps=words.counted("chart.gaps", len(one.gaps)),
    )
    spans = sum(each.kind == THINNED for each in one.declared)
    return f"{told} {words.counted('chart.thinned_spans', spans)}." if spans else told


def _buckets(line: Sequence[Piece], size_ms: int) -> list[Bucket]:
    shift_ms = int(formats.LOCAL_ZONE.utcoffset(None).total_seconds() * 1000)
    held: dict[int, list[float]] = {}
    for piece in line:
        start = 0
        while start < len(piece.times):
            index = (piece.times[start] + shift_ms) // size_ms
            end = bisect_left(piece.times, (index + 1) * size_ms - shift_ms, start + 1)
            held.setdefault(index, []).extend(piece.values[start:end])
            start = end
    return [
        Bucket(index * size_ms - shift_ms, len(values), min(values), max(values), fsum(values) / len(values))
        for index, values in sorted(held.items())
    ]
