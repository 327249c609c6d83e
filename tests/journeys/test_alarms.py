"""Our excursions beside the vendor's alarms, and what the document says about both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from tests.cloud.field import Gateway
from tests.journeys.alarm_comparison import compare, excursions
from tests.journeys.alarm_file import Alarm
from tests.journeys.document import DOCUMENT, documented_counts
from tests.journeys.saveris import PROBES, STEP_MS, Row
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
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    assert f"{len(alarms):,} alarms raised" in text
    assert f"{len(at_a_row):,} of them" in text


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
