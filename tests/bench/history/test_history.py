"""The bench of history: it loads what it says, and takes no wrong bucket for a right one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bench.history.__main__ import ask, exact, sizes
from bench.history.load import Series, Store, noisy
from cloud.db.engine import open_engine, sqlite_url

Loaded = tuple[Store, list[Series]]


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    engine = open_engine(sqlite_url(tmp_path / "cloud.db"))
    store, several = Store(engine), noisy(600, 2)
    store.load(several, 100)
    store.fold()
    yield store, several
    engine.dispose()


def test_every_value_is_in_a_bucket(loaded: Loaded):
    store, several = loaded
    found, body = ask(store.engine, several)
    assert exact(found, several) == sum(len(one.buckets) for one in found) > 600
    assert len(msgspec.json.decode(body)) == 2
    assert 0.5 < sizes(store.engine)[0] < 3


def test_a_wrong_bucket_is_seen(loaded: Loaded):
    store, several = loaded
    found, _ = ask(store.engine, several)
    values = several[0].mantissas.copy()
    values[300] += 1
    with pytest.raises(RuntimeError, match="room-0/air"):
        exact(found, [several[0]._replace(mantissas=values), several[1]])
