"""These backups are of SQLite: PostgreSQL has its own tools."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloud.db.engine import sqlite_url


@pytest.fixture
def database_url(migrated_file: Path, tmp_path: Path) -> str:
    """A migrated SQLite database."""
    return sqlite_url(Path(shutil.copy(migrated_file, tmp_path / "cloud.db")))
