"""The keys of a `[[device]]` with `driver = "replay"`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from edge.drivers.replay.codec import Column, Layout

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Zone:
    """The time zone of a log: an IANA name (`Asia/Ho_Chi_Minh`), `UTC`, or a fixed offset (`+07:00`)."""

    __slots__ = ("tzinfo",)

    def __init__(self, tzinfo: datetime.tzinfo) -> None:
        self.tzinfo = tzinfo

    @classmethod
    def from_config(cls, value: object, _folder: Path) -> Zone:
        """Find the zone. Raises ValueError."""
        if isinstance(value, str):
            try:
                offset = datetime.datetime.strptime(value, "%z").tzinfo
                assert offset is not None
                return cls(offset)
            except ValueError:
                pass  # not an offset: a name
            try:
                return cls(ZoneInfo(value))
            except (ZoneInfoNotFoundError, ValueError, OSError):
                pass  # told below
        raise ValueError(f"unknown time zone {value!r:.60}; give a name such as Asia/Ho_Chi_Minh, or +07:00")


class ReplayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded log and how it is laid out.

    pace: `recorded` hands a row over when the gateway's clock reaches its time, and like a device does not
    repeat the past; `fast` hands all rows over as quickly as they are accepted, each with its own time, from the
    first row on each time the gateway starts. clock: how far the clock of the logger can be trusted.
    """

    file: Path
    column: Annotated[list[Column], msgspec.Meta(min_length=1, max_length=1000)]
    time_columns: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=2)]
    time_zone: Zone
    time_format: Text = "%Y-%m-%d %H:%M:%S"
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    decimal: Literal[".", ","] = "."
    error_marks: tuple[Text, ...] = ("###",)
    encoding: Literal["utf-8", "latin-1", "cp1252", "utf-16"] = "utf-8"
    pace: Literal["recorded", "fast"] = "recorded"
    clock: Literal["synced", "holdover", "unsynced"] = "synced"

    @property
    def layout(self) -> Layout:
        """What the codec needs of this."""
        return Layout(
            columns=self.column,
            time_columns=self.time_columns,
            time_format=self.time_format,
            zone=self.time_zone.tzinfo,
            decimal=self.decimal,
            error_marks=frozenset(self.error_marks),
        )

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong) for rules between keys."""
        seen: set[str] = set()
        for at, column in enumerate(self.column):
            if column.point in seen:
                yield f"column[{at}].point", f'"{column.point}" is used twice: the channels of a device differ'
            seen.add(column.point)
        if self.delimiter == self.decimal:
            yield "decimal", f'"{self.decimal}" is also the delimiter of the columns'
        if "%z" in self.time_format:
            yield "time_format", "%z is not supported: the zone of the log is given by time_zone"
