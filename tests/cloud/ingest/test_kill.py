"""kill -9 of the ingest process, again and again: what a receipt promised is there, and nothing is there twice."""

from __future__ import annotations

import pytest

from bench.crash import cloud
from bench.crash.cloud import run_cloud_kills
from bench.crash.result import complaint
from tests.cloud.ingest.harm import migrate_to_harm

SEED = 20_261_122


@pytest.mark.timeout(300)
def test_no_kill_loses_what_was_receipted_or_doubles_anything() -> None:
    assert not complaint(run_cloud_kills(24, SEED))


@pytest.mark.timeout(120)
def test_a_record_that_only_fsck_finds_wrong_fails_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "migrate", migrate_to_harm)
    results = run_cloud_kills(2, SEED)
    for one in results:
        assert one.problems, one.plan
        assert all(problem.startswith("fsck: ") for problem in one.problems), complaint(results)
