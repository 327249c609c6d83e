"""A backup is of a database in a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloud.db.engine import sqlite_url


@pytest.fixture
def database_url(tmp_path: Path, migrated_file: Path) -> str:
    """A migrated SQLite database."""
    return sqlite_url(Path(shutil.copy(migrated_file, tmp_path / "cloud.db")))
