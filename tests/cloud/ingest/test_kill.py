"""kill -9 of the ingest process, again and again: what a receipt promised is there, and nothing is there twice."""

from __future__ import annotations

import pytest

from bench.crash.cloud import run_cloud_kills
from bench.crash.result import complaint

SEED = 20_261_122


@pytest.mark.timeout(300)
def test_no_kill_loses_what_was_receipted_or_doubles_anything() -> None:
    assert not complaint(run_cloud_kills(24, SEED))
