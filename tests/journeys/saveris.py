"""The recorded cold store: where its files are, and a plain reading of them that shares no code with the product.

    values_….csv    date (local time), then ten probes; a row every quarter of an hour
    alarms_….csv    what the vendor's system raised: probe, direction, limit in force, the reading that raised it

Instants are made from local time by counting: rows are a quarter of an hour apart from the first one on, over the
hour that occurs twice as well. That the product, which uses the time zone, gets the same instants is what is tested.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("real") / "coldstore_saveris"
VALUES = "values_2021-06-24_2021-11-30.csv"
ALARMS = "alarms_2021-06-24_2021-11-30.csv"
RAW_VALUES = "raw_export_head_values.csv"
RAW_TIME_FORMAT = "%d/%m/%y %H:%M:%S"
BROKEN = "###"  # the vendor's sign, in the raw export only
ZONE = "America/Chicago"  # how that was found: docs/cold-store.md
SUMMER = timezone(timedelta(hours=-5))  # that zone's offset at the first row
STEP_MS = 15 * 60_000
PROBES = (
    "platform_1", "platform_2", "deepfreezer_1", "deepfreezer_2", "freezer_1",
    "freezer_2", "freezer_3", "freezer_4", "cooling_1", "cooling_2",
)  # fmt: skip


class Row(NamedTuple):
    """One row: its instant (UTC milliseconds), its local time as written, its values by probe."""

    at_ms: int
    written: str
    values: dict[str, Decimal]


@dataclass(frozen=True)
class Plain:
    """What the readings of one probe say about one stay, calculated plainly."""

    count: int
    min: Decimal
    max: Decimal
    mean: Fraction


@cache
def read_rows(path: Path) -> list[Row]:
    """Every row of a values file, in order; read once for all tests, which leave it as it is."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    first = datetime.fromisoformat(lines[0]["date"]).replace(tzinfo=SUMMER)
    first_ms = int(first.astimezone(UTC).timestamp()) * 1000
    return [
        Row(first_ms + index * STEP_MS, line["date"], {probe: Decimal(line[probe]) for probe in PROBES})
        for index, line in enumerate(lines)
    ]


def read_raw_cells(path: Path, column: str) -> dict[int, str]:
    """The cells of a column in the raw export's rows of whole quarters of an hour, by instant."""
    cells = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for line in csv.DictReader(file):
            wall = datetime.strptime(f"{line['date']} {line['hour']}", RAW_TIME_FORMAT).replace(tzinfo=SUMMER)
            at_ms = int(wall.timestamp()) * 1000
            if at_ms % STEP_MS == 0 and line[column]:
                cells[at_ms] = line[column]
    return cells


def between(rows: Sequence[Row], from_ms: int, until_ms: int) -> list[Row]:
    """The rows in [from_ms, until_ms)."""
    return [row for row in rows if from_ms <= row.at_ms < until_ms]


def plain(rows: Sequence[Row], probe: str, from_ms: int, until_ms: int) -> Plain:
    """Count, extremes and time-weighted mean of a probe in [from_ms, until_ms): a reading stands until the next one,
    the last one for a quarter of an hour or until the end, whichever comes first."""
    inside = between(rows, from_ms, until_ms)
    total, weight = Fraction(0), 0
    for index, row in enumerate(inside):
        until = inside[index + 1].at_ms if index + 1 < len(inside) else min(row.at_ms + STEP_MS, until_ms)
        total += Fraction(row.values[probe]) * (until - row.at_ms)
        weight += until - row.at_ms
    values = [row.values[probe] for row in inside]
    return Plain(len(values), min(values), max(values), total / weight)


def runs(
    rows: Sequence[Row], probe: str, thresholds: Sequence[Decimal | None], *, above: bool, until_ms: int
) -> list[tuple[int, int, Decimal]]:
    """Rows in a row beyond their thresholds, as (first, the row after the last one or the end, farthest value)."""
    found: list[tuple[int, int, Decimal]] = []
    start: int | None = None
    for index in range(len(rows) + 1):
        threshold = thresholds[index] if index < len(rows) else None
        value = rows[index].values[probe] if index < len(rows) else None
        out = threshold is not None and value is not None and (value > threshold if above else value < threshold)
        if out and start is None:
            start = index
        elif not out and start is not None:
            values = [row.values[probe] for row in rows[start:index]]
            end_ms = rows[index].at_ms if index < len(rows) else min(rows[-1].at_ms + STEP_MS, until_ms)
            found.append((rows[start].at_ms, end_ms, max(values) if above else min(values)))
            start = None
    return found
