"""Units: exact conversion, and a refusal for whatever is not known or not the same quantity."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards import units

CODES = sorted(units._UNITS)


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (0.0, "CEL", "FAH", 32.0),
        (-40.0, "FAH", "CEL", -40.0),
        (21.37, "CEL", "KEL", 294.52),
        (0.0, "KEL", "CEL", -273.15),
        (491.67, "A48", "CEL", 0.0),
        (65.0, "P1", "C62", 0.65),
        (1.0, "A93", "GP", 1000.0),
        (1013.25, "A97", "ATM", 1.0),
        (1.0, "BAR", "MBR", 1000.0),
        (90.0, "KMH", "MTS", 25.0),
        (1.0, "KNT", "KMH", 1.852),
        (1.5, "HUR", "MIN", 90.0),
        (1.0, "LBR", "KGM", 0.45359237),
        (12.88, "H61", "D10", 1.288),
        (1413.0, "G42", "H61", 1.413),
        (4.0, "4K", "AMP", 0.004),
    ],
)
def test_known_amounts(value: float, source: str, target: str, expected: float) -> None:
    assert units.convert(value, source, target) == pytest.approx(expected, rel=1e-15, abs=1e-12)


def test_value_in_its_own_unit_is_untouched() -> None:
    for value in (21.37, -0.0, 1e-310, 1e308):
        back = units.convert(value, "CEL", "CEL")
        assert math.copysign(1, back) == math.copysign(1, value)
        assert back == value


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.fractions(min_value=-(10**6), max_value=10**6), st.sampled_from(CODES), st.sampled_from(CODES))
def test_conversion_can_be_undone_exactly_or_is_refused(value: Fraction, source: str, target: str) -> None:
    if units.unit(source).quantity != units.unit(target).quantity:
        with pytest.raises(units.OtherQuantity, match=source):
            units.convert_exact(value, source, target)
        return
    assert units.convert_exact(units.convert_exact(value, source, target), target, source) == value


@pytest.mark.parametrize("code", ["", "C", "cel", "XYZ", "CEL ", "°C"])
def test_unknown_code_is_refused_with_what_to_do(code: str) -> None:
    with pytest.raises(units.UnknownUnit, match=r"use one of .*CEL.*standards/units\.py"):
        units.unit(code)
    assert not units.is_unit(code)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_finite_numbers_are_converted(value: float) -> None:
    with pytest.raises(units.UnitError, match="finite"):
        units.convert(value, "CEL", "FAH")


def test_result_beyond_a_double_is_refused() -> None:
    with pytest.raises(units.UnitError, match="too large"):
        units.convert(1e308, "TNE", "MGM")


def test_codes_are_unique_and_have_the_form_of_rec_20() -> None:
    assert len(units._TABLE) == len(CODES)
    assert all(2 <= len(code) <= 3 and code.isascii() and code == code.upper() for code in CODES)
    assert all(units.unit(code).factor > 0 for code in CODES)


@pytest.mark.conformance
def test_published_conversions_hold(shared_data: Path) -> None:
    lines = (shared_data / "standards" / "query" / "rec20_conversions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    known = [row for row in rows if units.is_unit(row["from"]) and units.is_unit(row["to"])]
    assert len(known) >= 40
    for row in known:
        got = units.convert(row["value"], row["from"], row["to"])
        assert got == pytest.approx(row["expect"], rel=1e-6, abs=1e-9), row


@pytest.mark.conformance
def test_factors_agree_with_the_published_table(shared_data: Path) -> None:
    table = (shared_data / "standards" / "reference" / "rec20-units.jsonl").read_text().splitlines()
    published = {row["rec20"]: row for row in map(json.loads, table)}
    # The degree is our base of angles (pi is no fraction); these codes are missing from the published table.
    others = {"DD", "P1", "59", "61", "C62", "D10", "H61", "G42", "AD", "4L", "DBM", "E96", "MQH", "RPM"}
    assert set(CODES) - set(published) == others - {"DD"}
    for code in set(CODES) - others:
        ours, theirs = units.unit(code), published[code]
        assert float(ours.factor) == pytest.approx(theirs["multiplier"], rel=1e-6), code
        assert float(ours.offset) == pytest.approx(theirs["offset"], rel=1e-6), code
