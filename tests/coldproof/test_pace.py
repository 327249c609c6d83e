"""Simulated time starts in the past, changes pace without a jump, meets the wall clock and stays with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from coldproof.demo.pace import PaceMaker
from wire.simtime import SharedSimTime


def test_time_starts_in_the_past_and_meets_the_wall_clock(tmp_path: Path) -> None:
    pace = PaceMaker(tmp_path / "time.json", journey_s=0.6, lead_ms=3_600_000)
    shared = SharedSimTime(tmp_path / "time.json")
    assert shared.now_ms() < time.time() * 1000 - 3_000_000
    assert pace.meets_wall_in_s() == pytest.approx(0.6, abs=0.2)
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        assert shared.now_ms() <= time.time() * 1000 + 5
        time.sleep(0.02)
    assert shared.now_ms() == pytest.approx(time.time() * 1000, abs=20)
    assert shared.factor() == 1.0


def test_a_change_of_pace_never_makes_time_jump(tmp_path: Path) -> None:
    pace = PaceMaker(tmp_path / "time.json", journey_s=2.0, lead_ms=7_200_000)
    shared = SharedSimTime(tmp_path / "time.json")
    before = shared.now_ms()
    pace.change(10.0)
    after = shared.now_ms()
    assert 0 < after - before < 3_600_000
    assert shared.factor() == 10.0
    time.sleep(0.1)
    assert shared.now_ms() - after == pytest.approx(1000, rel=0.5)
    pace.change(pace.fast)
    assert pace.meets_wall_in_s() > 0.5
