"""The recorded cold store, read once for all journeys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys.alarm_file import Alarm, read_alarms, read_recoveries
from tests.journeys.saveris import FOLDER, VALUES, Row, read_rows


@pytest.fixture
def log_folder(shared_data: Path) -> Path:
    """Where the recorded log lies."""
    folder = shared_data / FOLDER
    if not folder.is_dir():
        pytest.skip(f"the recorded cold store ({FOLDER}) is not among the public test material")
    return folder


@pytest.fixture
def rows(log_folder: Path) -> list[Row]:
    """The whole log, read plainly."""
    return read_rows(log_folder / VALUES)


@pytest.fixture
def alarms(log_folder: Path, rows: list[Row]) -> list[Alarm]:
    """The vendor's alarms."""
    return read_alarms(log_folder, rows)


@pytest.fixture
def recoveries(log_folder: Path, rows: list[Row]) -> list[Alarm]:
    """The ends of the vendor's alarms."""
    return read_recoveries(log_folder, rows)
