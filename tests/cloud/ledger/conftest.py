"""A ledger with leaves of every shape of tree, and what signs it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.config import LedgerConfig
from cloud.db.engine import writing
from cloud.ledger import log
from cloud.ledger.checkpoint import Checkpointer
from standards.tlog.tree import leaf_hash

ORIGIN = "cold.example/ledger"
NOW_MS = 1_790_000_000_000


def leaves(count: int, *, first: int = 0) -> list[log.Leaf]:
    """Leaves to append, each another one."""
    return [log.Leaf("pack", hashlib.sha256(str(at).encode()).digest(), str(at)) for at in range(first, first + count)]


def hashes(count: int) -> list[bytes]:
    """The leaf hashes of `leaves(count)`."""
    return [leaf_hash(log.leaf_data(one.kind, one.hash)) for one in leaves(count)]


def grow(engine: Engine, count: int, *, first: int = 0) -> None:
    """Append leaves."""
    with writing(engine) as conn:
        assert log.append_many(conn, leaves(count, first=first)) == first


class Clock:
    """Wall clock and a clock that never goes back, moved by hand."""

    def __init__(self) -> None:
        self.now_ms, self.elapsed_s = NOW_MS, 0.0

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.now_ms += round(seconds * 1000)
        self.elapsed_s += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock that stands until it is moved."""
    return Clock()


@pytest.fixture
def signing(engine: Engine, tmp_path: Path, clock: Clock) -> Checkpointer:
    """Signs every 60 s or 100 leaves."""
    return Checkpointer(
        engine,
        tmp_path,
        origin=ORIGIN,
        now=lambda: clock.now_ms,
        config=LedgerConfig(checkpoint_every_s=60, checkpoint_every_leaves=100),
        elapsed_s=lambda: clock.elapsed_s,
    )
