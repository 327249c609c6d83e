"""kill -9 of the whole gateway at seeded points: accepted observations are sealed exactly once."""

from __future__ import annotations

import pytest

from bench.crash.kill import run_kill_points
from bench.crash.result import complaint

SEED = 20260108


@pytest.mark.timeout(300)
def test_accepted_survives_kill_and_is_sealed_exactly_once() -> None:
    results = run_kill_points(60, SEED)
    assert not complaint(results)
    assert sum(result.accepted for result in results) > 1_000, "the kills hit no work: the test would prove nothing"
    assert sum(result.unaccepted for result in results) > 0, "nothing was ever at risk"


@pytest.mark.timeout(300)
def test_kills_without_a_network_one_after_the_other_lose_nothing() -> None:
    results = run_kill_points(5, SEED, lives=(5, 5), offline=True)
    assert not complaint(results)
