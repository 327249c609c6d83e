"""Months of a real cold store through the whole house: Modbus probes, driver, buffer, broker, ingest, evidence.

What the evidence says of every stay is compared with a plain calculation from the recorded file, to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud.db.engine import reading
from coldproof.demo.broker import LocalBroker
from tests.journeys import cold_store
from tests.journeys.alarm_comparison import compare, excursions
from tests.journeys.alarm_file import Alarm, limits
from tests.journeys.check import check_lots, check_record, check_repeated_hour
from tests.journeys.cold_store import (
    COOLER,
    CUSTOMER,
    DEEPFREEZER,
    FREEZER_1,
    FREEZER_2,
    GATEWAY,
    PLATFORM,
    Lot,
    Visit,
)
from tests.journeys.document import documented_counts
from tests.journeys.house import cloud, play, wait_for_arrival
from tests.journeys.saveris import PROBES, STEP_MS, Row, between

pytestmark = [pytest.mark.conformance, pytest.mark.journey]

DAY_MS, HOUR_MS, MINUTE_MS = 86_400_000, 3_600_000, 60_000
FOURTEEN_DAYS_FROM = int(datetime(2021, 10, 31, 5, tzinfo=UTC).timestamp()) * 1000  # local midnight
FOURTEEN_DAYS_UNTIL = int(datetime(2021, 11, 14, 6, tzinfo=UTC).timestamp()) * 1000  # local midnight, an hour more


@pytest.mark.timeout(600)
async def test_fourteen_days_around_the_end_of_summer_time_are_told_exactly(
    tmp_path: Path,
    broker: LocalBroker,
    free_port: Callable[[], int],
    log_folder: Path,
    rows: list[Row],
    alarms: list[Alarm],
) -> None:
    window = (FOURTEEN_DAYS_FROM, FOURTEEN_DAYS_UNTIL)
    lots = _lots_of_fourteen_days(FOURTEEN_DAYS_FROM)
    scenario, channels = cold_store.separate_probes()
    inside = between(rows, *window)
    with cloud(tmp_path, broker, free_port(), cold_store.registry(channels, limits(alarms))) as engine:
        said = cold_store.scans(lots)
        played = {row.at_ms: len(PROBES) for row in inside}
        await play(scenario, tmp_path, broker, log_folder=log_folder, rows=played, said=said)
        wait_for_arrival(engine, readings=len(PROBES) * len(inside), events=len(said))
        with reading(engine) as conn:
            check_record(conn, inside, channels)
            check_repeated_hour(conn, rows, channels)
            assert check_lots(conn, lots, inside, channels, limits(alarms), FOURTEEN_DAYS_UNTIL)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_the_whole_log_is_told_exactly(
    tmp_path: Path,
    broker: LocalBroker,
    free_port: Callable[[], int],
    log_folder: Path,
    rows: list[Row],
    alarms: list[Alarm],
    recoveries: list[Alarm],
) -> None:
    first_ms, until_ms = rows[0].at_ms, rows[-1].at_ms + STEP_MS
    lots = _lots_of_the_season(first_ms, until_ms)
    scenario, channels = cold_store.one_module()
    with cloud(tmp_path, broker, free_port(), cold_store.registry(channels, limits(alarms))) as engine:
        said = cold_store.scans(lots)
        played = {row.at_ms: len(PROBES) for row in rows}
        await play(scenario, tmp_path, broker, log_folder=log_folder, rows=played, said=said)
        wait_for_arrival(engine, readings=len(PROBES) * len(rows), events=len(said))
        with reading(engine) as conn:
            check_record(conn, rows, channels)
            check_repeated_hour(conn, rows, channels)
            assert check_lots(conn, lots, rows, channels, limits(alarms), until_ms)
            found = excursions(conn, GATEWAY, channels, alarms, (first_ms, until_ms))
        assert compare(found, alarms, recoveries) == documented_counts()


def _lots_of_fourteen_days(start_ms: int) -> list[Lot]:
    """Times are hours of real time after the start: the clock goes back at the end of hour 7 × 24 + 2."""

    def at(days: int, hours: int, minutes: int = 0) -> int:
        return start_ms + days * DAY_MS + hours * HOUR_MS + minutes * MINUTE_MS

    return [
        Lot(1, "deep-frozen", (Visit(at(0, 8), DEEPFREEZER), Visit(at(13, 20, 7), CUSTOMER))),
        Lot(2, "chilled", (Visit(at(2, 6, 7), COOLER), Visit(at(10, 18, 22), CUSTOMER))),
        Lot(3, "frozen", (Visit(at(3, 9), PLATFORM), Visit(at(3, 10, 40), FREEZER_2), Visit(at(9, 15, 5), CUSTOMER))),
        Lot(4, "frozen", (Visit(at(7, 0, 50), FREEZER_1), Visit(at(7, 3, 10), CUSTOMER))),  # around the repeated hour
        Lot(5, "frozen", (Visit(at(6, 12), FREEZER_1), Visit(at(7, 2, 37), DEEPFREEZER), Visit(at(12, 0), CUSTOMER))),
        Lot(6, "frozen", (Visit(at(11, 1), FREEZER_1),)),  # still there
    ]


def _lots_of_the_season(first_ms: int, until_ms: int) -> list[Lot]:
    fourteen = _lots_of_fourteen_days(FOURTEEN_DAYS_FROM)[:-1]
    days = [
        Lot(
            10 + day,
            ("frozen", "deep-frozen", "chilled")[day % 3],
            (
                Visit(first_ms + day * DAY_MS + day * 7 * MINUTE_MS, PLATFORM),
                Visit(
                    first_ms + day * DAY_MS + HOUR_MS + day * 7 * MINUTE_MS, (FREEZER_2, DEEPFREEZER, COOLER)[day % 3]
                ),
                Visit(first_ms + (day + 9) * DAY_MS, CUSTOMER),
            ),
        )
        for day in range(1, 145, 8)
    ]
    rooms = (("frozen", FREEZER_1), ("frozen", FREEZER_2), ("deep-frozen", DEEPFREEZER), ("chilled", COOLER))
    season = [
        Lot(200 + number, product, (Visit(first_ms, room), Visit(until_ms - STEP_MS, CUSTOMER)))
        for number, (product, room) in enumerate(rooms)
    ]
    return [*season, *days, *fourteen]
