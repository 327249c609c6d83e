"""Readings come back exactly, all of them, in one order, whatever order their packs were stored in."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading as look
from cloud.ingest.record import Arrival, record
from cloud.telemetry import query
from tests.cloud.field import START_MS, Gateway, reading, scan
from wire.observation import Quality

AIR = "room-1/air"
EVER = 2**62


def _store(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    outcome = record(engine, [Arrival(gateway.topic, one, START_MS) for one in envelopes])
    assert outcome.accepted == len(envelopes)


def test_number_survives_exactly(engine: Engine, gateway: Gateway):
    rows = [reading(at_s=0, mantissa=2137), reading(at_s=1, mantissa=-1, exponent=-9), reading(at_s=2, mantissa=None)]
    _store(engine, gateway, gateway.envelope(1, rows))
    with look(engine) as conn:
        found = query.readings(conn, gateway.name, AIR, 0, EVER)
    assert [row.value for row in found] == [Decimal("21.37"), Decimal("-1e-9"), None]
    assert [row.value_float for row in found] == [21.37, -1e-9, None]


def test_every_quality_and_unit_is_returned(engine: Engine, gateway: Gateway):
    rows = [reading(at_s=at, quality=quality) for at, quality in enumerate(Quality)]
    _store(engine, gateway, gateway.envelope(1, [*rows, reading(at_s=9, unit="FAH")]))
    with look(engine) as conn:
        found = query.readings(conn, gateway.name, AIR, 0, EVER)
    assert [row.quality for row in found] == [*Quality, Quality.OK]
    assert [row.unit for row in found] == ["CEL"] * 5 + ["FAH"]
    assert [row.ordinal for row in found] == [0, 1, 2, 3, 4, 5]


def test_window_takes_its_start_and_leaves_its_end(engine: Engine, gateway: Gateway):
    _store(engine, gateway, gateway.envelope(1, [reading(at_s=at) for at in range(5)]))
    with look(engine) as conn:
        found = query.readings(conn, gateway.name, AIR, START_MS + 1000, START_MS + 3000)
    assert [row.observed_ms - START_MS for row in found] == [1000, 2000]


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
def test_order_does_not_depend_on_arrival(engine: Engine, gateway: Gateway, order: tuple[int, ...]):
    for seq in order:  # all at the same time: the seq decides
        _store(engine, gateway, gateway.envelope(seq, [reading(mantissa=seq), reading(mantissa=10 * seq)]))
    with look(engine) as conn:
        found = query.readings(conn, gateway.name, AIR, 0, EVER)
    assert [row.mantissa for row in found] == [1, 10, 2, 20, 3, 30]


def test_clock_that_steps_back_keeps_both_hours_in_the_order_they_were_lived(engine: Engine, gateway: Gateway):
    first = [reading(at_s=at, monotonic_ms=1000 * at, mantissa=at) for at in (0, 1, 2)]
    again = [reading(at_s=at, monotonic_ms=5000 + 1000 * at, mantissa=10 + at) for at in (0, 1, 2)]
    _store(engine, gateway, gateway.envelope(1, first + again))
    with look(engine) as conn:
        found = query.readings(conn, gateway.name, AIR, 0, EVER)
    assert [row.mantissa for row in found] == [0, 1, 2, 10, 11, 12]


def test_series_tell_their_span(engine: Engine, gateway: Gateway):
    _store(engine, gateway, gateway.envelope(1, [reading(at_s=0), reading(at_s=60), reading(at_s=5, channel="a/b")]))
    _store(engine, gateway, gateway.envelope(2, [reading(at_s=120), scan("0123")]))
    with look(engine) as conn:
        assert query.list_series(conn) == [
            query.SeriesSpan(gateway.name, "a/b", "CEL", 1, START_MS + 5000, START_MS + 5000),
            query.SeriesSpan(gateway.name, AIR, "CEL", 3, START_MS, START_MS + 120_000),
        ]


def test_unknown_channel_has_nothing(engine: Engine, gateway: Gateway):
    with look(engine) as conn:
        assert query.readings(conn, gateway.name, "no/thing", 0, EVER) == []
        assert query.list_series(conn) == []


def test_more_series_than_one_query_may_name(engine: Engine, gateway: Gateway):
    many = [reading(channel=f"probe-{at}/air") for at in range(1000)]
    _store(engine, gateway, gateway.envelope(1, many))
    _store(engine, gateway, gateway.envelope(2, many))
    with look(engine) as conn:
        spans = query.list_series(conn)
    assert len(spans) == 1000
    assert {one.count for one in spans} == {2}
