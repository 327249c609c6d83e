"""The chart as a reader gets it: an SVG whose shapes say what the data say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from cloud.web.chart import FRAMES, NARROW, WIDE, Chart, Excess, Frame, Section, draw
from cloud.web.ink import BAND
from cloud.web.scale import Axis, value_domain
from cloud.web.trace import Trace, pieces

SVG = "{http://www.w3.org/2000/svg}"
START_MS = 1_760_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


Samples = list[tuple[int, float]]


def chart(samples: Samples, *, gaps: Sequence[tuple[int, int]] = (), **changed: object) -> Chart:
    """A chart over ten hours with limits 2–8 °C."""
    trace = Trace([at_ms for at_ms, _ in samples], [value for _, value in samples], 2 * MINUTE_MS, gaps)
    made = Chart(
        name="stay-1",
        title="Nhiệt độ",
        description="mô tả",
        language="vi",
        unit="CEL",
        from_ms=START_MS,
        to_ms=START_MS + 10 * HOUR_MS,
        lines=pieces(trace),
        low=2.0,
        high=8.0,
        excesses=[],
        gaps=gaps,
        sections=[Section(1, "Kho lạnh", START_MS, START_MS + 10 * HOUR_MS)],
        gap_words="không có dữ liệu",
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def steady(minutes: range, value: float = 5.0) -> Samples:
    """One reading a minute."""
    return [(START_MS + minute * MINUTE_MS, value) for minute in minutes]


def subpaths(svg: str, frame: Frame) -> list[list[tuple[float, float]]]:
    """The pieces of the line, as points."""
    found = ET.fromstring(svg).find(f".//{SVG}path[@id='stay-1-{frame.name}-line']")
    if found is None:
        return []
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+) ([-\d.]+)", piece)]
        for piece in found.attrib["d"].split("M")[1:]
    ]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.name)
def test_line_is_never_joined_across_a_gap(frame: Frame) -> None:
    gap = (START_MS + 200 * MINUTE_MS, START_MS + 320 * MINUTE_MS)
    samples = steady(range(201)) + steady(range(320, 600))
    pieces = subpaths(draw(chart(samples, gaps=[gap]), frame), frame)
    assert len(pieces) == 2
    x = Axis(START_MS, START_MS + 10 * HOUR_MS, frame.left, frame.width - frame.right)
    assert pieces[0][-1][0] == pytest.approx(x.at(gap[0]), abs=0.06)
    assert pieces[1][0][0] == pytest.approx(x.at(gap[1]), abs=0.06)


def test_line_is_broken_even_where_nobody_declared_the_gap() -> None:
    samples = steady(range(100)) + steady(range(104, 200))
    assert len(subpaths(draw(chart(samples), WIDE), WIDE)) == 2


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.name)
def test_extremes_are_drawn_at_their_height(frame: Frame) -> None:
    samples = [(START_MS + at * 1000, 5.0 + (at % 7) / 10) for at in range(36_000)]
    samples[20_123] = (samples[20_123][0], 17.3)
    samples[30_001] = (samples[30_001][0], -3.9)
    low, high = value_domain([17.3, -3.9])
    y = Axis(low, high, frame.height - frame.bottom, frame.top)
    heights = [point[1] for piece in subpaths(draw(chart(samples), frame), frame) for point in piece]
    assert min(heights) == pytest.approx(y.at(17.3), abs=0.06)
    assert max(heights) == pytest.approx(y.at(-3.9), abs=0.06)
    assert len(heights) <= 4 * frame.width


def test_lone_reading_is_still_visible() -> None:
    pieces = subpaths(draw(chart(steady(range(5, 6))), WIDE), WIDE)
    assert [len(piece) for piece in pieces] == [2], "a line of no length with round ends is a dot"


def test_gaps_and_excursions_have_patterns_of_their_own() -> None:
    excesses = [
        Excess(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, 9.0, severe=True),
        Excess(START_MS + 3 * HOUR_MS, START_MS + 4 * HOUR_MS, 8.5, severe=False),
    ]
    svg = draw(chart([], excesses=excesses, gaps=[(START_MS, START_MS + HOUR_MS)]), WIDE)
    for kind in ("out", "short", "gap"):
        assert svg.count(f'fill="url(#stay-1-wide-{kind})"') == 1
        assert f'<pattern id="stay-1-wide-{kind}"' in svg


def test_shortest_gap_is_still_seen() -> None:
    svg = draw(chart(steady(range(600)), gaps=[(START_MS + HOUR_MS, START_MS + HOUR_MS + 1)]), WIDE)
    found = re.search(r'width="([\d.]+)" height="[\d.]+" fill="url\(#stay-1-wide-gap\)"', svg)
    assert found
    assert float(found.group(1)) >= 1.5


def test_extreme_of_an_excursion_is_marked_with_its_number() -> None:
    samples = steady(range(600))
    samples[70] = (samples[70][0], 9.64)
    excess = Excess(START_MS + HOUR_MS, START_MS + 2 * HOUR_MS, 9.64, severe=True)
    assert ">9,64 °C</text>" in draw(chart(samples, excesses=[excess]), WIDE)


def test_limits_are_lines_with_numbers_and_a_band_between() -> None:
    svg = draw(chart(steady(range(600))), WIDE)
    assert ">8 °C</text>" in svg
    assert ">2 °C</text>" in svg
    assert 'stroke-dasharray="6 3"' in svg


@pytest.mark.parametrize(("low", "high"), [(None, -18.0), (2.0, None), (None, None)])
def test_limits_may_be_missing(low: float | None, high: float | None) -> None:
    ET.fromstring(draw(chart(steady(range(600)), low=low, high=high), WIDE))


def test_limits_are_drawn_over_the_stays_they_hold_for_only() -> None:
    hall = Section(1, "Phòng đóng gói", START_MS, START_MS + 2 * HOUR_MS, limited=False)
    room = Section(2, "Kho lạnh", START_MS + 2 * HOUR_MS, START_MS + 10 * HOUR_MS)
    made = chart(steady(range(600)), sections=[hall, room])
    svg = ET.fromstring(draw(made, WIDE))
    begins = Axis(START_MS, START_MS + 10 * HOUR_MS, WIDE.left, WIDE.width - WIDE.right).at(room.from_ms)
    [band] = [each for each in svg.iter(f"{SVG}rect") if each.get("fill") == BAND]
    assert float(band.attrib["x"]) == pytest.approx(begins, abs=0.06)
    beyond = svg.findall(f".//{SVG}clipPath[@id='stay-1-wide-beyond']/{SVG}rect")
    assert len(beyond) == 2
    assert all(float(each.attrib["x"]) == pytest.approx(begins, abs=0.06) for each in beyond)


def test_words_for_screen_readers_are_there_and_linked() -> None:
    root = ET.fromstring(draw(chart([]), NARROW))
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {desc.attrib['id']}"
    assert (title.text, desc.text) == ("Nhiệt độ", "mô tả")


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.name)
def test_hostile_names_stay_text(frame: Frame) -> None:
    hostile = "</text><script>alert(1)</script>\"'&"
    made = chart([], title=hostile, description=hostile, gap_words=hostile)
    made = replace(
        made, sections=[Section(1, hostile, START_MS, START_MS + 10 * HOUR_MS)], gaps=[(START_MS, made.to_ms)]
    )
    svg = draw(made, frame)
    tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(svg).iter()}
    assert "script" not in tags
    assert "style=" not in svg


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.name)
def test_names_of_stays_at_the_same_time_do_not_cover_each_other(frame: Frame) -> None:
    hours = [(0, 6), (0, 9), (1, 6), (5, 9), (9, 10)]
    sections = [
        Section(n, f"Kho {n}", START_MS + a * HOUR_MS, START_MS + b * HOUR_MS) for n, (a, b) in enumerate(hours)
    ]
    root = ET.fromstring(draw(chart([], sections=sections), frame))
    labels = [
        one for one in root.iter(f"{SVG}text") if re.match(r"\d( ·|$)", one.text or "") and one.get("y") == "21.0"
    ]
    spans = sorted((float(one.attrib["x"]), len(one.text or "") * 6.0) for one in labels)
    assert spans
    for (x, width), (next_x, next_width) in pairwise(spans):
        assert x + width / 2 <= next_x - next_width / 2


def test_many_short_gaps_are_never_more_shapes_than_pixels() -> None:
    gaps = [(START_MS + at * 1000, START_MS + at * 1000 + 500) for at in range(36_000)]
    svg = draw(chart([], gaps=gaps), WIDE)
    assert svg.count('fill="url(#stay-1-wide-gap)"') <= WIDE.width


def test_an_empty_and_an_instant_chart_can_be_drawn() -> None:
    for frame in FRAMES:
        ET.fromstring(draw(chart([]), frame))
        ET.fromstring(draw(chart(steady(range(1)), to_ms=START_MS), frame))


def test_time_labels_are_local_and_dates_follow_the_language() -> None:
    svg = draw(chart(steady(range(600))), WIDE)  # from 08:53 UTC, which is 15:53 in Vietnam
    assert ">16:00</text>" in svg
    assert ">09/10</text>" in svg
    assert ">9 Oct</text>" in draw(chart(steady(range(600)), language="en"), WIDE)


def test_same_input_gives_the_same_bytes() -> None:
    samples = steady(range(600))
    assert draw(chart(samples), WIDE) == draw(chart(samples), WIDE)
