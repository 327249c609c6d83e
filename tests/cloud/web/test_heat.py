"""A calendar that tells at a glance what is there, and why the rest is not."""

from __future__ import annotations

from xml.etree import ElementTree

from cloud.evidence.completeness import Cell
from cloud.web.heat import FRAMES, FULL, Calendar, Line, Square, draw, draw_strip

WIDE = FRAMES[0]


def calendar(*cells: Cell | None) -> Calendar:
    squares = [Square(one, "<b>14:00</b>: 3 & more") for one in cells]
    return Calendar("c", "A <title>", "told & untold", {0: "0:00"}, [Line("21/11", squares)])


def grounds(*cells: Cell | None) -> list[str]:
    """The fills of what is drawn, in order, without names."""
    root = ElementTree.fromstring(draw(calendar(*cells), WIDE))
    return [
        (one.get("fill") or "").removeprefix("url(#c-wide-").removesuffix(")")
        for group in root.findall("{*}g")
        for one in group.findall("{*}rect")
    ]


def test_full_squares_are_full_and_pale_ones_expected_nothing() -> None:
    assert grounds(Cell(0, 60, 60)) == [FULL]
    assert grounds(Cell(0, None, 0)) == grounds(Cell(0, 0, 0)) != [FULL]
    assert grounds(None) == []


def test_the_pattern_says_why_something_lacks() -> None:
    assert grounds(Cell(0, 60, 0, missing=60)) == ["gap"]
    assert grounds(Cell(0, 60, 0, lost=60)) == ["lost"]
    assert grounds(Cell(0, 60, 30, thinned=30)) == ["thinned", FULL]
    assert grounds(Cell(0, 60, 30, lost=5, missing=25)) == ["gap", FULL]


def test_one_missing_reading_of_many_is_seen() -> None:
    assert grounds(Cell(0, 3600, 3599, missing=1)) == ["gap", FULL]


def test_words_are_escaped_and_the_drawing_is_well_formed() -> None:
    for frame in FRAMES:
        for drawn in (draw(calendar(Cell(0, 60, 7, missing=53)), frame), draw_strip(calendar(Cell(0, 60, 7)), frame)):
            ElementTree.fromstring(drawn)
            assert "<b>" not in drawn
            assert "style=" not in drawn


def test_a_strip_draws_equal_hours_as_one() -> None:
    one, other = Cell(0, 60, 60), Cell(0, 60, 0, missing=60)
    long = draw_strip(calendar(*[one] * 100, *[other] * 40, *[one] * 28), WIDE)
    short = draw_strip(calendar(one, other, one), WIDE)
    assert long.count("<rect") == short.count("<rect")
