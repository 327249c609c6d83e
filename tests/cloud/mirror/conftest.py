"""A real server to mirror to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cloud.mirror.victoria import Victoria, is_installed


@pytest.fixture
def victoria(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Victoria]:
    """A VictoriaMetrics that runs."""
    if not is_installed():
        pytest.skip("victoria-metrics is not installed")
    server = Victoria(tmp_path, free_port())
    server.start()
    yield server
    server.stop()
