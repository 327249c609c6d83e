"""What a gateway sealed again after its file was damaged counts once; what only looks alike counts for itself."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading as look
from cloud.ingest.record import Arrival, record
from cloud.telemetry.compactor import compact
from cloud.telemetry.envelope import envelope
from cloud.telemetry.query import ReadingRow, readings
from cloud.telemetry.rollup import HOUR_MS
from tests.cloud.field import BOOT, START_MS, Gateway, reading
from wire.observation import Reading
from wire.pack import Loss, StreamHead

FAR_MS = START_MS + 10**9
CHANNEL = "room-1/air"
MINUTES = range(1, 9)


def seen(minute: int, *, value: int = -1800, boot: bytes = BOOT) -> Reading:
    return reading(channel=CHANNEL, at_s=60 * minute, mantissa=value - minute, boot=boot)


def after(gateway: Gateway, stream: bytes, older: bytes, *observed: Reading, open_ended: bool = True) -> bytes:
    """The first pack of a stream that went on from an older one, whose packs from 2 on it declares lost."""
    head = StreamHead(older, 3, b"h" * 32)
    losses = [Loss(older, 2, 3, b"h" * 32, "lost", "buffer file was older than its head")]
    losses += [Loss(older, 4, None, None, "lost", "buffer file was older than its head")] if open_ended else []
    return next_pack(gateway, stream, 1, *observed, losses=losses, predecessor=head)


def next_pack(gateway: Gateway, stream: bytes, seq: int, *observed: Reading, **more: object) -> bytes:
    kept, gateway.stream = gateway.stream, stream
    sealed = gateway.seal(gateway.pack(seq, observed, **more))  # type: ignore[arg-type]
    gateway.stream = kept
    return sealed


def told(engine: Engine, gateway: Gateway, *envelopes: bytes) -> list[ReadingRow]:
    for one in envelopes:
        assert record(engine, [Arrival(gateway.topic, one, FAR_MS)]).accepted == 1
    with look(engine) as conn:
        return readings(conn, gateway.name, CHANNEL, START_MS, FAR_MS)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_doubled_readings_count_once_in_whatever_order_they_come(
    engine: Engine, gateway: Gateway, order: tuple[int, ...]
) -> None:
    younger = b"y" * 16
    packs = [
        gateway.envelope(2, [seen(1), seen(2), seen(3)]),
        after(gateway, younger, gateway.stream, seen(2), seen(3), seen(4)),
        next_pack(gateway, younger, 2, seen(1), seen(5)),
    ]
    rows = told(engine, gateway, *(packs[at] for at in order))
    assert [(row.mantissa, row.stream == gateway.stream) for row in rows] == [
        (-1801, True), (-1802, True), (-1803, True), (-1804, False), (-1805, False),
    ]  # fmt: skip


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("hours", [1, 24])
def test_sums_count_them_once(engine: Engine, gateway: Gateway, hours: int, folded: bool) -> None:
    early = [seen(minute) for minute in range(1, 61)]
    younger, again = b"y" * 16, [seen(minute) for minute in range(31, 91)]
    for one in (
        gateway.envelope(2, early),
        after(gateway, younger, gateway.stream, *again, seen(91), seen(91)),
        next_pack(gateway, younger, 2, seen(92, boot=b"b" * 16)),
    ):
        rows = told(engine, gateway, one)
        if folded:
            compact(engine, lambda _done, _of: None)
    with look(engine) as conn:
        (one_unit,) = envelope(conn, gateway.name, CHANNEL, START_MS, START_MS + 24 * HOUR_MS, buckets=24 // hours)
    assert len(rows) == 93, "what a stream says twice it means twice"
    assert sum(bucket.count for bucket in one_unit.buckets) == 93
    assert sum(bucket.sum or 0 for bucket in one_unit.buckets) == sum(row.mantissa or 0 for row in rows)


def test_streams_that_declare_each_other_lost_hide_nothing(engine: Engine, gateway: Gateway) -> None:
    one, other = b"y" * 16, b"z" * 16
    rows = told(engine, gateway, after(gateway, one, other, seen(1)), after(gateway, other, one, seen(1)))
    assert [row.mantissa for row in rows] == [-1801, -1801]


def test_while_the_older_is_missing_the_younger_counts(engine: Engine, gateway: Gateway) -> None:
    rows = told(engine, gateway, after(gateway, b"y" * 16, gateway.stream, seen(2), seen(3)))
    assert [row.mantissa for row in rows] == [-1802, -1803]


def test_over_several_damages_the_oldest_counts(engine: Engine, gateway: Gateway) -> None:
    second, third = b"y" * 16, b"z" * 16
    rows = told(
        engine,
        gateway,
        after(gateway, third, second, seen(1), seen(2), seen(3)),
        after(gateway, second, gateway.stream, seen(1), seen(2)),
        gateway.envelope(2, [seen(1)]),
    )
    assert [(row.mantissa, row.stream) for row in rows] == [(-1801, gateway.stream), (-1802, second), (-1803, third)]


def test_what_only_looks_alike_counts_for_itself(engine: Engine, gateway: Gateway) -> None:
    rows = told(
        engine,
        gateway,
        gateway.envelope(2, [seen(1), seen(2)]),
        after(gateway, b"y" * 16, gateway.stream, seen(1, value=-1700), seen(2, boot=b"b" * 16)),
    )
    assert len(rows) == 4


def test_streams_that_went_on_without_a_damage_double_nothing(engine: Engine, gateway: Gateway) -> None:
    rows = told(
        engine,
        gateway,
        gateway.envelope(2, [seen(1)]),
        after(gateway, b"y" * 16, gateway.stream, seen(1), open_ended=False),
    )
    assert len(rows) == 2, "an ordinary succession seals nothing again: both are what the gateway says"
