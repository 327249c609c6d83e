"""Our excursions beside the vendor's alarms, and what the document says about both and about the time zone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from firmware_sim.devices import recorded
from firmware_sim.devices.recorded import RecordedError
from tests.cloud.field import Gateway
from tests.journeys.alarm_comparison import compare, excursions
from tests.journeys.alarm_file import Alarm
from tests.journeys.document import DOCUMENT, documented_counts
from tests.journeys.saveris import PROBES, STEP_MS, VALUES, ZONE, Row
from wire.observation import ClockState, Reading, Stamp

pytestmark = pytest.mark.conformance

ROWS_PER_PACK = 2_000
BOOT = bytes(16)


def test_every_class_of_agreement_and_disagreement_has_the_count_in_the_document(
    tmp_path: Path, rows: list[Row], alarms: list[Alarm], recoveries: list[Alarm]
) -> None:
    engine = open_engine(sqlite_url(tmp_path / "cloud.db"))
    try:
        migrate(engine)
        gateway = Gateway("gw-recorded", simulated=True)
        with writing(engine) as conn:
            add_gateway(conn, gateway.public_half, rows[0].at_ms)
        record(engine, [Arrival(gateway.topic, envelope, rows[-1].at_ms) for envelope in _envelopes(gateway, rows)])
        channels = {probe: f"{probe}/air" for probe in PROBES}
        with reading(engine) as conn:
            found = excursions(conn, gateway.name, channels, alarms, (rows[0].at_ms, rows[-1].at_ms + STEP_MS))
    finally:
        engine.dispose()
    assert compare(found, alarms, recoveries) == documented_counts()


def test_every_alarm_carries_a_reading_of_the_probe_it_names(alarms: list[Alarm]) -> None:
    at_a_row = [alarm for alarm in alarms if alarm.at_ms]
    assert all(alarm.candidates for alarm in at_a_row)
    text = DOCUMENT.read_text(encoding="utf-8")
    assert f"{len(alarms):,} alarms raised" in text
    assert f"{len(at_a_row):,} of them" in text


def test_only_the_day_that_summer_time_ends_has_more_rows(rows: list[Row]) -> None:
    by_day = Counter(row.written[:10] for row in rows)
    assert {day: count for day, count in by_day.items() if count != 96} == {"2021-06-24": 29, "2021-11-07": 100}


def test_both_passes_of_the_repeated_hour_have_alarms_of_their_own(rows: list[Row], alarms: list[Alarm]) -> None:
    written = [alarm for alarm in alarms if alarm.written.startswith("2021-11-07 01:")]
    first, second = (
        {row.at_ms for row in some}
        for some in _passes([row for row in rows if row.written.startswith("2021-11-07 01:")])
    )
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


def _load(folder: Path, zone: str) -> recorded.RecordedLog:
    path = folder / VALUES
    return recorded.load(path, columns=[], time_columns=["date"], zone=zone, time_format="%Y-%m-%d %H:%M:%S")


def _passes(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    return rows[:4], rows[4:]


def _envelopes(gateway: Gateway, rows: Sequence[Row]) -> list[bytes]:
    """Every reading of every probe in as few packs as the format takes."""
    pieces = [
        (probe, rows[start : start + ROWS_PER_PACK]) for probe in PROBES for start in range(0, len(rows), ROWS_PER_PACK)
    ]
    return [
        gateway.envelope(seq, [_reading(row, probe, row.at_ms - rows[0].at_ms) for row in some])
        for seq, (probe, some) in enumerate(pieces, 1)
    ]


def _reading(row: Row, probe: str, monotonic_ms: int) -> Reading:
    stamp = Stamp(row.at_ms, monotonic_ms, BOOT, ClockState.SYNCED)
    return Reading(f"{probe}/air", "CEL", int(row.values[probe].scaleb(1)), -1, stamp)
