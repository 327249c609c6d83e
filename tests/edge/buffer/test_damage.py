"""Files damaged at seeded places: the buffer goes on, delivers nothing wrong, and declares what is lost."""

from __future__ import annotations

import pytest

from bench.crash.corrupt import run_corruptions
from bench.crash.result import complaint
from bench.crash.vfs import TracedFiles, Unreachable

SEED = 20261127


@pytest.fixture(autouse=True)
def traceable() -> None:
    try:
        TracedFiles(lambda *_: None)
    except Unreachable as error:
        pytest.skip(f"the record of a life cannot be made here: {error}")


@pytest.mark.timeout(300)
def test_corrupt_file_is_set_aside_or_survived_and_losses_are_declared() -> None:
    results = run_corruptions(100, SEED)
    assert not complaint(results)
    assert sum(result.declared for result in results) > 0, "nothing was ever lost: the test would prove nothing"
