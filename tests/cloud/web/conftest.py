"""The site of world.py behind the real application, as a fresh copy for every test."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from sqlalchemy import Engine

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


CHEAP_PAGE = "/no-such-page"  # an error page asks the database for the session only


class Visitor(httpx.AsyncClient):
    """A browser without a screen: follows redirects, keeps cookies, fills in forms."""

    def __init__(self, app: FastAPI, address: str, *, raise_defects: bool = True) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=raise_defects, client=(address, 50_000))
        super().__init__(transport=transport, base_url="http://coldproof.test", follow_redirects=True)

    async def sign_in(self, login: str, password: str = world.PASSWORD) -> Visitor:
        """Sign in; fails the test when that isn't possible."""
        form = {"login": login, "password": password}
        answer = await self.post("/sign-in", data=form, follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return self

    async def csrf(self, path: str = CHEAP_PAGE) -> str:
        """The token in the forms of a page: every page has one to sign out with."""
        found = re.search(r'name="csrf" value="([^"]+)"', (await self.get(path)).text)
        assert found, f"no form on {path}"
        return found.group(1)


@pytest_asyncio.fixture
async def visit(app: FastAPI) -> AsyncIterator[Callable[..., Visitor]]:
    """Opens a new browser at an address."""
    opened: list[Visitor] = []

    def browser(address: str = "10.0.0.1") -> Visitor:
        opened.append(Visitor(app, address))
        return opened[-1]

    yield browser
    for one in opened:
        await one.aclose()
