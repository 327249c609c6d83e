"""The vendor's alarms file: which probe an alarm is about, and the limits in force as alarms show them.

The file names sensors by room and number, and two freezer chambers share those names: `freezer_1` is the first
probe of either chamber (columns freezer_1 and freezer_3 of the values), `freezer_2` the second one of either. An
alarm carries the reading that raised it, so the probe is the one whose reading at that instant is this value.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from tests.journeys.saveris import ALARMS, STEP_MS, Row

PROBES_OF = {
    "freezer_1": ("freezer_1", "freezer_3"),
    "freezer_2": ("freezer_2", "freezer_4"),
    "cooler_1": ("cooling_1",),
    "cooler_2": ("cooling_2",),
}
DIRECTIONS = {"exceed": "above", "deficit": "below", "recovery": ""}
LIMIT_LEADS_MS = 3 * STEP_MS  # the longest delay the vendor had set is four readings: the first is this much earlier

Side = tuple[str, str]  # (probe, "above" or "below")


class Alarm(NamedTuple):
    """One alarm raised, or its end (direction "").

    at_ms: instants that the written local time may mean and that have rows. candidates: probes whose reading then is
    the alarm's value, as (probe, instant).
    """

    written: str
    sensor: str
    direction: str
    limit: Decimal
    value: Decimal
    at_ms: tuple[int, ...]
    candidates: tuple[tuple[str, int], ...]


class Limit(NamedTuple):
    """A limit of one probe, in force from an instant until the next one."""

    from_ms: int
    value: Decimal


def read_alarms(folder: Path, rows: Sequence[Row]) -> list[Alarm]:
    """Alarms raised, oldest first."""
    return _read(folder, rows, status="1")


def read_recoveries(folder: Path, rows: Sequence[Row]) -> list[Alarm]:
    """Ends of alarms, oldest first."""
    return _read(folder, rows, status="0")


def limits(alarms: Sequence[Alarm]) -> dict[Side, list[Limit]]:
    """Each probe's limits by side, from the alarms that can be of one probe only.

    A limit is taken as in force from a little before the first alarm that names it until the next one is.
    """
    found: dict[Side, list[Limit]] = defaultdict(list)
    for alarm in alarms:
        if len(alarm.candidates) != 1:
            continue
        probe, at_ms = alarm.candidates[0]
        known = found[probe, alarm.direction]
        if not known or known[-1].value != alarm.limit:
            known.append(Limit(at_ms - LIMIT_LEADS_MS, alarm.limit))
    return dict(found)


def _read(folder: Path, rows: Sequence[Row], *, status: str) -> list[Alarm]:
    by_written: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_written[row.written].append(row)
    with (folder / ALARMS).open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["status"] == status]
    return [_alarm(line, by_written.get(line["date"], [])) for line in reversed(lines)]


def _alarm(line: Mapping[str, str], rows: Sequence[Row]) -> Alarm:
    sensor, value = line["sensor_name"], Decimal(line["value"])
    probes = PROBES_OF.get(sensor, (sensor,))
    return Alarm(
        written=line["date"],
        sensor=sensor,
        direction=DIRECTIONS[line["alarm_type"].strip()],
        limit=Decimal(line["limit"]),
        value=value,
        at_ms=tuple(row.at_ms for row in rows),
        candidates=tuple((probe, row.at_ms) for row in rows for probe in probes if row.values[probe] == value),
    )
