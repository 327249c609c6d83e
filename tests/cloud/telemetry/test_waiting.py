"""What folding finds in the tail: each row once, whatever packs hold, and no more than there is room for."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import Engine, func, select

from cloud.db.engine import reading as look
from cloud.db.tables import tail
from cloud.telemetry import fold, query, waiting
from cloud.telemetry.chunk import ChunkKey
from tests.cloud.field import Gateway, reading
from tests.cloud.telemetry.test_fold import EVER, keys, minutes, store


@pytest.mark.parametrize("room", [1, 2, 3, 4, 6, 9, 12, 100])
def test_channels_sealed_together_or_apart_are_folded_each_row_once(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, room: int
):
    """a and b share four packs, b has a fifth; c has four of its own, and one with two blocks of it."""
    monkeypatch.setattr(fold, "FOLD_MAX", room)
    monkeypatch.setattr(waiting, "AT_ONCE", 2)  # packs in one query
    together = [[reading(at_s=at, channel=f"room-1/{name}") for name in "ab"] for at in (1, 3, 5, 7)]
    apart = [[reading(at_s=at, channel="room-1/c")] for at in (2, 4, 6, 8)]
    twice = [reading(at_s=9, channel="room-1/c"), reading(at_s=9, channel="room-1/c", exponent=-1)]
    contents = enumerate([*together, *apart, [reading(at_s=9, channel="room-1/b")], twice], start=1)
    store(engine, gateway, *(gateway.pack(seq, observed) for seq, observed in contents))
    left, folded, rounds = keys(engine), 0, 0
    while left:
        some, left = fold.fold(engine, left)
        folded, rounds = folded + some, rounds + 1
        assert rounds <= 30
    assert folded == 15
    with look(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tail)) == 0
        counts = {name: len(query.readings(conn, gateway.name, f"room-1/{name}", 0, EVER)) for name in "abc"}
    assert counts == {"a": 4, "b": 5, "c": 6}


def test_pack_with_many_blocks_of_one_channel_fills_no_more_than_the_room(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    """Nothing says that a pack has a channel once: a gateway that is not ours may send hundreds of blocks of it."""
    monkeypatch.setattr(fold, "FOLD_MAX", 10)
    store(engine, gateway, gateway.pack(1, [reading(at_s=0, channel="room-1/a")]))
    pack = gateway.pack(2, [reading(at_s=at, channel="room-1/b") for at in range(25)])
    (block,) = pack.blocks
    blocks = [
        msgspec.structs.replace(block, base_monotonic_ms=block.base_monotonic_ms + at, dt_ms=[0], values=[at])
        for at in range(25)
    ]
    store(engine, gateway, msgspec.structs.replace(pack, blocks=[*gateway.pack(1, minutes(0, 1)).blocks, *blocks]))
    left, shares = keys(engine), []
    while left:
        some, left = fold.fold(engine, left)
        shares.append(some)
    assert sum(shares) == 27
    assert max(shares) <= 10
    with look(engine) as conn:
        assert [row.mantissa for row in query.readings(conn, gateway.name, "room-1/b", 0, EVER)] == list(range(25))


def test_every_key_of_the_tail_is_found_however_few_at_a_time(engine: Engine, gateway: Gateway):
    channels = [f"room-1/{name}" for name in "abc"]
    for seq in range(1, 4):
        days = [reading(at_s=86_400 * seq, channel=channel) for channel in channels]
        store(engine, gateway, gateway.pack(seq, days))
    expected = set(keys(engine))
    assert len(expected) == 9
    for limit in (4, 5, 7, 9, 100):
        found: list[ChunkKey] = []
        after: int | None = 0
        while after is not None:
            with look(engine) as conn:
                some, after = waiting.in_tail(conn, after, limit)
            assert len(some) <= limit
            found += some
        assert sorted(found) == sorted(expected)
