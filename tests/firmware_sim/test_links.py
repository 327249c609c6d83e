"""Cables: chance is seeded, a good one changes nothing."""

from __future__ import annotations

import random

import pytest

from firmware_sim.control import ControlError, parse_faults
from firmware_sim.links import GOOD, Faults, Link

DATA = bytes(range(200))


async def test_a_good_cable_changes_nothing(link: Link) -> None:
    assert link.inward(DATA) == DATA
    assert await link.outward(DATA) == (DATA, True)


async def test_the_same_seed_does_the_same_harm() -> None:
    results = []
    for _ in range(2):
        one = Link("a", random.Random("1 link a"))
        await one.change(Faults(garble=0.1, drop=0.1))
        results.append(await one.outward(DATA))
    assert results[0] == results[1]
    assert results[0].data != DATA
    assert not results[0].intact


async def test_each_fault_does_what_its_name_says(link: Link) -> None:
    await link.change(Faults(garble=1.0))
    garbled = (await link.outward(DATA)).data
    assert all((a ^ b).bit_count() == 1 for a, b in zip(garbled, DATA, strict=True))
    await link.change(Faults(drop=0.2))
    assert 100 < len((await link.outward(DATA)).data) < 190
    await link.change(Faults(half=1.0))
    assert (await link.outward(DATA)) == (DATA[:100], False)
    await link.change(Faults(hang=True))
    assert (await link.outward(DATA)) == (b"", False)
    assert link.inward(DATA) == b""


async def test_the_port_is_told_only_when_the_plug_moves(link: Link) -> None:
    moves: list[bool] = []

    async def plug(plugged: bool) -> None:
        moves.append(plugged)

    link.attach(plug)
    for faults in (Faults(delay_s=1), Faults(unplugged=True), Faults(unplugged=True, garble=1.0), GOOD):
        await link.change(faults)
    assert moves == [False, True]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("clear", GOOD),
        ("hang", Faults(hang=True)),
        ("unplug", Faults(unplugged=True)),
        ("delay_s=0.2 garble=0.01", Faults(delay_s=0.2, garble=0.01)),
    ],
)
def test_faults_are_said_in_words(text: str, faults: Faults) -> None:
    assert parse_faults(text) == faults


@pytest.mark.parametrize(
    "text", ["", "break", "garble", "garble=2", "garble=x", "delay_s=-1", "delay_s=nan", "gnarl=1"]
)
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ControlError):
        parse_faults(text)
