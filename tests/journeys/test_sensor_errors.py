"""Cells that say `###`: a broken probe is a sensor error all the way into the evidence, and never a number."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from cloud.db.engine import reading
from cloud.evidence.lot import lot_evidence
from cloud.evidence.model import Gap
from cloud.telemetry.query import readings
from coldproof.demo.broker import LocalBroker
from tests.journeys import cold_store
from tests.journeys.cold_store import CUSTOMER, DEEPFREEZER, GATEWAY, Lot, Visit
from tests.journeys.house import cloud, play, wait_for_arrival
from tests.journeys.saveris import BROKEN, RAW_VALUES, STEP_MS, read_raw_cells
from wire.observation import Quality

pytestmark = [pytest.mark.conformance, pytest.mark.journey]

ROWS = 24
SILENT_AT = 3  # the row at which a device that gave nothing from the start has been silent for over two intervals


async def test_a_broken_probe_is_a_sensor_error_and_never_a_number(
    tmp_path: Path, broker: LocalBroker, free_port: Callable[[], int], log_folder: Path
) -> None:
    says_so, refuses = (read_raw_cells(log_folder / RAW_VALUES, column) for column in ("c", "d"))
    times = sorted(says_so)[:ROWS]
    broken = [at_ms for at_ms in times if says_so[at_ms] == BROKEN]
    whole = times[len(broken) :]
    assert broken == [at_ms for at_ms in times if refuses[at_ms] == BROKEN] == times[: len(broken)]
    assert (times[-1] - times[0], len(broken)) == ((ROWS - 1) * STEP_MS, 7)

    scenario, channels = cold_store.failing_probes()
    leaves_ms = times[-1] + STEP_MS - 60_000
    lot = Lot(1, "deep-frozen", (Visit(times[0], DEEPFREEZER), Visit(leaves_ms, CUSTOMER)))
    said = cold_store.scans([lot])
    played = {at_ms: 1 + (at_ms in whole) for at_ms in times}
    played[times[SILENT_AT]] += 1
    with cloud(tmp_path, broker, free_port(), cold_store.registry(channels, {})) as engine:
        await play(scenario, tmp_path, broker, log_folder=log_folder, rows=played, said=said)
        wait_for_arrival(engine, readings=sum(played.values()), events=len(said))
        with reading(engine) as conn:
            told = readings(conn, GATEWAY, "deepfreezer_1/air", 0, times[-1] + 1)
            kept = readings(conn, GATEWAY, "deepfreezer_2/air", 0, times[-1] + 1)
            evidence = lot_evidence(conn, cold_store.gtin(lot.product), lot.name, leaves_ms)

    numbers = [(at_ms, Decimal(says_so[at_ms]), Quality.OK) for at_ms in whole]
    errors = [(at_ms, None, Quality.SENSOR_ERROR) for at_ms in broken]
    assert [(row.observed_ms, row.value, row.quality) for row in told] == errors + numbers
    silence = [(times[SILENT_AT], None, Quality.STALE)]
    numbers = [(at_ms, Decimal(refuses[at_ms]), Quality.OK) for at_ms in whole]
    assert [(row.observed_ms, row.value, row.quality) for row in kept] == silence + numbers

    assert evidence is not None
    first, second = sorted(evidence.stays[0].series, key=lambda series: series.channel)
    values = [float(says_so[at_ms]) for at_ms in whole]
    assert (first.count, first.min, first.max) == (len(whole), min(values), max(values))
    assert (first.sensor_errors, second.count, second.sensor_errors) == (len(broken), len(whole), 0)
    assert first.gaps == [Gap(times[0], whole[0], "sensor_error")]
    assert second.gaps == [Gap(times[0], whole[0], "stale")]
    assert first.coverage == (leaves_ms - whole[0]) / (leaves_ms - times[0])
    reasons = {reason.code: reason.params for reason in evidence.stays[0].reasons}
    assert reasons["sensor_errors"] == {"channel": "deepfreezer_1/air", "count": len(broken)}
    assert evidence.verdict == "insufficient_data"
