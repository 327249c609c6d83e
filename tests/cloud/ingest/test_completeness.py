"""How complete a gateway's packs are: counted from the gaps, with what was asked for and what became of it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ingest import command, completeness
from cloud.ingest.completeness import ANSWERED, ASKED, DECLARED, OVERDUE_MS
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.record import Arrival, record
from cloud.keys import load_or_create
from tests.cloud import field
from tests.cloud.field import BOOT, START_MS, Gateway
from wire.observation import INT64_MAX, ClockState, Stamp
from wire.pack import Loss

NOW_MS = START_MS + 10 * OVERDUE_MS
LATER = Gateway("gw-kho-01", seed=1)
LATER.stream = b"\x02" * 16


def lost(stream: bytes, first: int, last: int | None) -> Loss:
    return Loss(stream, first, last, None if last is None else b"h" * 32, "lost", "card failed", [], 5, 9)


def arrive(engine: Engine, gateway: Gateway, seq: int, *losses: Loss, at_ms: int) -> None:
    envelope = gateway.seal(gateway.pack(seq, losses=list(losses)))
    assert record(engine, [Arrival(gateway.topic, envelope, at_ms)]).accepted == 1
    GapFollower(engine).run_once()


def test_counts_add_up_and_the_newest_stream_comes_first(engine: Engine, gateway: Gateway) -> None:
    arrive(engine, gateway, 1, at_ms=START_MS)
    arrive(engine, gateway, 10, at_ms=START_MS + 1000)
    arrive(engine, gateway, 4, at_ms=START_MS + 2000)
    arrive(engine, gateway, 11, lost(gateway.stream, 6, 7), at_ms=START_MS + 3000)
    arrive(engine, LATER, 2, lost(gateway.stream, 13, None), at_ms=NOW_MS - 1000)
    with reading(engine) as conn:
        new, old = completeness.of_gateway(conn, gateway.name, NOW_MS)
        [overdue] = completeness.overdue(conn, NOW_MS)
    assert (new.stream, new.head_seq, new.came, new.open, new.overdue) == (LATER.stream.hex(), 2, 1, 1, 0)
    assert (old.head_seq, old.came, old.open, old.explained, old.closed) == (11, 4, 5, 2, 1)
    assert old.came + old.open + old.explained == old.head_seq
    assert (old.overdue, old.linked_through) == (5, 1)
    assert (overdue.gateway, overdue.numbers, overdue.since_ms) == (gateway.name, 5, START_MS + 1000)
    told = [(one.state, one.first_seq, one.last_seq, one.kind, one.reason) for one in old.gaps]
    assert told == [
        ("open", 8, 9, None, None), ("open", 5, 5, None, None), ("open", 2, 3, None, None),
        ("explained", 13, None, "lost", "card failed"), ("explained", 6, 7, "lost", "card failed"),
        ("closed", 4, 4, None, None),
    ]  # fmt: skip
    assert (old.gaps[4].from_ms, old.gaps[4].to_ms) == (5, 9)
    assert old.gaps[-1].settled_ms == START_MS + 2000


def test_numbers_as_high_as_they_get_are_added_up(engine: Engine, gateway: Gateway) -> None:
    sealed = Stamp(START_MS, 0, BOOT, ClockState.SYNCED)
    for at, of in enumerate((gateway, LATER)):
        envelope = of.seal(of.pack(INT64_MAX, [field.reading()], sealed=sealed))
        assert record(engine, [Arrival(of.topic, envelope, START_MS + at)]).accepted == 1
    GapFollower(engine).run_once()
    with reading(engine) as conn:
        [overdue] = completeness.overdue(conn, NOW_MS)
    assert (overdue.numbers, overdue.since_ms) == (2 * (INT64_MAX - 1), START_MS)


def test_a_stream_of_which_nothing_came_is_shown(engine: Engine, gateway: Gateway) -> None:
    arrive(engine, LATER, 1, lost(gateway.stream, 1, None), at_ms=NOW_MS)
    with reading(engine) as conn:
        _, gone = completeness.of_gateway(conn, gateway.name, NOW_MS)
    assert (gone.stream, gone.head_seq, gone.came, gone.began_ms) == (gateway.stream.hex(), 0, 0, None)
    assert [(one.first_seq, one.last_seq) for one in gone.gaps] == [(1, None)]


def test_another_gateway_with_a_longer_name_is_not_mixed_in(engine: Engine, gateway: Gateway) -> None:
    with reading(engine) as conn:
        assert completeness.of_gateway(conn, "gw-kho-0", NOW_MS) == []
        assert completeness.of_gateway(conn, "gw_kho-01", NOW_MS) == []


def test_what_was_asked_for_is_asked_answered_or_declared(engine: Engine, gateway: Gateway, tmp_path: Path) -> None:
    key = load_or_create(tmp_path)
    for seq in (1, 9):
        arrive(engine, gateway, seq, at_ms=START_MS)
    with writing(engine) as conn:
        for ranges in ([(2, 3)], [(4, 5)], [(6, 6)]):
            command.send_again(conn, key, gateway.name, gateway.stream, ranges, now_ms=START_MS)
    for seq in (4, 5):
        arrive(engine, gateway, seq, at_ms=NOW_MS)
    arrive(engine, gateway, 10, lost(gateway.stream, 6, 6), at_ms=NOW_MS)
    with writing(engine) as conn:
        for one in command.unanswered(conn, gateway.name, 9):
            if one.ranges[0][0] > 2:
                command.answer(conn, one, NOW_MS)
    with reading(engine) as conn:
        [stream] = completeness.of_gateway(conn, gateway.name, NOW_MS)
    states = {one.ranges[0][0]: one.state for one in stream.requests}
    assert states == {2: ASKED, 4: ANSWERED, 6: DECLARED}
    assert all(one.last_seq is None or one.last_seq < INT64_MAX for one in stream.gaps)
