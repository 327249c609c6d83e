"""Rows of a log → instants and exact decimals."""

from __future__ import annotations

import datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.replay.codec import Column, Layout, RowError, by_column, check_header, read_number, read_row

FORMAT = "%Y-%m-%d %H:%M"
AIR = Column("t", "air", "CEL")


def layout(zone: str = "UTC", columns: list[Column] | None = None, decimal: str = ".") -> Layout:
    return Layout(columns or [AIR], ["time"], FORMAT, ZoneInfo(zone), decimal, frozenset({"###"}))


def utc(text: str) -> int:
    return int(datetime.datetime.strptime(text, FORMAT).replace(tzinfo=datetime.UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("21.30", (2130, -2)),
        ("-20.0", (-200, -1)),
        ("-11", (-11, 0)),
        ("+4.8", (48, -1)),
        ("-0.4", (-4, -1)),
        ("007", (7, 0)),
        ("0.000000001", (1, -9)),
    ],
)
def test_every_digit_is_kept(text: str, number: tuple[int, int]) -> None:
    assert read_number(text) == number


def test_decimal_comma() -> None:
    assert read_number("-21,37", ",") == (-2137, -2)
    with pytest.raises(RowError):
        read_number("21.37", ",")
    with pytest.raises(RowError):
        read_number("21,37")


@pytest.mark.parametrize(
    "text",
    ["", "-", ".5", "5.", "1e3", "NaN", "inf", "0x10", "1 2", "--1", "1.2.3", "#", "9" * 20, "1." + "1" * 10, "٣"],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(RowError):
        read_number(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_numbers_are_exact(number: Decimal) -> None:
    mantissa, exponent = read_number(f"{number:f}")
    assert Decimal(mantissa).scaleb(exponent) == number


def test_hour_that_occurs_twice_is_kept_whole_and_in_order() -> None:
    """America/Chicago, 2021-11-07: 02:00 CDT (07:00 UTC) became 01:00 CST."""
    local = ["00:45", "01:00", "01:15", "01:30", "01:45", "01:00", "01:15", "01:30", "01:45", "02:00"]
    at_ms: int | None = None
    instants = []
    for text in local:
        at_ms = read_row(layout("America/Chicago"), {"time": f"2021-11-07 {text}", "t": "1"}, at_ms).at_ms
        instants.append(at_ms)
    assert instants[0] == utc("2021-11-07 05:45")
    assert instants[-1] == utc("2021-11-07 08:00")
    assert {later - earlier for earlier, later in pairwise(instants)} == {15 * 60_000}


def test_equal_times_stay_equal() -> None:
    row = {"time": "2021-11-07 01:30", "t": "1"}
    first = read_row(layout("America/Chicago"), row, None).at_ms
    assert read_row(layout("America/Chicago"), row, first).at_ms == first


def test_time_that_never_was_is_refused() -> None:
    with pytest.raises(RowError, match="does not exist in America/Chicago"):
        read_row(layout("America/Chicago"), {"time": "2021-03-14 02:30", "t": "1"}, None)


def test_log_that_runs_backwards_is_refused() -> None:
    with pytest.raises(RowError, match="earlier than the row before"):
        read_row(layout(), {"time": "2021-03-14 02:30", "t": "1"}, utc("2021-03-14 02:31"))


@pytest.mark.parametrize("text", ["", "14/03/2021 02:30", "2021-03-14", "1960-01-01 00:00", "9999-12-31 23:59\0"])
def test_bad_time_names_its_column(text: str) -> None:
    with pytest.raises(RowError, match="column 'time'"):
        read_row(layout(), {"time": text, "t": "1"}, None)


def test_empty_is_no_value_and_mark_is_a_sensor_error_and_nonsense_is_told() -> None:
    columns = [Column(name, name, "CEL") for name in ("a", "b", "c", "d")]
    row = read_row(
        layout(columns=columns), {"time": "2021-03-14 02:30", "a": " ", "b": "###", "c": "##", "d": "1.5"}, None
    )
    assert [(cell.column.point, cell.mantissa, cell.exponent) for cell in row.cells] == [("b", None, 0), ("d", 15, -1)]
    assert [str(error) for error in row.errors] == ["column 'c': '##' is neither a number nor an error mark"]


def test_line_that_was_cut_short_is_refused() -> None:
    with pytest.raises(RowError, match="1 cells, the header has 2"):
        by_column(["time", "t"], ["2021"])
    with pytest.raises(RowError, match="3 cells"):
        by_column(["time", "t"], ["2021", "1", "2"])
    assert by_column(["time", "t"], ["2021", "1", "", " "]) == {"time": "2021", "t": "1"}


@pytest.mark.parametrize("header", [["time"], ["t"], ["time", "t", "t"], []])
def test_header_must_have_every_column_once(header: list[str]) -> None:
    with pytest.raises(RowError, match="times in the header"):
        check_header(layout(), header)
