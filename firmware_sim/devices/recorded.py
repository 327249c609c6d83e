"""A device that says again what a real one once recorded: its values come from a CSV log.

The value at an instant is that of the last row at or before it. An empty cell or `###` (the vendor's sign of a
broken probe) is no value; before the first row there is none either. Numbers stay exact decimals.
Local times are made UTC with the log's zone; where an hour occurs twice, rows keep their order: the first pass is
the earlier instant. Anything that cannot be so (time going back, an hour that the zone skips) is refused.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,9})?")
NO_VALUE = frozenset({"", "###"})
MAX_ROWS = 10_000_000  # a probe a second for four months; far below what would fill a small machine's memory


class RecordedError(ValueError):
    """The log cannot be played; says file, line and why."""


class RecordedLog:
    """Columns of one log. times_ms: UTC, rising."""

    def __init__(self, times_ms: list[int], columns: dict[str, list[Decimal | None]]) -> None:
        self.times_ms = times_ms
        self.columns = columns

    def at(self, column: str, at_ms: float) -> Decimal | None:
        """The value of a column at an instant."""
        index = bisect_right(self.times_ms, at_ms) - 1
        return None if index < 0 else self.columns[column][index]


def load(
    path: Path, *, columns: Sequence[str], time_columns: Sequence[str], zone: str, time_format: str
) -> RecordedLog:
    """Read a log. Time columns are joined with a space and read with `time_format`. Raises RecordedError."""
    try:
        local = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise RecordedError(f"{path}: no time zone {zone!r}") from error
    times_ms: list[int] = []
    values: dict[str, list[Decimal | None]] = {column: [] for column in columns}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {*columns, *time_columns} - set(reader.fieldnames or [])
            if missing:
                raise RecordedError(f"{path}: no column {', '.join(sorted(missing))}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if len(times_ms) == MAX_ROWS:
                    raise RecordedError(f"{where}: more than {MAX_ROWS} rows")
                text = " ".join(row[name] or "" for name in time_columns)
                times_ms.append(_instant_ms(text, time_format, local, times_ms[-1] if times_ms else None, where))
                for column in columns:
                    values[column].append(_number(row[column] or "", where, column))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordedError(f"{path}: cannot be read ({error})") from error
    if not times_ms:
        raise RecordedError(f"{path}: no rows")
    return RecordedLog(times_ms, values)


def _instant_ms(text: str, time_format: str, zone: ZoneInfo, previous_ms: int | None, where: str) -> int:
    try:
        wall = datetime.strptime(text, time_format).replace(tzinfo=zone)
        exists = wall.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise RecordedError(f"{where}: {error}") from error
    if not exists:
        raise RecordedError(f"{where}: {text} does not exist in {zone.key}; is the zone right?")
    for fold in (0, 1):
        at_ms = round(wall.replace(fold=fold).timestamp() * 1000)
        if previous_ms is None or at_ms > previous_ms:
            return at_ms
    raise RecordedError(f"{where}: {text} is not after the row before, not even in {zone.key}'s repeated hour")


def _number(cell: str, where: str, column: str) -> Decimal | None:
    text = cell.rstrip(". ").strip()  # the vendor's raw export pads its last cells with dots
    if text in NO_VALUE:
        return None
    if NUMBER.fullmatch(text) is None:
        raise RecordedError(f"{where}, {column}: {cell[:40]!r} is no number")
    return Decimal(text)
