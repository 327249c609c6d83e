"""What was folded comes back exactly, from the same bytes whatever order it was folded in; damage is named."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.telemetry import body, column
from cloud.telemetry.body import BodyDamaged
from wire.observation import INT64_MAX
from wire.pack import Block

int64s = st.integers(-(2**63), 2**63 - 1)
columns = st.one_of(
    st.lists(int64s, min_size=1, max_size=40),
    st.lists(st.integers(-300, 300), min_size=1, max_size=300),
    st.builds(
        lambda first, step, count: [first + step * at for at in range(count)],
        *[st.integers(-999, 999)] * 2,
        st.integers(1, 50),
    ),
)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, int, Block]:
    rows = draw(st.integers(1, 5))
    some = st.lists(st.integers(0, 120_000), min_size=rows - 1, max_size=rows - 1)
    walls = st.lists(st.integers(-120_000, 120_000), min_size=rows - 1, max_size=rows - 1)
    runs = st.sampled_from([[], [(rows, 2)], [(1, 1), (rows - 1, 0)] if rows > 1 else []])
    mantissa = st.one_of(st.none(), st.integers(-2000, 2000), st.sampled_from([INT64_MAX, -INT64_MAX]))
    block = Block(
        channel="room-1/air",
        unit="CEL",
        exponent=draw(st.integers(-9, 9)),
        boot_id=b"b" * 16,
        base_monotonic_ms=draw(st.integers(0, 86_400_000)),
        base_wall_ms=draw(st.integers(0, 253_402_300_799_999)),
        dt_ms=[0, *draw(some)],
        values=draw(st.lists(mantissa, min_size=rows, max_size=rows)),
        wall_dt_ms=draw(st.one_of(st.just([]), walls.map(lambda steps: [0, *steps]))),
        quality=draw(runs),
        clock=draw(runs),
        thinned=draw(st.booleans()),
    )
    return draw(st.integers(1, 50)), draw(st.integers(0, 9_999)), block


many = st.lists(blocks(), min_size=1, max_size=12, unique_by=lambda one: one[:2])


@given(columns)
def test_every_column_comes_back(values: list[int]):
    wanted = np.array(values, np.int64)
    coded = column.encode(wanted)
    found, end = column.decode(b"before" + coded + b"behind", 6, len(values))
    assert found.tolist() == values
    assert end == 6 + len(coded)


def test_an_even_column_costs_nothing_per_value():
    assert len(column.encode(np.arange(0, 60_000 * 1440, 60_000))) < 12


@given(many)
def test_every_block_comes_back(told: list[tuple[int, int, Block]]):
    found = body.decode(body.encode(body.gather(told)))
    ordered = sorted(told, key=lambda one: (one[2].base_monotonic_ms, one[0], one[1]))
    expected = [
        (pack_id, first + at, block.exponent, block.thinned, value)
        for pack_id, first, block in ordered
        for at, value in enumerate(block.values)
    ]
    of = found.block_of_row
    values = [
        None if gone else value for value, gone in zip(found.mantissa.tolist(), found.missing.tolist(), strict=True)
    ]
    seen = zip(
        found.pack_id[of].tolist(),
        found.ordinal.tolist(),
        found.exponent[of].tolist(),
        found.thinned[of].tolist(),
        values,
        strict=True,
    )
    assert list(seen) == expected
    monotonic, believed, quality, clock = [], [], [], []
    for _, _, block in ordered:
        at_ms, wall_ms = block.base_monotonic_ms, block.base_wall_ms
        for step, wall in zip(block.dt_ms, block.wall_dt_ms or block.dt_ms, strict=True):
            at_ms, wall_ms = at_ms + step, wall_ms + wall
            monotonic.append(at_ms)
            believed.append(wall_ms)
        quality += unrun(block.quality, len(block.values))
        clock += unrun(block.clock, len(block.values))
    assert found.monotonic_ms.tolist() == monotonic
    assert found.believed_ms.tolist() == believed
    assert (found.quality.tolist(), found.clock.tolist()) == (quality, clock)


def unrun(runs: list[tuple[int, int]], rows: int) -> list[int]:
    return [code for length, code in runs for _ in range(length)] or [0] * rows


@given(many, st.randoms(use_true_random=False))
def test_the_bytes_do_not_depend_on_the_order_of_folding(told: list[tuple[int, int, Block]], random: Random):
    whole = body.encode(body.gather(told))
    shuffled = random.sample(told, len(told))
    folded = body.gather(shuffled[:1])
    at = 1
    while at < len(shuffled):
        count = random.randint(1, 4)
        again = body.decode(body.encode(folded))
        folded = body.join(again, body.gather(shuffled[at : at + count]))
        at += count
    assert body.encode(folded) == whole


@settings(max_examples=300)
@given(many, st.integers(0, 10**6), st.integers(0, 255))
def test_damaged_bytes_are_named_or_harmless(told: list[tuple[int, int, Block]], where: int, value: int):
    data = bytearray(body.encode(body.gather(told)))
    where %= len(data)
    if data[where] == value:
        return
    data[where] = value
    try:
        found = body.decode(bytes(data))
    except BodyDamaged:
        return
    assert int(found.count.sum()) == len(found.mantissa)


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01", b"\x01" + b"x" * 30])
def test_what_is_no_body_is_refused(data: bytes):
    with pytest.raises(BodyDamaged, match="rebuild"):
        body.decode(data)


def test_a_body_that_ends_early_or_goes_on_is_refused():
    block = Block("a/b", "CEL", 0, b"b" * 16, 0, 0, [0], [1])
    data = body.encode(body.gather([(1, 0, block)]))
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(BodyDamaged):
            body.decode(wrong)
