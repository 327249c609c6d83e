"""What a line says: delimited fields, JSON, or a pattern → exact decimals by point. Pure.

A pattern is matched by RE2, whose time grows with the length of the line only, whatever the pattern: the standard
library's matcher can take centuries for `(a+)+b`. RE2 knows no look-around and no back-references, and refuses them
when the configuration is checked. With the limit of a line (4 KiB) and of the matcher's memory, one line costs under a
millisecond. A pattern has to match the whole line.

A line is believed whole or not at all: one field that is no number makes it a LineError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Protocol

import msgspec

from edge.drivers.serial_line import number
from wire.observation import MAX_EXPONENT, MIN_EXPONENT, Quality

Format = Literal["delimited", "json", "pattern"]
POINTS_MAX = 100
PATTERN_MAX_CHARS = 1000
PATTERN_MAX_BYTES = 1 << 20  # of RE2's compiled program; the largest sensible one needs a tenth
SHOWN_CHARS = 40


class LineError(ValueError):
    """A line does not say what the layout expects; `str()` says where and why."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a line, and what it means: number × scale × 10^exponent + offset.

    field: which one, from 1 (delimited). key: where, for example `probe.temp` or `values.0` (JSON).
    group: the pattern's (?P<name>…); default: the point's name. words: texts that stand for a number (`OPEN` = 1).
    sensor_error: texts or numbers, as sent, by which the device says that its probe has failed.
    optional: a line without it is no fault.
    """

    name: Annotated[
        str,
        msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z", description="a name of a-z, 0-9, '.', '_' and '-'"),
    ]
    unit: Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{2,3}\Z", description="a Rec 20 code such as CEL or P1")]
    field: Annotated[int, msgspec.Meta(ge=1, le=500)] | None = None
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    group: Annotated[str, msgspec.Meta(min_length=1, max_length=63)] | None = None
    exponent: Annotated[int, msgspec.Meta(ge=MIN_EXPONENT, le=MAX_EXPONENT)] = 0
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    min: Decimal | None = None
    max: Decimal | None = None
    sensor_error: list[str | int | float] = []
    words: dict[str, int] = {}
    optional: bool = False


class Value(msgspec.Struct, frozen=True):
    """What one point said: mantissa × 10^exponent, or no number and why."""

    point: Point
    mantissa: int | None
    exponent: int
    quality: Quality


class Matcher(Protocol):
    """A compiled pattern."""

    def fullmatch(self, text: str) -> Any:
        """The match of the whole text, or None."""


class Layout(msgspec.Struct, frozen=True):
    """How to read a line. fields: how many it has, exactly; None: at least as many as the points need."""

    format: Format
    points: list[Point]
    delimiter: str = ","
    fields: int | None = None
    decimal: str = "."
    matcher: Any = None  # a Matcher; set for the format `pattern`


class PatternNotInstalled(ValueError):
    """The library that matches patterns is missing."""


def compile_pattern(pattern: str) -> tuple[Matcher, frozenset[str]]:
    """A pattern and the names of its groups. Raises ValueError for one that RE2 refuses."""
    try:
        import re2  # an extra: only who configures a pattern needs it
    except ImportError as error:
        raise PatternNotInstalled("patterns need the library google-re2: pip install 'coldproof[pattern]'") from error
    options = re2.Options()
    options.max_mem = PATTERN_MAX_BYTES
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"pattern: {why} (RE2 syntax: no look-around, no back-references)") from error
    return compiled, frozenset(compiled.groupindex)


def read_line(layout: Layout, text: str) -> list[Value]:
    """The values of all points of a line. Raises LineError."""
    found = _TEXTS[layout.format](layout, text)
    values: list[Value] = []
    for point in layout.points:
        if point.name in found:
            values.append(_value(layout, point, found[point.name]))
        elif not point.optional:
            raise LineError(f"{point.name}: not in {_shown(text)}")
    if not values:
        raise LineError(f"no point in {_shown(text)}")
    return values


def _delimited(layout: Layout, text: str) -> dict[str, Any]:
    cells = [cell.strip() for cell in (text.split() if layout.delimiter == " " else text.split(layout.delimiter))]
    if layout.fields is not None and len(cells) != layout.fields:
        raise LineError(f"{len(cells)} fields in {_shown(text)}, expected {layout.fields}")
    return {
        point.name: cells[point.field - 1]
        for point in layout.points
        if point.field is not None and point.field <= len(cells) and cells[point.field - 1]
    }


def _json(layout: Layout, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise LineError(f"no JSON: {_shown(text)}") from error
    found: dict[str, Any] = {}
    for point in layout.points:
        at = document
        for step in (point.key or point.name).split("."):
            at = _step(at, step)
        if at is not _MISSING:
            found[point.name] = at
    return found


def _step(at: Any, step: str) -> Any:
    if isinstance(at, dict):
        return at.get(step, _MISSING)
    if isinstance(at, list) and step.isascii() and step.isdigit() and len(step) < 5 and int(step) < len(at):
        return at[int(step)]
    return _MISSING


def _pattern(layout: Layout, text: str) -> dict[str, Any]:
    match = layout.matcher.fullmatch(text)
    if match is None:
        raise LineError(f"the pattern does not match {_shown(text)}")
    groups: Mapping[str, str | None] = match.groupdict()
    found = {point.name: groups.get(point.group or point.name) for point in layout.points}
    return {name: text for name, text in found.items() if text is not None}


def _value(layout: Layout, point: Point, said: Any) -> Value:
    if said is None or _is_error_mark(layout, point, said):  # JSON's null: there is no number
        return Value(point, None, 0, Quality.SENSOR_ERROR)
    read = _number(layout, point, said)
    if read is None:
        raise LineError(f"{point.name}: {_shown(str(said))} is neither a number nor a sensor_error")
    exact = number.scaled(read, scale=point.scale, exponent=point.exponent, offset=point.offset)
    fitting = number.fit(exact)
    if fitting is None:
        return Value(point, None, 0, Quality.OUT_OF_RANGE)
    outside = (point.min is not None and exact < point.min) or (point.max is not None and exact > point.max)
    return Value(point, *fitting, Quality.OUT_OF_RANGE if outside else Quality.OK)


def _number(layout: Layout, point: Point, said: Any) -> Decimal | None:
    if isinstance(said, bool):
        return Decimal(int(said))
    if not isinstance(said, str):
        return None
    if said in point.words:
        return Decimal(point.words[said])
    return number.read(said, "." if isinstance(said, _Number) else layout.decimal)


def _is_error_mark(layout: Layout, point: Point, said: Any) -> bool:
    if not isinstance(said, str):
        return False
    read = number.read(said, "." if isinstance(said, _Number) else layout.decimal)
    return any(
        said == mark if isinstance(mark, str) else read is not None and read == Decimal(str(mark))
        for mark in point.sensor_error
    )


class _Number(str):
    """A number of a JSON document as it was written."""

    __slots__ = ()


_MISSING: Any = object()
_TEXTS = {"delimited": _delimited, "json": _json, "pattern": _pattern}


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARS]) + ("…" if len(text) > SHOWN_CHARS else "")
