"""Rows of a recorded log → instants and exact decimals. Pure.

Local times become instants by the zone of the log. The hour that occurs twice at the end of daylight saving is
told apart by order: a log runs forward, so a local time that would step back is its second occurrence.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from wire.observation import INT64_MAX, MAX_EXPONENT, MAX_TIME_MS, MIN_EXPONENT

_NUMBER = re.compile(r"([+-]?)(\d{1,19})(?:\.(\d{1,9}))?", re.ASCII)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
SHOWN_CHARS = 40  # of a bad cell, in a message


class RowError(ValueError):
    """A row, or one cell of it, is not what the layout says; `str()` names the column."""


class Column(msgspec.Struct, frozen=True):
    """One column of the log that becomes a channel."""

    column: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    point: Annotated[
        str,
        msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z", description="a name of a-z, 0-9, '.', '_' and '-'"),
    ]
    unit: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{1,3}\\Z", description="a Rec 20 code such as CEL or P1")]


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read a row. The cells of `time_columns`, joined by a space, match `time_format` (strptime)."""

    columns: list[Column]
    time_columns: list[str]
    time_format: str
    zone: datetime.tzinfo
    decimal: str
    error_marks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a row; mantissa None where the log says that the sensor failed."""

    column: Column
    mantissa: int | None
    exponent: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its instant, its cells, and what was wrong with the cells that are missing from it."""

    at_ms: int
    cells: list[Cell]
    errors: list[RowError]


def check_header(layout: Layout, header: list[str]) -> None:
    """Whether a header has every column of the layout, once. Raises RowError."""
    for name in [*layout.time_columns, *(column.column for column in layout.columns)]:
        if header.count(name) != 1:
            raise RowError(f"column {name!r} occurs {header.count(name)} times in the header {', '.join(header)[:200]}")


def by_column(header: list[str], cells: list[str]) -> dict[str, str]:
    """The cells of a line by column. Raises RowError for a line that was cut short or has too much in it."""
    if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
        raise RowError(f"{len(cells)} cells, the header has {len(header)}")
    return dict(zip(header, cells, strict=False))


def read_row(layout: Layout, row: Mapping[str, str], after_ms: int | None) -> Row:
    """One row that follows a row at `after_ms`. An empty cell is no value. Raises RowError for a bad time."""
    at_ms = _instant(layout, row, after_ms)
    cells: list[Cell] = []
    errors: list[RowError] = []
    for column in layout.columns:
        text = row[column.column].strip()
        if not text:
            continue
        if text in layout.error_marks:
            cells.append(Cell(column, None, 0))
            continue
        try:
            cells.append(Cell(column, *read_number(text, layout.decimal)))
        except RowError as error:
            errors.append(RowError(f"column {column.column!r}: {error}"))
    return Row(at_ms, cells, errors)


def read_number(text: str, decimal: str = ".") -> tuple[int, int]:
    """(mantissa, exponent) of a decimal, every digit kept: `21.30` is (2130, -2). Raises RowError."""
    plain = text.replace(decimal, ".", 1) if decimal != "." and "." not in text else text
    if decimal != "." and "." in text:
        raise RowError(f"{text[:SHOWN_CHARS]!r} is not a number with {decimal!r} as decimal sign")
    found = _NUMBER.fullmatch(plain)
    if found is None:
        raise RowError(f"{text[:SHOWN_CHARS]!r} is neither a number nor an error mark")
    sign, whole, fraction = found[1], found[2], found[3] or ""
    mantissa = int(whole + fraction)
    if mantissa > INT64_MAX or not MIN_EXPONENT <= -len(fraction) <= MAX_EXPONENT:
        raise RowError(f"{text[:SHOWN_CHARS]!r} has more digits than a reading can carry")
    return (-mantissa if sign == "-" else mantissa), -len(fraction)


def _instant(layout: Layout, row: Mapping[str, str], after_ms: int | None) -> int:
    text = " ".join(row[name].strip() for name in layout.time_columns)
    where = f"column {' + '.join(layout.time_columns)!r}"
    try:
        local = datetime.datetime.strptime(text, layout.time_format).replace(tzinfo=layout.zone)
    except ValueError as error:
        raise RowError(f"{where}: {text[:SHOWN_CHARS]!r} is not a time ({layout.time_format})") from error
    first_ms, second_ms = _utc_ms(local), _utc_ms(local.replace(fold=1))
    if second_ms < first_ms:  # PEP 495: a gap, clocks went forward over this time
        raise RowError(f"{where}: {text!r} does not exist in {layout.zone}; is time_zone the zone of this log?")
    at_ms = first_ms if after_ms is None or first_ms >= after_ms else second_ms
    if after_ms is not None and at_ms < after_ms:
        raise RowError(f"{where}: {text!r} is earlier than the row before; a log runs forward")
    if not 0 <= at_ms <= MAX_TIME_MS:
        raise RowError(f"{where}: {text!r} is before 1970 or after 9999")
    return at_ms


def _utc_ms(local: datetime.datetime) -> int:
    return (local - _EPOCH) // datetime.timedelta(milliseconds=1)
