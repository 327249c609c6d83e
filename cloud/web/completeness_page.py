"""What of a gateway is here and what is missing: its packs by number, and its series by hour and day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from markupsafe import Markup
from sqlalchemy import Connection

from cloud.db.engine import reading
from cloud.evidence import completeness as of_readings
from cloud.evidence.completeness import Cell, Completeness, by_day
from cloud.ingest import completeness as of_packs
from cloud.ingest import gateway_state
from cloud.ingest.completeness import StreamCompleteness
from cloud.registry import query as registry
from cloud.telemetry.declared import LossesOnce
from cloud.web import formats, phrase
from cloud.web.form import Refused
from cloud.web.formats import LOCAL_ZONE
from cloud.web.heat import FRAMES, Calendar, Line, Square, draw, draw_strip
from cloud.web.page import Page, open_page, render
from wire.status import Status

router = APIRouter(include_in_schema=False)

SPANS = {"week": 7, "month": 28, "year": 365}  # days
SERIES_SHOWN = 60
DAYS_LISTED = 62
FIRST_DAY = date(2000, 1, 1)


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series with its last week at a glance."""

    one: Completeness
    measurement: str
    place_name: str
    strip: Markup


@dataclass(frozen=True, slots=True)
class GatewayView:
    """A gateway: what it last said, its streams, its series. entry is None for one the registry doesn't know."""

    name: str
    known: bool
    simulated: bool
    status: Status | None
    heard_ms: int
    streams: list[StreamCompleteness]
    series: list[SeriesRow]
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class SeriesView:
    """A series in a period. days: those that lack something, the newest first; earlier, later: days to turn to."""

    one: Completeness
    measurement: str
    place_name: str
    span: str
    figure: Markup
    days: list[Cell]
    last_day: date
    earlier: date
    later: date | None


@router.get("/gateways/{name}")
def gateway_page(name: str, page: Annotated[Page, Depends(open_page)]) -> Response:
    """How complete a gateway's packs are, and the last week of each of its series."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    with reading(page.site.engine) as conn:
        view = _gateway(conn, page, name)
    return render(page, "gateway.html", view=view, shown=of_packs.GAPS_SHOWN)


@router.get("/gateways/{name}/series/{channel:path}")
def series_page(name: str, channel: str, page: Annotated[Page, Depends(open_page)]) -> Response:
    """How complete a series is: `span` is week, month or year, `until` its last day (local, YYYY-MM-DD)."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    with reading(page.site.engine) as conn:
        view = _series(conn, page, name, channel)
    return render(page, "series.html", view=view, spans=SPANS)


def streams_of(conn: Connection, name: str, now_ms: int) -> list[StreamCompleteness]:
    """The streams of a gateway. Raises Refused when nobody knows it and nothing came from it."""
    streams = of_packs.of_gateway(conn, name, now_ms)
    if not streams and registry.gateway(conn, name) is None:
        raise Refused(404, "unknown_gateway")
    return streams


def completeness_of(conn: Connection, name: str, channel: str, period: tuple[int, int], now_ms: int) -> Completeness:
    """The completeness of a series. Raises Refused when it was never bound in the period."""
    found = of_readings.of_series(conn, name, channel, period, now_ms)
    if found is None:
        known = registry.bindings_of_channel(conn, name, channel)
        raise Refused(404, "not_bound_then" if known else "unknown_series")
    return found


def _gateway(conn: Connection, page: Page, name: str) -> GatewayView:
    now_ms = page.site.now()
    streams = streams_of(conn, name, now_ms)
    entry = registry.gateway(conn, name)
    heard = gateway_state.state(conn, name)
    until = _day(now_ms) + timedelta(days=1)
    period = _midnight(until - timedelta(days=7)), _midnight(until)
    series, losses = [], LossesOnce(conn, name)
    channels = registry.channels_of_gateway(conn, name, *period)[:SERIES_SHOWN]
    for number, channel in enumerate(channels, start=1):
        one = of_readings.of_series(conn, name, channel, period, now_ms, losses=losses)
        if one is not None:
            calendar = _calendar(page, one, f"series-{number}")
            strip = Markup("".join(draw_strip(calendar, frame) for frame in FRAMES))  # noqa: S704 - drawn, escaped
            series.append(SeriesRow(one, *_names(conn, page, one), strip))
    return GatewayView(
        name=name,
        known=entry is not None,
        simulated=entry is not None and entry.simulated,
        status=None if heard is None else heard.status,
        heard_ms=0 if heard is None else heard.heard_ms,
        streams=streams,
        series=series,
        from_ms=period[0],
        to_ms=period[1],
    )


def _series(conn: Connection, page: Page, name: str, channel: str) -> SeriesView:
    now_ms = page.site.now()
    today = _day(now_ms)
    span = page.query.get("span", "month")
    span = span if span in SPANS else "month"
    last = _asked_day(page.query.get("until", ""), today)
    first = last - timedelta(days=SPANS[span] - 1)
    period = _midnight(first), _midnight(last + timedelta(days=1))
    one = completeness_of(conn, name, channel, period, now_ms)
    calendar = _calendar(page, one, "calendar", by_days=span == "year")
    figure = Markup("".join(draw(calendar, frame) for frame in FRAMES))  # noqa: S704 - drawn here, escaped
    lacking = [day for day in _days(one) if day.missing or day.lost or day.thinned]
    measurement, place_name = _names(conn, page, one)
    return SeriesView(
        one=one,
        measurement=measurement,
        place_name=place_name,
        span=span,
        figure=figure,
        days=lacking[::-1][:DAYS_LISTED],
        last_day=last,
        earlier=max(FIRST_DAY, first - timedelta(days=1)),
        later=min(today, last + timedelta(days=SPANS[span])) if last < today else None,
    )


def _names(conn: Connection, page: Page, one: Completeness) -> tuple[str, str]:
    """What is measured and where, in the reader's language."""
    place = registry.place(conn, one.place)
    where = page.named(place.name, place.name_en) if place else one.place
    return phrase.measurement(one.measurement, page.words), where


def _calendar(page: Page, one: Completeness, name: str, *, by_days: bool = False) -> Calendar:
    words, language = page.words, page.language
    title = words("complete.picture", channel=one.channel, measurement=phrase.measurement(one.measurement, words))
    lines = _month_lines(page, _days(one)) if by_days else _day_lines(page, one.cells)
    return Calendar(
        name=name,
        title=title,
        description=summary(one, page),
        columns={at - 1: str(at) for at in (1, 5, 10, 15, 20, 25, 30)}
        if by_days
        else {hour: f"{hour}:00" if language == "en" else f"{hour} giờ" for hour in (0, 3, 6, 9, 12, 15, 18, 21)},
        lines=lines,
    )


def summary(one: Completeness, page: Page) -> str:
    """The numbers in one sentence."""
    if one.share is None:
        return page.words("complete.nothing_expected")
    number = {
        key: formats.number(getattr(one, key), page.language, decimals=0)
        for key in ("expected", "came", "lost", "thinned", "missing")
    }
    return page.words("complete.summary", share=formats.percent(one.share, page.language), **number)


def _day_lines(page: Page, cells: Sequence[Cell]) -> list[Line]:
    """A line per day, a square per hour."""
    lines = []
    for start in range(0, len(cells), 24):
        day = cells[start : start + 24]
        label = formats.short_day(day[0].from_ms, page.language)
        lines.append(Line(label, [_square(page, one, formats.clock_time(one.from_ms)) for one in day]))
    return lines


def _month_lines(page: Page, days: Sequence[Cell]) -> list[Line]:
    """A line per month, a square per day; days outside the period are left out."""
    months: dict[tuple[int, int], dict[int, Cell]] = {}
    for one in days:
        day = _day(one.from_ms)
        months.setdefault((day.year, day.month), {})[day.day] = one
    lines = []
    for (year, month), there in months.items():
        squares = [
            _square(page, there[day], formats.short_day(there[day].from_ms, page.language))
            if day in there
            else Square(None, "")
            for day in range(1, 32)
        ]
        lines.append(Line(f"{month:02}/{year}", squares))
    return lines


def _square(page: Page, cell: Cell, when: str) -> Square:
    if not cell.expected:
        return Square(cell, f"{when}: {page.words('complete.nothing_expected')}")
    came = page.words("complete.cell", came=cell.came, expected=cell.expected)
    return Square(cell, f"{when}: {came}")


def _days(one: Completeness) -> list[Cell]:
    return by_day(one.cells, {cell.from_ms: _midnight(_day(cell.from_ms)) for cell in one.cells})


def _day(at_ms: int) -> date:
    return formats.local(at_ms).date()


def _midnight(day: date) -> int:
    """When a local day begins."""
    return int(datetime(day.year, day.month, day.day, tzinfo=LOCAL_ZONE).timestamp()) * 1000


def _asked_day(text: str, today: date) -> date:
    try:
        return min(today, max(FIRST_DAY + timedelta(days=366), date.fromisoformat(text)))
    except ValueError:
        return today
