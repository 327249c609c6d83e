"""Merging of points into requests: every point is read once, nothing is read that the device forbids, few requests."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.modbus.codec import Block, Point, Profile, Requests, plan


def loose(register: int, function: int = 3, kind: str = "int16", **more: object) -> Point:
    name = f"p-{function}-{register}-{kind}-{more.get('bit', '')}".strip("-")
    return Point(name=name, unit="C62", register=register, function=function, type=kind, **more)  # type: ignore[arg-type]


def profile(*points: Point, block: list[Block] | None = None, **requests: object) -> Profile:
    return Profile("x", "t", "s", block or [], list(points), requests=Requests(**requests))  # type: ignore[arg-type]


def spans(known: Profile, requests: Requests | None = None) -> list[tuple[int, int, int]]:
    return [(block.function, block.address, block.count) for block in plan(known, requests)]


def test_neighbours_are_read_together_in_whatever_order_they_are_told() -> None:
    assert spans(profile(loose(7), loose(5, kind="int32"), loose(8))) == [(3, 5, 4)]


@pytest.mark.parametrize(("gap", "expected"), [(2, [(3, 1, 1), (3, 5, 1)]), (3, [(3, 1, 5)])])
def test_gap_is_bridged_up_to_its_limit(gap: int, expected: list[tuple[int, int, int]]) -> None:
    assert spans(profile(loose(1), loose(5), max_gap=gap)) == expected


def test_requests_stay_within_their_length_and_never_cut_a_number() -> None:
    assert spans(profile(*(loose(at) for at in range(10)), max_registers=4)) == [(3, 0, 4), (3, 4, 4), (3, 8, 2)]
    wide = profile(loose(0, kind="int64"), loose(4, kind="int64"), max_registers=7)
    assert spans(wide) == [(3, 0, 4), (3, 4, 4)]


def test_tables_are_never_mixed_and_bits_have_their_own_limit() -> None:
    bits = [loose(at, 1, "bit") for at in range(300)]
    found = spans(profile(*bits, loose(0, 2, "bit"), loose(0, 3), loose(1, 4), max_registers=10))
    assert found == [(1, 0, 300), (2, 0, 1), (3, 0, 1), (4, 1, 1)]


def test_bits_of_one_register_are_one_register() -> None:
    assert spans(profile(loose(9, kind="bit", bit=1), loose(9, kind="bit", bit=2))) == [(3, 9, 1)]


def test_stubborn_device_is_asked_for_one_point_at_a_time() -> None:
    block = Block(4, 0, 3, [loose(0, 4), loose(1, 4, kind="int32")])
    assert spans(profile(loose(1), loose(2), block=[block], one_by_one=True)) == [
        (3, 1, 1),
        (3, 2, 1),
        (4, 0, 1),
        (4, 1, 2),
    ]


def test_explicit_block_stays_as_it_is_unless_it_is_too_long() -> None:
    block = Block(4, 0, 20, [loose(3, 4), loose(19, 4)])
    known = profile(loose(3), block=[block])
    assert spans(known) == [(4, 0, 20), (3, 3, 1)]
    assert spans(known, Requests(max_registers=10)) == [(3, 3, 1), (4, 3, 1), (4, 19, 1)]


KINDS = st.sampled_from(["int16", "int32", "float64", "uint8"])
POINTS = st.dictionaries(st.tuples(st.integers(0, 300), st.sampled_from([3, 4]), KINDS), st.none(), min_size=1)


@given(POINTS, st.integers(0, 20), st.integers(4, 125))
def test_plan_holds_its_promises(keys: dict[tuple[int, int, str], None], gap: int, longest: int) -> None:
    points = [loose(register, function, kind) for register, function, kind in keys]
    blocks = plan(profile(*points, max_gap=gap, max_registers=longest))
    assert sorted(p.name for block in blocks for p in block.point) == sorted(p.name for p in points)
    for block in blocks:
        assert 1 <= block.count <= longest
        covered = sorted({(p.register, p.register + p.width) for p in block.point})
        assert covered[0][0] == block.address
        assert max(end for _, end in covered) == block.address + block.count
        reach = covered[0][1]
        for begins, ends in covered:
            assert begins - reach <= gap
            reach = max(reach, ends)
    for one, other in pairwise(sorted(blocks, key=lambda block: (block.function, block.address))):
        if one.function == other.function:  # two requests only where one would break a rule
            first = min(other.point, key=lambda p: p.register)
            too_far = other.address - (one.address + one.count) > gap
            assert too_far or first.register + first.width - one.address > longest
