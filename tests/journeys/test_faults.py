"""A short form of the fault bench: several faults in one night, and not a value lost, doubled, swapped or mis-timed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bench.faults.row import OURS, Bench
from bench.faults.trial import Trial
from wire.simtime import WallClock

pytestmark = pytest.mark.journey

SILENT_S = 12.0  # longer than a silent link may stay unnoticed
HOUR_MS = 3_600_000


def test_a_night_of_faults_costs_no_accepted_reading(tmp_path: Path) -> None:
    if shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
        missing = "no mosquitto: install Debian's `mosquitto`"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    bench = Bench(fault="a night", system=OURS, seed=1, quick=True, folder=tmp_path, say=print)
    with Trial(bench, pace=1.0) as trial:
        trial.broker_away(kill=True)
        trial.believe(WallClock(from_ms=trial.now_ms(), error_ms=-HOUR_MS, synced=False))
        trial.run_for(2.0)
        trial.kill_gateway()
        back_ms = trial.broker_back()
        trial.system.start_gateway()
        trial.wait_until_polled()
        trial.resume_s(back_ms)
        trial.line.swallow()
        trial.run_for(SILENT_S)
        trial.line.heal()
        trial.line.reset()
        healed_ms = time.time_ns() // 1_000_000
        trial.believe(WallClock(from_ms=trial.now_ms()))
        trial.resume_s(healed_ms)
        found = trial.end()
        corrections = trial.house.corrections()
    assert found.passed, found
    assert found.produced > 2_000
    assert found.unaccepted <= 200, "one poll of every register at most"
    assert corrections, "the clock was an hour behind, and nothing in the record says so"
