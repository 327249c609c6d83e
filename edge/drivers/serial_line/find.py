"""Finds sensors that write lines by themselves: JSON, or numbers between commas, semicolons, tabs or spaces.

What a number means only JSON's keys tell; of a line of plain numbers the table is a draft that a person completes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.commission.words import SIGNS
from edge.drivers.serial_line import number
from edge.drivers.serial_line.codec import Decoder, Framing, Line
from edge.drivers.serial_line.layout import SHOWN_CHARS, Layout, LineError, Point, Value, read_line

BAUDRATES = (9600, 115_200, 4800, 19_200, 38_400)
LISTEN_S = 4.0  # of a sensor that speaks every second: three lines whose beginning was heard
LINES_MIN = 2
CUT_MAX = 1  # lines that were cut: the port was closed between two finders that listened
POINTS_MAX = 16
KEY_DEPTH = 3
DELIMITERS = (",", ";", "\t", " ")
#: Words in a key → unit (Rec 20) and the name of its point.
_MEANINGS = (
    (("temp", "temperature", "t", "air", "tc"), "CEL", "temperature"),
    (("hum", "humidity", "rh", "h", "hr"), "P1", "humidity"),
    (("press", "pressure", "p", "hpa"), "A97", "pressure"),
    (("co2", "ppm"), "59", "co2"),
    (("bat", "battery"), "P1", "battery"),
)


class Draft(NamedTuple):
    """How lines may be read: keys of the `[[device]]`, and their points."""

    form: dict[str, Any]
    points: list[dict[str, Any]]
    is_named: bool  # whether the lines say themselves what their numbers are


class SerialLineFinder:
    """Only listens."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port."""
        return [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """A sensor, if several lines come that can be read in one and the same way."""
        assert place.port is not None
        for baudrate in BAUDRATES:
            heard = await scene.hear(place.port, baudrate, LISTEN_S)
            if not heard:
                return []  # a port that says nothing at one rate says nothing at others
            lines = [one.text for one in Decoder(Framing()).feed(heard) if isinstance(one, Line)]
            draft = _draft(lines) if len(lines) >= LINES_MIN else None
            if draft is not None:
                return [_finding(place, baudrate, draft, lines[-1])]
            if lines and all(line.isprintable() for line in lines):
                return [_unread(place, baudrate, lines)] if len(lines) >= LINES_MIN else []
        return []


def _unread(place: Place, baudrate: int, lines: Sequence[str]) -> Finding:
    return Finding(
        where=f"{place.address}, {baudrate} baud",
        what="a device that sends lines of text",
        live=[line[:SHOWN_CHARS] for line in lines[:3]],
        fault='say what its fields are, in a [[device]] with driver = "serial_line" '
        "(docs/devices/serial.md), and apply it",
    )


def _draft(lines: Sequence[str]) -> Draft | None:
    drafts = [_json_draft(lines[-1]), *(_delimited_draft(lines[-1], mark) for mark in DELIMITERS)]
    return next((draft for draft in drafts if draft is not None and _reads(draft, lines)), None)


def _reads(draft: Draft, lines: Sequence[str]) -> bool:
    layout = _layout(draft)
    cut = 0
    for line in lines:
        try:
            read_line(layout, line)
        except LineError:
            cut += 1
    return cut <= CUT_MAX and len(lines) - cut >= LINES_MIN


def _layout(draft: Draft) -> Layout:
    points = [msgspec.convert(point, Point) for point in draft.points]
    return Layout(draft.form["format"], points, draft.form.get("delimiter", ","), draft.form.get("fields"))


def _json_draft(line: str) -> Draft | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    points: dict[str, dict[str, Any]] = {}
    for key in _keys(document):
        name, unit = _meaning(key)
        if name in points:
            name = _point_name(key)
        if name and name not in points and len(points) < POINTS_MAX:
            points[name] = {"name": name, "unit": unit, "key": key}
    return Draft({"format": "json"}, list(points.values()), is_named=True) if points else None


def _keys(document: dict[str, Any], above: str = "", depth: int = 1) -> Iterator[str]:
    """The paths to the numbers of a document."""
    for key, value in document.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and depth < KEY_DEPTH:
            yield from _keys(value, f"{path}.", depth + 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path


def _delimited_draft(line: str, delimiter: str) -> Draft | None:
    cells = line.split() if delimiter == " " else line.split(delimiter)
    fields = [at for at, cell in enumerate(cells, 1) if number.read(cell.strip(), ".") is not None]
    if not fields or len(fields) > POINTS_MAX or (len(cells) == 1 and "." not in line):
        return None  # one whole number a line is a code that somebody scanned
    points = [{"name": f"field-{at}", "unit": "C62", "field": at} for at in fields]
    form = {"format": "delimited", "delimiter": delimiter, "fields": len(cells)}
    return Draft(form, points, is_named=False)


def _meaning(key: str) -> tuple[str, str]:
    """(name of the point, unit) by the last word of a key."""
    word = key.rpartition(".")[2].lower()
    for words, unit, name in _MEANINGS:
        if word in words or word.partition("_")[0] in words:
            return name, unit
    return _point_name(key), "C62"


def _point_name(key: str) -> str:
    letters = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in key.lower())
    return letters.strip("-")[:63]


def _finding(place: Place, baudrate: int, draft: Draft, line: str) -> Finding:
    assert place.port is not None
    values = read_line(_layout(draft), line)
    live = [_words(value) for value in values]
    table = {"driver": "serial_line", "port": place.port.path, **draft.form, "point": draft.points}
    return Finding(
        where=f"{place.address}, {baudrate} baud",
        what="sensor that writes lines" + ("" if draft.is_named else "; what its numbers are, its manual says"),
        certainty="likely" if draft.is_named else "possible",
        table=table if baudrate == BAUDRATES[0] else {**table, "baudrate": baudrate},
        live=[*live, f"it says {line[:SHOWN_CHARS]}"],
        channels=[(point["name"], point["unit"]) for point in draft.points],
    )


def _words(value: Value) -> str:
    exact = "no number" if value.mantissa is None else f"{Decimal(value.mantissa).scaleb(value.exponent):f}"
    return f"{value.point.name} {exact}{SIGNS.get(value.point.unit, '')}"


finder = SerialLineFinder()
