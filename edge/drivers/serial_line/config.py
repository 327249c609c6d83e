"""The keys of a `[[device]]` with `driver = "serial_line"` (listens) or `driver = "serial_request"` (asks)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from edge.drivers.base import Claim
from edge.drivers.ports import Port
from edge.drivers.serial_line.checksum import Kind
from edge.drivers.serial_line.codec import END_LINE, LINE_MAX_BYTES, Encoding, Framing
from edge.drivers.serial_line.layout import PATTERN_MAX_CHARS, POINTS_MAX, Format, Layout, Point, compile_pattern

Short = Annotated[str, msgspec.Meta(max_length=40)]
Mark = Annotated[str, msgspec.Meta(max_length=4)]


class SerialLineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One sensor that writes lines on a serial port; what the keys mean, Framing, Layout and Point say."""

    port: Port
    point: Annotated[list[Point], msgspec.Meta(min_length=1, max_length=POINTS_MAX)]
    format: Format = "delimited"
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=4)] = ","
    fields: Annotated[int, msgspec.Meta(ge=1, le=500)] | None = None
    decimal: Literal[".", ","] = "."
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_MAX_CHARS)] | None = None
    end: Annotated[str, msgspec.Meta(min_length=1, max_length=4)] = END_LINE
    encoding: Encoding = "utf-8"
    line_max: Annotated[int, msgspec.Meta(ge=8, le=LINE_MAX_BYTES)] = 512
    prefix: Short = ""
    checksum: Kind | None = None
    checksum_mark: Mark = "*"
    checksum_skip: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    checksum_over_mark: bool = False
    checksum_order: Literal["big", "little"] = "big"
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0

    @property
    def framing(self) -> Framing:
        """How a line looks."""
        return Framing(**{name: getattr(self, name) for name in Framing.__struct_fields__})

    @property
    def layout(self) -> Layout:
        """What a line says."""
        matcher = compile_pattern(self.pattern)[0] if self.pattern is not None else None
        return Layout(self.format, self.point, self.delimiter, self.fields, self.decimal, matcher)

    @property
    def settings(self) -> str:
        """How the line is set, for people."""
        return f"{self.baudrate} {self.bytesize}{self.parity}{self.stopbits}"

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong) for rules between keys."""
        yield from self._framing_problems()
        yield from self._pattern_problems()
        seen: set[str] = set()
        for at, point in enumerate(self.point):
            path = f"point[{at}]"
            if point.name in seen:
                yield f"{path}.name", f'"{point.name}" occurs twice'
            seen.add(point.name)
            yield from self._point_problems(point, path)

    def claims(self) -> list[Claim]:
        """The port, all of it."""
        return [Claim(key="port", what=f"serial:{self.port}")]

    def _framing_problems(self) -> Iterator[tuple[str, str]]:
        for key in ("end", "prefix", "checksum_mark"):
            try:
                getattr(self, key).encode(self.encoding)
            except UnicodeEncodeError:
                yield key, f"cannot be written in {self.encoding}"
        if self.decimal == self.delimiter and self.format == "delimited":
            yield "decimal", "is the delimiter as well: 21,3 would be two fields"

    def _pattern_problems(self) -> Iterator[tuple[str, str]]:
        if (self.pattern is not None) != (self.format == "pattern"):
            yield "pattern", 'belongs to format = "pattern", and is needed there'
        if self.pattern is None:
            return
        try:
            _, groups = compile_pattern(self.pattern)
        except ValueError as error:
            yield "pattern", str(error)
            return
        for at, point in enumerate(self.point):
            if (group := point.group or point.name) not in groups:
                yield f"point[{at}].group", f"the pattern has no group (?P<{group}>…)"

    def _point_problems(self, point: Point, path: str) -> Iterator[tuple[str, str]]:
        belongs = {"field": "delimited", "key": "json", "group": "pattern"}
        for key, kind in belongs.items():
            if getattr(point, key) is not None and self.format != kind:
                yield f"{path}.{key}", f'belongs to format = "{kind}"'
        if self.format == "delimited":
            if point.field is None:
                yield f"{path}.field", "is missing: which field of the line, from 1"
            elif self.fields is not None and point.field > self.fields:
                yield f"{path}.field", f"a line has {self.fields} fields"
        for key in ("scale", "offset", "min", "max"):
            value = getattr(point, key)
            if value is not None and not value.is_finite():
                yield f"{path}.{key}", "must be a number"
                return
        if point.scale == 0:
            yield f"{path}.scale", "0 would make every reading 0"
        if point.min is not None and point.max is not None and point.min > point.max:
            yield f"{path}.min", f"{point.min} is above max {point.max}"


class SerialRequestConfig(SerialLineConfig, frozen=True, kw_only=True):
    """A sensor that answers with a line when asked; several may share a line (RS-485) with requests of their own.

    request: what to send, one byte per character: `READ\\r\\n`, or `\\u0002A1\\u0003` with control characters.
    """

    request: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=200,
            pattern="^[\\x00-\\xff]*\\Z",
            description="up to 200 characters of one byte each (\\u0000 to \\u00ff)",
        ),
    ]

    @property
    def link(self) -> str:
        """The key of the line that devices share: not that of Modbus, which has another kind of link."""
        return f"lines:{self.port}"

    def claims(self) -> list[Claim]:
        """This request on this port; another device may have another, of our kind and set alike."""
        part = f"request {self.request!r}"
        return [Claim(key="port", what=f"serial:{self.port}", part=part, settings=f"{self.settings} (lines of text)")]
