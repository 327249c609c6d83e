"""A chore goes on after a database that was away, and says so meanwhile."""

from __future__ import annotations

import threading

import msgspec
import pytest

from cloud.chore import Chore
from cloud.db.engine import DatabaseUnavailable
from cloud.health import PartHealth


def test_chore_waits_while_the_database_is_away_and_says_so() -> None:
    stop = threading.Event()
    seen = []

    def step(asked: threading.Event) -> int:
        seen.append(chore.health)
        if len(seen) == 1:
            raise DatabaseUnavailable("database is locked")
        if len(seen) == 3:
            asked.set()
        return 0

    chore = Chore("counting", step, rest_s=0.001)
    chore.run(stop)
    assert [one.ok for one in seen] == [True, False, True]
    assert seen[1].state == "database is locked"


def test_chore_that_fails_ends() -> None:
    def step(_asked: threading.Event) -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Chore("broken", step, rest_s=1.0).run(threading.Event())


def test_chore_tells_what_its_work_tells() -> None:
    class Counted(msgspec.Struct):
        done: int = 3

    class Work:
        health = PartHealth(False, "far behind")
        counters = Counted()

    chore = Chore("copying", lambda _asked: 0, rest_s=1.0, tells=Work())
    assert chore.health == PartHealth(False, "far behind")
    assert chore.counters == {"copying_done": 3}
    assert Chore("quiet", lambda _asked: 0, rest_s=1.0).counters == {}
