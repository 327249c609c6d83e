"""Turns of a line: first come, first served; dead slaves never stand one after the other before a live one."""

from __future__ import annotations

import asyncio
import time

import pytest

from edge.drivers.modbus.turns import SILENT_SHARE, Turns

LIVE_S, DEAD_S = 0.002, 0.05


class Line:
    """Units on a line: live ones take LIVE_S, dead ones DEAD_S."""

    def __init__(self, *dead: int) -> None:
        self.turns = Turns()
        self.dead = dead
        self.served: list[int] = []
        self.silent_s = 0.0

    async def ask(self, unit_id: int) -> list[int]:
        """One request; who was served while it waited for its turn."""
        before = len(self.served)
        async with self.turns.take(unit_id):
            overtaken = self.served[before:]
            began_s = time.monotonic()
            await asyncio.sleep(DEAD_S if unit_id in self.dead else LIVE_S)
            took_s = time.monotonic() - began_s
            self.served.append(unit_id)
            self.silent_s += took_s if unit_id in self.dead else 0
            self.turns.tell(unit_id, answered=unit_id not in self.dead, took_s=took_s)
        return overtaken

    async def all(self, *units: int) -> list[list[int]]:
        asking = [asyncio.create_task(self.ask(unit)) for unit in units]
        return await asyncio.gather(*asking)


async def test_first_come_first_served() -> None:
    line = Line()
    await line.all(3, 1, 2, 4)
    assert line.served == [3, 1, 2, 4]


async def test_live_device_waits_for_one_dead_slave_at_most() -> None:
    line = Line(11, 12, 13, 14)
    await line.all(*line.dead)  # known to be dead from now on
    await asyncio.sleep(4 * DEAD_S / SILENT_SHARE + 0.2)
    line.served.clear()
    waited = await line.all(11, 12, 13, 14, 1, 2)
    assert line.served[:3] == [11, 1, 2]
    assert [sum(unit in line.dead for unit in before) for before in waited[4:]] == [1, 1]


async def test_dead_slaves_get_their_share_and_no_more() -> None:
    line = Line(11, 12, 13)
    began_s = time.monotonic()
    until_s = began_s + 3

    async def keep_asking(unit: int) -> None:
        while time.monotonic() < until_s:
            await line.ask(unit)
            await asyncio.sleep(LIVE_S)  # there are moments in which no live one waits

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for unit in (1, 2, 11, 12, 13):
            group.create_task(keep_asking(unit))
    assert line.silent_s <= SILENT_SHARE * (time.monotonic() - began_s) + 3 * DEAD_S + 0.1  # the first time is free
    assert all(line.served.count(unit) >= 2 for unit in line.dead), "none of them is forgotten"


async def test_a_device_alone_on_its_line_is_asked_at_once_though_it_was_silent() -> None:
    line = Line(11)
    began_s = time.monotonic()
    for _ in range(3):
        await line.ask(11)
    assert time.monotonic() - began_s < 3 * DEAD_S + 0.15


async def test_all_who_are_back_are_asked_without_a_pause() -> None:
    line = Line(11, 12, 13)
    await line.all(11, 12, 13)
    line.dead = ()
    began_s = time.monotonic()
    await line.all(11, 12, 13)
    assert not any(line.turns.is_suspect(unit) for unit in (11, 12, 13))
    assert time.monotonic() - began_s < 3 * DEAD_S / SILENT_SHARE + 0.2  # what they cost while they were dead
    took_s = []
    for _ in range(5):
        began_s = time.monotonic()
        await line.all(11, 12, 13)
        took_s.append(time.monotonic() - began_s)
    assert min(took_s) < 0.2  # the least: a loaded machine adds to each


@pytest.mark.parametrize("when", ["waiting", "chosen"])
async def test_cancelled_waiter_gives_its_turn_on(when: str) -> None:
    turns, order = Turns(), []

    async def use(unit: int) -> None:
        async with turns.take(unit):
            order.append(unit)

    async with turns.take(1):
        second, third = asyncio.create_task(use(2)), asyncio.create_task(use(3))
        await asyncio.sleep(0)
        if when == "waiting":
            second.cancel()
            await asyncio.sleep(0)
    second.cancel()  # chosen: it has been given its turn, and does not know yet
    async with asyncio.timeout(1):
        await third
        await use(4)
    assert second.cancelled()
    assert order == [3, 4]


async def test_all_who_use_a_line_can_be_cancelled_at_once() -> None:
    line = Line(11)
    await line.all(11, 1)
    tasks = [asyncio.create_task(line.ask(unit)) for unit in (1, 2, 11, 3)]
    await asyncio.sleep(LIVE_S / 4)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    async with asyncio.timeout(1):
        await line.all(1, 2)


async def test_suspect_that_waits_for_credit_can_be_cancelled() -> None:
    line = Line(11)
    await line.all(1, 11)
    waiting = asyncio.create_task(line.ask(11))
    await asyncio.sleep(LIVE_S)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    async with asyncio.timeout(1):
        await line.all(1)
