"""The gateway's clocks: what they say when somebody steps them, when the source is lost, and when time is simulated."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from edge import clock as edge_clock
from edge.clock import SimulatedClock, SteppedClock, SystemClock
from wire import simtime
from wire.observation import ClockState
from wire.simtime import Segment, SimTime

START_MS = 1_762_000_000_000


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What the machine's clocks say: the wall's lead over the monotonic clock, and whether they are synchronised."""
    says = {"lead_ms": START_MS, "synced": 1}
    monkeypatch.setattr(edge_clock, "_wall_minus_monotonic_ms", lambda: says["lead_ms"])
    monkeypatch.setattr(edge_clock, "_is_synchronised", lambda: bool(says["synced"]))
    return says


def test_wall_time_keeps_step_with_monotonic_time_until_somebody_steps_it(kernel: dict[str, int]) -> None:
    clock = SystemClock()
    leads = []
    for lead_ms in (0, 2, -2, 3, 3_600_000):
        kernel["lead_ms"] = START_MS + lead_ms
        stamp = clock.stamp()
        leads.append(stamp.observed_at_ms - stamp.monotonic_ms - START_MS)
    assert leads == [0, 0, 0, 3, 3_600_000]


def test_a_clock_that_was_synced_holds_over_until_it_is_stepped(kernel: dict[str, int]) -> None:
    kernel["synced"] = 0
    clock = SystemClock()
    states = [clock.stamp().clock]
    for synced, step_ms in ((1, 0), (0, 0), (0, 0), (0, 5_000), (1, 9_000), (0, 0)):
        kernel["synced"] = synced
        kernel["lead_ms"] += step_ms
        states.append(clock.stamp().clock)
    unsynced, synced_, holdover = ClockState.UNSYNCED, ClockState.SYNCED, ClockState.HOLDOVER
    assert states == [unsynced, synced_, holdover, holdover, unsynced, synced_, holdover]


def test_being_held_up_between_the_two_clocks_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, held_up = [10**15], iter([80_000_000, 0, 0, 0])

    def wall_ns() -> int:
        now_ns[0] += next(held_up)
        return now_ns[0] + START_MS * 1_000_000

    monkeypatch.setattr(edge_clock.time, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(edge_clock.time, "time_ns", wall_ns)
    assert edge_clock._wall_minus_monotonic_ms() == START_MS


def test_the_machines_own_clock_tells_the_time_of_day() -> None:
    stamp = SystemClock().stamp()
    assert abs(stamp.observed_at_ms - time.time() * 1000) < 1000
    assert len(stamp.boot_id) == 16


async def test_simulated_time_is_followed_through_a_change_of_pace(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    now_s = time.monotonic()
    simtime.write(path, SimTime([Segment(now_s, START_MS, 0.001)]))
    clock = SimulatedClock(path)
    waiting = asyncio.create_task(clock.sleep_until(60_000))
    await asyncio.sleep(0)
    assert clock.stamp().observed_at_ms - clock.stamp().monotonic_ms == START_MS
    simtime.write(path, SimTime([Segment(now_s, START_MS, 0.001), Segment(now_s, START_MS, 1e6)]))
    async with asyncio.timeout(5):
        await waiting
    assert clock.stamp().monotonic_ms >= 60_000


async def test_a_stepped_clock_wakes_who_is_due_and_never_goes_back() -> None:
    clock = SteppedClock(START_MS)
    early, late = (asyncio.create_task(clock.sleep_until(ms)) for ms in (10, 20))
    await clock.all_asleep(2)
    clock.move_to(START_MS + 10)
    await early
    assert not late.done()
    assert clock.stamp().observed_at_ms == START_MS + 10
    with pytest.raises(ValueError, match="forward"):
        clock.move_to(START_MS + 9)
    late.cancel()
