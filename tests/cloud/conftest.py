"""A migrated database in a folder of its own, and a gateway its registry knows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated database, made once: tests copy it."""
    file = tmp_path_factory.mktemp("migrated") / "cloud.db"
    opened = open_engine(sqlite_url(file))
    migrate(opened)
    opened.dispose()
    return file


@pytest.fixture
def engine(tmp_path: Path, migrated_file: Path) -> Iterator[Engine]:
    """A migrated SQLite database."""
    opened = open_engine(sqlite_url(Path(shutil.copy(migrated_file, tmp_path / "cloud.db"))))
    yield opened
    opened.dispose()


@pytest.fixture
def gateway(engine: Engine) -> Gateway:
    """A gateway the registry knows."""
    admitted = Gateway("gw-kho-01")
    with writing(engine) as conn:
        add_gateway(conn, admitted.public_half, START_MS)
    return admitted
