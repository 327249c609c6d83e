"""What the recorded log shows about its time zone: the findings of docs/cold-store.md, one test each."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import correlation, fmean

import pytest

from firmware_sim.devices import recorded
from firmware_sim.devices.recorded import RecordedError
from tests.journeys.alarm_file import Alarm
from tests.journeys.saveris import VALUES, ZONE, Row

pytestmark = pytest.mark.conformance

QUARTERS_IN_AN_HOUR = 4


def test_only_the_day_that_summer_time_ends_has_more_rows(rows: list[Row]) -> None:
    by_day = Counter(row.written[:10] for row in rows)
    assert {day: count for day, count in by_day.items() if count != 96} == {"2021-06-24": 29, "2021-11-07": 100}


def test_both_passes_of_the_repeated_hour_have_alarms_of_their_own(rows: list[Row], alarms: list[Alarm]) -> None:
    written = [alarm for alarm in alarms if alarm.written.startswith("2021-11-07 01:")]
    instants = [row.at_ms for row in rows if row.written.startswith("2021-11-07 01:")]
    first, second = set(instants[:4]), set(instants[4:])
    assert {at_ms for alarm in written if alarm.written.endswith("01:00:00") for _, at_ms in alarm.candidates} <= first
    assert {at_ms for alarm in written if alarm.written.endswith("01:45:00") for _, at_ms in alarm.candidates} <= second
    assert len(written) == 4


def test_the_zone_gives_every_row_the_instant_that_counting_gives(log_folder: Path, rows: list[Row]) -> None:
    log = _load(log_folder, ZONE)
    assert log.times_ms == [row.at_ms for row in rows]


@pytest.mark.parametrize("zone", ["America/Mexico_City", "America/Monterrey", "America/Cancun", "UTC"])
def test_a_zone_without_summer_time_until_november_is_refused(log_folder: Path, zone: str) -> None:
    with pytest.raises(RecordedError, match="2021-11-07 01:00:00 is not after the row before"):
        _load(log_folder, zone)


@pytest.mark.parametrize("zone", ["America/Matamoros", "America/Tijuana", "America/New_York"])
def test_zones_of_the_same_rule_move_all_rows_alike(log_folder: Path, rows: list[Row], zone: str) -> None:
    log = _load(log_folder, zone)
    assert len({ours - row.at_ms for ours, row in zip(log.times_ms, rows, strict=True)}) == 1


def test_the_rhythm_of_the_rooms_does_not_tell_when_a_clock_was_changed(rows: list[Row]) -> None:
    sundays = [date(2021, 9, 12) + timedelta(weeks=week) for week in range(7)]  # to 30/10: no clock was changed
    shifts = [_best_shift(_mean_day(rows, one), _mean_day(rows, other)) for one, other in pairwise(sundays)]
    assert max(map(abs, shifts)) > QUARTERS_IN_AN_HOUR


def _mean_day(rows: list[Row], sunday: date) -> list[float]:
    """The platform's mean temperature over a week, for every quarter of an hour of the day."""
    week = {str(sunday + timedelta(days=day)) for day in range(7)}
    by_time: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.written[:10] in week:
            by_time[row.written[11:]].append(float(row.values["platform_1"] + row.values["platform_2"]))
    return [fmean(by_time[time]) for time in sorted(by_time)]


def _best_shift(one: list[float], other: list[float]) -> int:
    """By how many quarters of an hour, up to two hours, the other day is to be moved to be most like the first."""
    around = range(-2 * QUARTERS_IN_AN_HOUR, 2 * QUARTERS_IN_AN_HOUR + 1)
    return max(around, key=lambda shift: correlation(one, other[shift:] + other[:shift]))


def _load(folder: Path, zone: str) -> recorded.RecordedLog:
    path = folder / VALUES
    return recorded.load(path, columns=[], time_columns=["date"], zone=zone, time_format="%Y-%m-%d %H:%M:%S")
