"""What the cloud says, held against a plain calculation from the recorded rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import Connection

from cloud.evidence.lot import lot_evidence
from cloud.evidence.model import SeriesEvidence, Stay
from cloud.telemetry.query import readings
from tests.journeys.alarm_file import Limit, Side
from tests.journeys.cold_store import GATEWAY, PLATFORM, STORED_IN, Lot, Room, gln, gtin
from tests.journeys.saveris import PROBES, STEP_MS, Row, between, plain, runs
from tests.journeys.site_rule import CRITICAL_S, DIRECTIONS, WORK_S, Sides, limit_at, sides_of

HOUR_MS = 3_600_000
REPEATED_HOUR_MS = int(datetime(2021, 11, 7, 6, tzinfo=UTC).timestamp()) * 1000
MEAN_WITHIN = Fraction(1, 10**9)

Limits = Mapping[Side, Sequence[Limit]]


def check_record(conn: Connection, rows: Sequence[Row], channels: Mapping[str, str]) -> None:
    """Every reading is in the record once, with its row's time and number, in the order of the rows."""
    for probe in PROBES:
        found = readings(conn, GATEWAY, channels[probe], 0, rows[-1].at_ms + 1)
        assert [row.observed_ms for row in found] == [row.at_ms for row in rows]
        assert [row.value for row in found] == [row.values[probe] for row in rows]


def check_repeated_hour(conn: Connection, rows: Sequence[Row], channels: Mapping[str, str]) -> None:
    """01:00 to 01:45 is written twice: eight readings of each probe, whole, in the file's order."""
    written = [row for row in rows if row.written.startswith("2021-11-07 01:")]
    assert len(written) == 8
    for probe in PROBES:
        found = readings(conn, GATEWAY, channels[probe], REPEATED_HOUR_MS, REPEATED_HOUR_MS + 2 * HOUR_MS)
        assert [row.observed_ms - REPEATED_HOUR_MS for row in found] == [STEP_MS * index for index in range(8)]
        assert [row.value for row in found] == [row.values[probe] for row in written]


def check_lots(
    conn: Connection, lots: Sequence[Lot], rows: Sequence[Row], channels: Mapping[str, str], limits: Limits, now_ms: int
) -> int:
    """Every stay of every lot, and every probe in it: numbers and excursions are what the rows say.

    Returns how many excursions were critical for long enough.
    """
    critical = 0
    for lot in lots:
        evidence = lot_evidence(conn, gtin(lot.product), lot.name, now_ms)
        assert evidence is not None
        assert evidence.simulated
        ends = [visit.at_ms for visit in lot.visits[1:]] + [None]
        expected = [(gln(visit.room), visit.at_ms, end) for visit, end in zip(lot.visits, ends, strict=True)]
        assert [(stay.place, stay.from_ms, stay.to_ms) for stay in evidence.stays] == expected
        for stay, visit in zip(evidence.stays, lot.visits, strict=True):
            critical += _check_stay(stay, visit.room, rows, channels, _judged_by(lot, visit.room, limits))
    return critical


def _check_stay(stay: Stay, room: Room, rows: Sequence[Row], channels: Mapping[str, str], sides: Sides) -> int:
    probes = {channels[probe]: probe for probe in room.probes}
    assert {series.channel for series in stay.series} == probes.keys()
    critical = 0
    for series in stay.series:
        probe = probes[series.channel]
        _check_numbers(series, stay, rows, probe)
        critical += _check_excursions(series, stay, rows, probe, sides)
    if stay.custody:
        assert (stay.verdict == "fail") == (critical > 0)
    return critical


def _check_numbers(series: SeriesEvidence, stay: Stay, rows: Sequence[Row], probe: str) -> None:
    expected = plain(rows, probe, stay.from_ms, stay.until_ms)
    assert series.min is not None
    assert series.max is not None
    assert series.mean is not None
    assert series.count == expected.count
    assert (Decimal(repr(series.min)), Decimal(repr(series.max))) == (expected.min, expected.max)
    assert abs(Fraction(series.mean) - expected.mean) <= MEAN_WITHIN
    assert (series.gaps, series.sensor_errors) == ([], 0)


def _check_excursions(series: SeriesEvidence, stay: Stay, rows: Sequence[Row], probe: str, sides: Sides) -> int:
    """Compare every excursion; how many were critical for long enough."""
    inside = between(rows, stay.from_ms, stay.until_ms)
    critical = 0
    for direction in DIRECTIONS:
        thresholds = [limit.value if (limit := limit_at(sides, direction, row.at_ms)) else None for row in inside]
        expected = runs(inside, probe, thresholds, above=direction == "above", until_ms=stay.until_ms)
        for name, duration_s in (("work", WORK_S), ("critical", CRITICAL_S)):
            found = [one for one in series.excursions if one.rule.startswith(f"{name} {direction}")]
            assert [(one.from_ms, one.to_ms, Decimal(repr(one.extreme))) for one in found] == expected
            assert [one.triggered for one in found] == [end - start >= duration_s * 1000 for start, end, _ in expected]
        critical += sum(one.triggered for one in found)
    return critical


def _judged_by(lot: Lot, room: Room, limits: Limits) -> dict[str, list[Limit]]:
    return sides_of(limits, PLATFORM.probes if room is PLATFORM else STORED_IN[lot.product])
