"""A migrated database in a folder of its own, and a gateway its registry knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated SQLite database."""
    opened = open_engine(sqlite_url(tmp_path / "cloud.db"))
    migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def gateway(engine: Engine) -> Gateway:
    """A gateway the registry knows."""
    admitted = Gateway("gw-kho-01")
    with writing(engine) as conn:
        add_gateway(conn, admitted.public_half, START_MS)
    return admitted
