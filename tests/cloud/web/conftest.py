"""The site of world.py behind the real application, as a fresh copy for every test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from cloud.config import CloudConfig, defaults
from cloud.db.engine import migrate, open_engine, sqlite_url
from cloud.web.app import create_app
from tests.cloud.web import world


@pytest.fixture(scope="session")
def built_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the site, made once."""
    path = tmp_path_factory.mktemp("site") / "cloud.db"
    engine = open_engine(sqlite_url(path))
    migrate(engine)
    print(f"site built with seed {world.SEED}")
    world.build(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(built_database: Path, tmp_path: Path) -> Iterator[Engine]:
    """A copy of the site's database."""
    copy = tmp_path / "cloud.db"
    shutil.copy(built_database, copy)
    opened = open_engine(sqlite_url(copy))
    yield opened
    opened.dispose()


@pytest.fixture
def config(tmp_path: Path) -> CloudConfig:
    """The default configuration."""
    return defaults(tmp_path)


@pytest.fixture
def app(engine: Engine, config: CloudConfig) -> FastAPI:
    """The application, its clock standing at the end of the story."""
    return create_app(engine, lambda: world.NOW_MS, config)


class Visitor(TestClient):
    """A browser without a screen: follows redirects, keeps cookies, fills in forms."""

    def sign_in(self, login: str, password: str = world.PASSWORD) -> Visitor:
        """Sign in; fails the test when that isn't possible."""
        answer = self.post("/sign-in", data={"login": login, "password": password})
        assert answer.status_code == 200, answer.text
        assert "/sign-in" not in str(answer.url)
        return self

    def csrf(self, path: str = "/") -> str:
        """The token in the forms of a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path).text)
        assert found, f"no form on {path}"
        return found.group(1)


@pytest.fixture
def visit(app: FastAPI) -> Iterator[Callable[[], Visitor]]:
    """Opens a new browser."""
    opened: list[Visitor] = []

    def browser() -> Visitor:
        opened.append(Visitor(app))
        return opened[-1]

    yield browser
    for one in opened:
        one.close()
