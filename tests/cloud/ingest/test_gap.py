"""Which numbers are missing, which were declared, which came late: whatever the order of arrival."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.db.engine import reading, writing
from cloud.db.tables import gap, settled
from cloud.ingest.gap import CLOSED, EXPLAINED, OPEN, Fact, Gap, Gaps, reach
from cloud.ingest.gap_follower import GapFollower, as_gap, forget
from cloud.ingest.record import Arrival, record
from tests.cloud.field import START_MS, Gateway
from wire.observation import INT64_MAX
from wire.pack import Loss

SEQS = 12


def come(seq: int, at_ms: int) -> Fact:
    return Fact(seq, seq, at_ms)


def told(*facts: Fact, head: int = 0) -> list[Gap]:
    return Gaps(head, []).take(facts)


def test_numbers_below_a_newer_pack_are_open_since_it_came() -> None:
    assert told(come(1, 10), come(5, 20), come(7, 30)) == [Gap(2, 4, OPEN, 20), Gap(6, 6, OPEN, 30)]


def test_packs_in_order_leave_nothing() -> None:
    assert told(come(1, 10), come(2, 20), come(3, 30)) == []


def test_what_comes_late_is_closed_and_keeps_when_it_was_missed() -> None:
    assert told(come(1, 10), come(5, 20), come(3, 30)) == [
        Gap(2, 2, OPEN, 20), Gap(3, 3, CLOSED, 20, 30), Gap(4, 4, OPEN, 20),
    ]  # fmt: skip
    assert told(come(1, 10), come(5, 20), come(3, 30), come(4, 40), come(2, 35)) == [Gap(2, 4, CLOSED, 20, 40)]


def test_a_declaration_explains_what_is_open_and_what_never_came() -> None:
    declared = Fact(3, INT64_MAX, 30, (9, 0))
    assert told(come(1, 10), come(4, 20), declared) == [
        Gap(2, 2, OPEN, 20), Gap(3, 3, EXPLAINED, 20, 30, (9, 0)), Gap(5, INT64_MAX, EXPLAINED, 30, 30, (9, 0)),
    ]  # fmt: skip


def test_what_was_declared_and_came_nevertheless_is_closed() -> None:
    declared = Fact(2, 5, 30, (9, 0))
    assert told(come(1, 10), declared, come(4, 40)) == [
        Gap(2, 3, EXPLAINED, 30, 30, (9, 0)), Gap(4, 4, CLOSED, 30, 40), Gap(5, 5, EXPLAINED, 30, 30, (9, 0)),
    ]  # fmt: skip


def test_the_first_declaration_of_a_number_counts() -> None:
    assert told(Fact(2, 3, 10, (1, 0)), Fact(3, 4, 20, (2, 0))) == [
        Gap(2, 3, EXPLAINED, 10, 10, (1, 0)), Gap(4, 4, EXPLAINED, 20, 20, (2, 0)),
    ]  # fmt: skip


@dataclass
class Model:
    """The same for one number at a time, in the plainest way."""

    head: int = 0
    known: dict[int, tuple[str, int, int | None, tuple[int, int] | None]] = field(default_factory=dict)
    came: set[int] = field(default_factory=set)

    def take(self, fact: Fact) -> None:
        if fact.loss is None:
            seq = fact.first_seq
            for below in range(1, seq):
                if below not in self.came and below not in self.known:
                    self.known[below] = (OPEN, fact.at_ms, None, None)
            if seq in self.known and self.known[seq][0] != CLOSED:
                self.known[seq] = (CLOSED, self.known[seq][1], fact.at_ms, None)
            self.came.add(seq)
            return
        for seq in range(fact.first_seq, min(fact.last_seq, SEQS + 5) + 1):
            state = self.known.get(seq)
            if state is not None and state[0] == OPEN:
                self.known[seq] = (EXPLAINED, state[1], fact.at_ms, fact.loss)
            elif state is None and seq not in self.came:
                self.known[seq] = (EXPLAINED, fact.at_ms, fact.at_ms, fact.loss)


@st.composite
def stories(draw: st.DrawFn) -> list[Fact]:
    """Each number comes at most once; losses are declared in between, some without an end."""
    order = draw(st.permutations(range(1, SEQS + 1)))
    facts: list[Fact] = []
    for at, seq in enumerate(order[: draw(st.integers(1, SEQS))], start=1):
        if draw(st.integers(0, 3)) == 0:
            first = draw(st.integers(1, SEQS))
            last = draw(st.sampled_from([first, min(first + 3, SEQS + 5), INT64_MAX]))
            facts.append(Fact(first, last, at * 10, (at, 0)))
        facts.append(come(seq, at * 10 - draw(st.integers(0, 30))))  # clocks of workers differ
    return facts


@given(stories(), st.lists(st.integers(1, 4), max_size=30))
@settings(max_examples=400, deadline=None)
def test_gaps_are_those_of_a_plain_model_in_whatever_portions(facts: list[Fact], sizes: list[int]) -> None:
    model = Model()
    for one in facts:
        model.take(one)
    whole = told(*facts)
    assert all(a.last_seq < b.first_seq for a, b in pairwise(whole))
    spread = {
        seq: (one.state, one.opened_ms, one.loss)
        for one in whole
        for seq in range(one.first_seq, min(one.last_seq, SEQS + 5) + 1)
    }
    assert spread == {seq: (state, opened, loss) for seq, (state, opened, _, loss) in model.known.items()}
    for one in whole:
        settled_at = [model.known[seq][2] for seq in range(one.first_seq, min(one.last_seq, SEQS + 5) + 1)]
        assert one.settled_ms == (None if one.state == OPEN else max(at or 0 for at in settled_at))
    assert _in_portions(facts, sizes) == whole


def _in_portions(facts: list[Fact], sizes: list[int]) -> list[Gap]:
    """As the follower does it: each portion with the gaps it reaches, and no others."""
    kept: list[Gap] = []
    head, left = 0, list(facts)
    sizes = [*sizes, len(facts)]
    while left:
        size = sizes.pop(0)
        portion, left = left[:size], left[size:]
        first, last = reach(head, portion)
        near = [one for one in kept if one.first_seq <= last and one.last_seq >= first]
        gaps = Gaps(head, near)
        kept = sorted([*(one for one in kept if one not in near), *gaps.take(portion)], key=lambda one: one.first_seq)
        head = gaps.head
    return kept


def stored(engine: Engine, gateway: Gateway) -> list[Gap]:
    """The gaps of the gateway's stream."""
    query = select(gap).where(gap.c.gateway == gateway.name, gap.c.stream == gateway.stream).order_by(gap.c.first_seq)
    with reading(engine) as conn:
        return [as_gap(row) for row in conn.execute(query)]


def arrive(engine: Engine, gateway: Gateway, *packs: tuple[int, list[Loss]], at_s: int) -> None:
    """Packs of these numbers, with what they declare, in one group."""
    sealed = [gateway.seal(gateway.pack(seq, losses=losses)) for seq, losses in packs]
    outcome = record(engine, [Arrival(gateway.topic, one, START_MS + 1000 * at_s) for one in sealed])
    assert outcome.accepted == len(packs), outcome


def test_follower_tells_open_explained_and_closed(engine: Engine, gateway: Gateway) -> None:
    lost = Loss(gateway.stream, 2, 3, b"h" * 32, "lost", "card failed", [], None, None)
    follower = GapFollower(engine)
    arrive(engine, gateway, (1, []), (9, []), at_s=100)
    assert follower.run_once() == 2
    assert stored(engine, gateway) == [Gap(2, 8, OPEN, START_MS + 100_000)]
    arrive(engine, gateway, (10, [lost]), (6, []), at_s=200)
    assert follower.run_once() == 2
    opened, now = START_MS + 100_000, START_MS + 200_000
    with reading(engine) as conn:
        declared = conn.execute(select(gap.c.pack_id, gap.c.position).where(gap.c.state == EXPLAINED)).one()
    assert stored(engine, gateway) == [
        Gap(2, 3, EXPLAINED, opened, now, tuple(declared)), Gap(4, 5, OPEN, opened), Gap(6, 6, CLOSED, opened, now),
        Gap(7, 8, OPEN, opened),
    ]  # fmt: skip
    assert follower.run_once() == 0


def test_packs_in_order_write_no_gap(engine: Engine, gateway: Gateway) -> None:
    arrive(engine, gateway, *((seq, []) for seq in range(1, 30)), at_s=100)
    assert GapFollower(engine, packs_at_once=7).run_once() == 29
    assert stored(engine, gateway) == []


@pytest.mark.parametrize("seed", range(4))
def test_rebuilt_gaps_are_equal_and_open_is_what_is_not_settled(engine: Engine, gateway: Gateway, seed: int) -> None:
    rng = random.Random(seed)
    seqs = rng.sample(range(1, 41), 30)
    follower = GapFollower(engine, packs_at_once=rng.randint(1, 9))
    for at, seq in enumerate(seqs):
        first = rng.randint(1, max(1, seq - 1))
        loss = Loss(gateway.stream, first, min(seq - 1, first + 3), b"h" * 32, "lost", "card failed", [], None, None)
        arrive(engine, gateway, (seq, [loss] if rng.random() < 0.3 and seq > 1 else []), at_s=at)
        if rng.random() < 0.4:
            follower.run_once()
    follower.run_once()
    found = stored(engine, gateway)
    with writing(engine) as conn:
        forget(conn)
        ranges = conn.execute(select(settled.c.first_seq, settled.c.last_seq)).all()
    GapFollower(engine).run_once()
    assert stored(engine, gateway) == found
    open_ones = {n for one in found if one.state == OPEN for n in range(one.first_seq, one.last_seq + 1)}
    there = {n for first, last in ranges for n in range(first, last + 1)}
    assert open_ones == set(range(1, max(seqs))) - there
    assert {one.state for one in found} == {OPEN, EXPLAINED, CLOSED}


def test_two_followers_at_once_write_once(engine: Engine, gateway: Gateway) -> None:
    arrive(engine, gateway, (1, []), (4, []), at_s=100)
    followers = [GapFollower(engine), GapFollower(engine)]
    assert [one.run_once() for one in followers] == [2, 0]
    assert [msgspec.structs.astuple(one)[:3] for one in stored(engine, gateway)] == [(2, 3, OPEN)]
