"""Settled ranges equal a plain set of seqs, whatever comes in whatever order."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from cloud.db.engine import reading, writing
from cloud.db.tables import settled as table
from cloud.ingest import settled
from tests.cloud.field import Gateway
from wire.observation import INT64_MAX
from wire.pack import Loss

STREAM = ("gw-1", b"s" * 16)


def _ranges(engine: Engine) -> list[tuple[int, int]]:
    with reading(engine) as conn:
        return settled.ranges(conn, *STREAM, limit=1_000_000)


def test_ranges_equal_a_set_of_seqs(engine: Engine):
    span = st.tuples(st.integers(1, 60), st.integers(0, 5)).map(lambda at: (at[0], at[0] + at[1]))
    groups = st.lists(st.lists(span, min_size=1, max_size=5), max_size=8)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(groups)
    def check(added: list[list[tuple[int, int]]]) -> None:
        with writing(engine) as conn:
            conn.execute(delete(table))
        model: set[int] = set()
        for group in added:
            with writing(engine) as conn:
                settled.settle(conn, {STREAM: group})
            model |= {seq for first, last in group for seq in range(first, last + 1)}
        found = _ranges(engine)
        assert {seq for first, last in found for seq in range(first, last + 1)} == model
        assert all(low[1] + 1 < high[0] for low, high in itertools.pairwise(found))

    check()


def test_streams_do_not_touch_each_other(engine: Engine):
    with writing(engine) as conn:
        settled.settle(conn, {STREAM: [(1, 1)], ("gw-1", b"t" * 16): [(2, 2)], ("gw-2", b"s" * 16): [(3, 3)]})
    assert _ranges(engine) == [(1, 1)]


def test_seqs_at_the_end_of_the_number_line(engine: Engine):
    with writing(engine) as conn:
        settled.settle(conn, {STREAM: [(INT64_MAX, INT64_MAX)]})
        settled.settle(conn, {STREAM: [(INT64_MAX - 1, INT64_MAX - 1), (1, 1)]})
    assert _ranges(engine) == [(1, 1), (INT64_MAX - 1, INT64_MAX)]


def test_many_ranges_close_into_one(engine: Engine):
    with writing(engine) as conn:
        settled.settle(conn, {STREAM: [(seq, seq) for seq in range(2, 3000, 2)]})
        settled.settle(conn, {STREAM: [(seq, seq) for seq in range(1, 3000, 2)]})
        assert len(conn.execute(select(table)).all()) == 1
    assert _ranges(engine) == [(1, 2999)]


def test_declared_losses_settle_also_with_unknown_end():
    gateway, lost = Gateway("gw-1"), b"l" * 16
    losses = [
        Loss(gateway.stream, 2, 4, b"h" * 32, "lost", "disk full"),
        Loss(lost, 7, None, None, "lost", "buffer corrupt"),
    ]
    assert settled.settles(gateway.pack(5, losses=losses)) == [
        (("gw-1", gateway.stream), (5, 5)),
        (("gw-1", gateway.stream), (2, 4)),
        (("gw-1", lost), (7, INT64_MAX)),
    ]
