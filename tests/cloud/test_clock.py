"""The cloud's clocks: the machine's, and a simulation's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cloud.clock import simulated_now, system_now_ms
from wire.simtime import Segment, SimTime, SimTimeError, write

STILL = 1e-9  # a pace that moves no millisecond while a test runs


def test_system_clock_counts_utc_milliseconds():
    assert abs(system_now_ms() - time.time() * 1000) < 1000


def test_simulated_clock_follows_its_file(tmp_path: Path):
    file = tmp_path / "time.json"
    write(file, SimTime([Segment(time.monotonic(), 1_000_000.0, STILL)]))
    now = simulated_now(file)
    assert now() == 1_000_000
    write(file, SimTime([Segment(time.monotonic(), 9_000_000.0, STILL)]))
    assert now() == 9_000_000


def test_missing_simulation_is_an_error(tmp_path: Path):
    with pytest.raises(SimTimeError, match="no simulated time there"):
        simulated_now(tmp_path / "none.json")
