"""Every page and every answer of the API is the same, whichever database the record lies in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from bench.postgres import Server
from cloud.config import CloudConfig
from cloud.db.engine import migrate, open_engine
from cloud.web.app import create_app
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

PAGES_MAX = 30
FIRST = ["/", "/?lang=en", "/api/v1/lots", "/api/v1/completeness", "/ledger/checkpoint"]
INSIDE = ["/checks", "/api/v1/checks", "/checks?lang=en"]  # for those who are signed in
SECRET = re.compile(r'name="csrf" value="[^"]+"')


@pytest.fixture
def on_server(postgres: Server, config: CloudConfig) -> Iterator[FastAPI]:
    """The application over the same site, built anew on PostgreSQL."""
    name = postgres.create()
    engine = open_engine(postgres.url(name))
    migrate(engine)
    world.build(engine)
    yield create_app(engine, lambda: world.NOW_MS, config)
    engine.dispose()
    postgres.drop(name)


async def test_pages_and_answers_are_the_same_from_both(
    engine: Engine, visit: Callable[..., Visitor], on_server: FastAPI
) -> None:
    one, other = visit(), Visitor(on_server, "10.0.0.1")
    for each in (one, other):
        await each.sign_in("official")
    waiting, seen = [*FIRST, *INSIDE], set[str]()
    while waiting and len(seen) < PAGES_MAX:
        path = waiting.pop(0)
        seen.add(path)
        first, second = await one.get(path), await other.get(path)
        assert (first.status_code, SECRET.sub("", first.text)) == (second.status_code, SECRET.sub("", second.text)), (
            path
        )
        links = re.findall(r'href="(/[^"#]*)"', first.text)
        waiting += [link.replace("&amp;", "&") for link in dict.fromkeys(links)]
        waiting = [link for link in dict.fromkeys(waiting) if link not in seen and not link.startswith("/static")]
    await other.aclose()
    assert len(seen) == PAGES_MAX
    assert any(path.startswith("/lots/01/") for path in seen)
