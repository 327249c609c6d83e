"""Power cuts of the cloud's database: what was acknowledged or receipted is there, whatever the disk dropped."""

from __future__ import annotations

import pytest

from bench.crash import record_cut
from bench.crash.record_cut import run_record_cuts
from bench.crash.result import complaint
from bench.crash.vfs import Unreachable
from tests.cloud.ingest.harm import migrate_to_harm

SEED = 20_261_126


@pytest.mark.timeout(300)
def test_what_was_acknowledged_or_receipted_survives_power_cuts():
    try:
        results = run_record_cuts(20, SEED)
    except Unreachable as error:
        pytest.skip(str(error))
    assert not complaint(results)


@pytest.mark.timeout(300)
def test_a_record_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record_cut, "PRAGMAS", [*record_cut.PRAGMAS, "synchronous = OFF"])
    try:
        results = run_record_cuts(8, SEED)
    except Unreachable as error:
        pytest.skip(str(error))
    assert any("acknowledged and are not there" in complaint([one]) for one in results)


@pytest.mark.timeout(120)
def test_a_record_that_only_fsck_finds_wrong_fails_every_point(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(record_cut, "migrate", migrate_to_harm)
    try:
        results = run_record_cuts(4, SEED)
    except Unreachable as error:
        pytest.skip(str(error))
    for one in results:
        assert one.problems, one.plan
        assert all(problem.startswith("fsck: ") for problem in one.problems), complaint(results)
