"""The task that declares what the clock was wrong about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import clock as edge_clock
from edge import timekeeping
from edge.buffer.base import BufferFull, DeclarationRefused
from edge.clock import SystemClock
from edge.clock_file import CLOCK_NAME
from edge.timekeeping import keep_time
from tests.edge.buffer.material import everything, make, open_pack
from wire.observation import ClockState
from wire.pack import Correction

START_MS = 1_790_000_000_000


class Reluctant:
    """A buffer that has no room, or no use for a correction, a few times."""

    def __init__(self, *answers: type[Exception]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.taken: list[Correction] = []

    async def declare(self, entry: Correction) -> None:
        self.asked += 1
        if self.answers:
            raise self.answers.pop(0)("no room")
        self.taken.append(entry)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    says = {"lead_ms": 0, "synced": 0}
    monkeypatch.setattr(edge_clock, "_wall_minus_monotonic_ms", lambda: says["lead_ms"])
    monkeypatch.setattr(edge_clock, "_kernel", lambda: (bool(says["synced"]), 30))
    monkeypatch.setattr(timekeeping, "FULL_PAUSE_S", 0.01)
    return says


async def watch(clock: SystemClock, buffer: timekeeping.Declares, until: Callable[[], bool]) -> None:
    """Run the task until `until` holds."""
    watching = asyncio.create_task(keep_time(clock, buffer, look_s=0.01))
    async with asyncio.timeout(5):
        while not until():
            assert not watching.done()
            await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_sync_becomes_a_signed_entry_without_anybody_asking_for_a_stamp(
    kernel: dict[str, int], tmp_path: Path
) -> None:
    async with make(tmp_path) as buffer:
        clock = SystemClock(tmp_path / CLOCK_NAME)
        early = clock.stamp()
        kernel.update(lead_ms=START_MS, synced=1)
        await watch(clock, buffer, lambda: buffer.state().pending_declarations == 1)
        await buffer.seal(clock.stamp())
        (pack,) = [open_pack(each) for each in await everything(buffer)]
    assert clock.pending() == []
    (correction,) = pack.corrections
    assert correction.boot_id == early.boot_id == pack.sealed.boot_id
    assert correction.from_monotonic_ms <= early.monotonic_ms <= correction.to_monotonic_ms
    assert (correction.offset_ms, correction.source) == (START_MS, "ntp")
    assert pack.sealed.clock is ClockState.SYNCED


async def test_a_full_buffer_is_asked_again_until_it_takes_the_correction(kernel: dict[str, int]) -> None:
    clock, buffer = SystemClock(), Reluctant(BufferFull, BufferFull)
    clock.stamp()
    kernel.update(lead_ms=START_MS, synced=1)
    await watch(clock, buffer, lambda: bool(buffer.taken))
    assert buffer.asked == 3
    assert clock.pending() == []


async def test_a_correction_that_nothing_can_carry_does_not_hold_up_the_next(kernel: dict[str, int]) -> None:
    clock, buffer = SystemClock(), Reluctant(DeclarationRefused)
    clock.stamp()
    kernel["lead_ms"] = 86_400_000
    clock.stamp()
    kernel.update(lead_ms=START_MS, synced=1)
    await watch(clock, buffer, lambda: bool(buffer.taken))
    assert [one.offset_ms for one in buffer.taken] == [START_MS - 86_400_000]
    assert clock.pending() == []
