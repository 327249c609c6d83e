"""A migrated database, SQLite and PostgreSQL in turn, and a gateway its registry knows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from bench.postgres import NoServer, Server
from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.registry.keys import add_gateway
from tests.cloud.field import START_MS, Gateway

BOTH = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database, made once: tests copy it."""
    file = tmp_path_factory.mktemp("migrated") / "cloud.db"
    opened = open_engine(sqlite_url(file))
    migrate(opened)
    opened.dispose()
    return file


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running PostgreSQL, for all tests; skipped where there is none."""
    try:
        server = Server()
    except NoServer as why:
        pytest.skip(f"not tested on PostgreSQL: {why}")
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated_database(postgres: Server) -> str:
    """An empty, migrated database there, made once: tests copy it."""
    name = postgres.create()
    opened = open_engine(postgres.url(name))
    migrate(opened)
    opened.dispose()
    return name


@pytest.fixture(params=BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
        return
    server: Server = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database, of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(Path(shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "cloud.db")))
        return
    server: Server = request.getfixturevalue("postgres")
    name = server.create(request.getfixturevalue("migrated_database"))
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database: every test that asks for it runs on SQLite and on PostgreSQL."""
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def open_again(engine: Engine) -> Iterator[Callable[[], Engine]]:
    """Opens the same database once more, as another process does."""
    opened: list[Engine] = []

    def once_more() -> Engine:
        opened.append(open_engine(engine.url.render_as_string(hide_password=False)))
        return opened[-1]

    yield once_more
    for one in opened:
        one.dispose()


@pytest.fixture
def gateway(engine: Engine) -> Gateway:
    """A gateway the registry knows."""
    admitted = Gateway("gw-kho-01")
    with writing(engine) as conn:
        add_gateway(conn, admitted.public_half, START_MS)
    return admitted
