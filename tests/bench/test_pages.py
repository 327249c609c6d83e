"""The bench of pages measures pages: a small site is filled by real ingest, and every page it asks for is that page."""

from __future__ import annotations

from pathlib import Path

from bench import pages
from bench.pages import Size


def test_every_page_that_is_measured_is_there(tmp_path: Path) -> None:
    found = pages.measure(Size(days=3, sensors=1, lots=3), tmp_path, quick=True)
    assert len(found) == 6
    assert all(one.value > 0 or one.at_most is not None for one in found)
