"""What gateways show back of the ledger: a root that is not ours is a finding, and a state until it is explained."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, insert

from cloud.db import tables
from cloud.db.engine import reading, writing
from cloud.ingest import finding, gateway_state
from cloud.ingest.gateway_state import Heard
from cloud.ingest.shown import AT_ONCE, HistoryDiffers, ShownWatch, shown
from cloud.ledger import epoch, log, proof
from cloud.registry.query import gateway as find_gateway
from tests.cloud.field import START_MS
from wire import status as wire_status
from wire.status import Status
from wire.topics import up_status


def grow(engine: Engine, count: int) -> None:
    with writing(engine) as conn:
        for at in range(count):
            log.append(conn, "event", payload=str(at).encode(), ref="")


def say(engine: Engine, gateway: str, size: int, root: str | None = None, *, admitted: bool = True) -> None:
    """A gateway says that it was given this checkpoint; without a root it is the log's own."""
    with writing(engine) as conn:
        if admitted and find_gateway(conn, gateway) is None:
            conn.execute(insert(tables.gateway).values(name=gateway, simulated=False, added_ms=START_MS))
        told = root or proof.root_at(conn, size).hex()
        status = Status(gateway, online=True, checkpoint_size=size, checkpoint_root=told)
        gateway_state.record(conn, [Heard(up_status(gateway), wire_status.encode(status), START_MS, retained=False)])


def look(engine: Engine, watch: ShownWatch | None = None) -> int:
    return (watch or ShownWatch(engine, lambda: START_MS)).step(threading.Event())


def kinds(engine: Engine) -> list[tuple[str, str]]:
    with reading(engine) as conn:
        return [(one.finding.kind, one.finding.gateway) for one in finding.newest(conn, 10)]


def test_checkpoints_of_this_log_are_quiet(engine: Engine):
    grow(engine, 20)
    for at, size in enumerate((1, 7, 16, 20)):
        say(engine, f"gw-{at}", size)
    watch = ShownWatch(engine, lambda: START_MS)
    assert look(engine, watch) == 0
    grow(engine, 20)
    assert look(engine, watch) == 0
    assert kinds(engine) == []
    with reading(engine) as conn:
        assert [one.size for one in shown(conn)] == [1, 7, 16, 20]


def test_other_root_is_a_finding_and_a_state(engine: Engine):
    grow(engine, 20)
    say(engine, "gw-1", 7)
    say(engine, "gw-2", 7, "ab" * 32)
    watch = ShownWatch(engine, lambda: START_MS)
    for _ in range(2):
        with pytest.raises(HistoryDiffers, match=r"gateway gw-2 was shown a log of 7 leaves .* cloud fsck"):
            look(engine, watch)
    assert kinds(engine) == [("ledger_differs", "gw-2")]
    say(engine, "gw-2", 9)
    assert look(engine, watch) == 0, "the state is over, the finding stays"
    assert kinds(engine) == [("ledger_differs", "gw-2")]


def test_larger_log_is_a_state_until_a_new_epoch_explains_it(engine: Engine):
    grow(engine, 20)
    say(engine, "gw-1", 25, "ab" * 32)
    with pytest.raises(HistoryDiffers, match="25 leaves"):
        look(engine)
    with writing(engine) as conn:
        epoch.current_or_first(conn, "cold.example/ledger", START_MS)
        epoch.open_epoch(conn, now_ms=START_MS)
    assert look(engine) == 0
    grow(engine, 20)
    assert look(engine) == 1, "now its root is known to be another one: a finding, but no state"
    say(engine, "gw-2", 15, "cd" * 32)
    with pytest.raises(HistoryDiffers, match="15 leaves"):
        look(engine)


def test_what_strangers_say_was_shown_to_them_is_no_matter(engine: Engine):
    grow(engine, 20)
    say(engine, "gw-1", 7, "ab" * 32, admitted=False)
    assert look(engine) == 0
    assert kinds(engine) == []


def test_those_who_were_shown_more_than_there_is_take_nobodys_turn(engine: Engine):
    grow(engine, 20)
    for at in range(AT_ONCE):
        say(engine, f"gw-{at:03}", 25, "ab" * 32)
    say(engine, "gw-last", 7, "cd" * 32)
    with pytest.raises(HistoryDiffers):
        look(engine)
    assert kinds(engine) == [("ledger_differs", "gw-last")]
