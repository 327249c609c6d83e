"""The intake: readings do not wait for the disk, scans do, and what is refused is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from edge.buffer.base import BufferFull, BufferUnusable, ObservationRefused
from edge.clock import SteppedClock
from edge.intake import UNDER_WAY_MAX, Intake
from wire.observation import ClockState, Observation, Quality, Reading, Scan, Stamp

SCAN = Scan("s/scan", "code", "", SteppedClock(0).stamp())


class Store:
    """Commits when the gate is open; then raises the error, if there is one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.kept: list[int] = []
        self.begun = 0

    async def append(self, observations: Sequence[Observation]) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.kept.append(len(observations))


async def test_put_does_not_wait_and_accept_does() -> None:
    store = Store()
    async with Intake(store) as intake:
        await asyncio.wait_for(intake.put([SCAN]), 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(intake.accept([SCAN]), 0.05)
        assert store.begun == 2
        store.gate.set()


async def test_leaving_waits_for_everything_handed_in() -> None:
    store = Store()
    async with Intake(store) as intake:
        for count in range(1, 4):
            await intake.put([SCAN] * count)
        asyncio.get_running_loop().call_later(0.05, store.gate.set)
    assert store.kept == [1, 2, 3]
    assert intake.state.accepted == 6


async def test_pollers_wait_when_too_much_is_under_way() -> None:
    store = Store()
    async with Intake(store) as intake:
        for _ in range(UNDER_WAY_MAX):
            await intake.put([SCAN])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(intake.put([SCAN]), 0.05)
        store.gate.set()
        await asyncio.wait_for(intake.put([SCAN]), 1)


@pytest.mark.parametrize("error", [BufferFull("disk is full"), ObservationRefused("no channel")])
async def test_refused_observations_are_counted_and_the_gateway_goes_on(error: Exception) -> None:
    store = Store()
    store.gate.set()
    store.error = error
    async with Intake(store) as intake:
        await intake.put([SCAN, SCAN])
        with pytest.raises(type(error)):
            await intake.accept([SCAN])
        await asyncio.sleep(0)
        assert (intake.state.refused, intake.state.last_error) == (3, str(error))
        store.error = None
        await intake.accept([SCAN])
        assert (intake.state.refused, intake.state.last_error, intake.state.accepted) == (3, "", 1)


async def test_unusable_buffer_ends_it() -> None:
    store = Store()
    store.gate.set()
    store.error = BufferUnusable("disk failure")

    async def live() -> None:
        async with Intake(store) as intake:
            await intake.put([SCAN])
            await asyncio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        await live()
    assert caught.group_contains(BufferUnusable)


async def test_at_risk_is_one_window_however_long_the_disk_takes() -> None:
    store = Store()
    async with Intake(store, window_ms=50) as intake:
        await intake.room()
        await intake.put([SCAN])
        await asyncio.wait_for(intake.room(), 0.03)
        await asyncio.sleep(0.06)
        waiting = asyncio.create_task(intake.room())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        store.gate.set()
        await asyncio.wait_for(waiting, 1)


class Rows:
    """Keeps what it is given, unless the disk is full."""

    def __init__(self) -> None:
        self.full = False
        self.kept: list[Observation] = []

    async def append(self, observations: Sequence[Observation]) -> None:
        if self.full:
            raise BufferFull("the disk is full")
        self.kept += observations


async def test_a_gap_of_a_full_disk_is_marked_at_both_ends_per_channel() -> None:
    def poll(channel: str, mantissa: int) -> Reading:
        at_ms = mantissa * 60_000
        return Reading(channel, "CEL", mantissa, -1, Stamp(at_ms, at_ms, bytes(16), ClockState.SYNCED))

    rows = Rows()
    intake = Intake(rows)
    polls = [poll("a/air", n) for n in range(6)]
    other = poll("b/air", 9)
    await intake.accept(polls[:1])
    rows.full = True
    for missed in ([polls[1]], [polls[2], other], [polls[3]]):
        with pytest.raises(BufferFull):
            await intake.accept(missed)
    rows.full = False
    await intake.accept(polls[4:5])
    await intake.accept(polls[5:])
    marks = [row for row in rows.kept if isinstance(row, Reading) and row.quality is Quality.STALE]
    assert [(mark.channel, mark.stamp, mark.mantissa) for mark in marks] == [
        ("a/air", polls[1].stamp, None),
        ("a/air", polls[3].stamp, None),
        ("b/air", other.stamp, None),
    ]
    assert [row for row in rows.kept if row not in marks] == [polls[0], polls[4], polls[5]]
    assert (intake.state.accepted, intake.state.refused) == (6, 4)
