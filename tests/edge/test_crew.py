"""Devices come and go while others run: nothing is lost on the way, and nobody who hangs holds up the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import pytest

from edge import crew as crew_module
from edge.clock import SystemClock
from edge.config import DeviceConfig
from edge.crew import Crew, StuckDevice
from edge.supervisor import Patience, Supervisor
from wire.observation import ClockState, Observation, Reading, Stamp

STAMP = Stamp(0, 0, bytes(16), ClockState.SYNCED)


class Probe:
    """A device that keeps an account of itself."""

    def __init__(self, name: str, *, poll_s: float = 0.0, close_s: float = 0.0) -> None:
        self.name, self.poll_s, self.close_s = name, poll_s, close_s
        self.open = 0
        self.asked = self.answered = 0

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        return [(f"{self.name}/x", "CEL")]

    async def __aenter__(self) -> Self:
        self.open += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(self.close_s)
        self.open -= 1

    async def poll(self) -> list[Observation]:
        self.asked += 1
        await asyncio.sleep(self.poll_s)
        self.answered += 1
        return [Reading(f"{self.name}/x", "CEL", 1, 0, STAMP)]


class Site:
    def __init__(self) -> None:
        self.probes: dict[str, Probe] = {}
        self.taken: list[Observation] = []
        self.crew = Crew(self.make)

    def make(self, device: DeviceConfig) -> Supervisor:
        async def put(observations: Sequence[Observation]) -> None:
            self.taken += observations

        async def room() -> None:
            return

        return Supervisor(
            device.name, device.options, interval_s=0.01, put=put, accept=put, room=room, clock=SystemClock(),
            rng=random.Random(1), patience=Patience(close_s=0.1),
        )  # fmt: skip

    def device(self, name: str, **how: float) -> DeviceConfig:
        self.probes[name] = Probe(name, **how)
        kind: Any = Probe
        return DeviceConfig(name, kind, self.probes[name], 0.01, 1.0)

    @asynccontextmanager
    async def running(self, *devices: DeviceConfig) -> AsyncIterator[Crew]:
        async with asyncio.TaskGroup() as tasks:
            self.crew.begin(tasks, devices)
            await asyncio.sleep(0.05)
            yield self.crew
            await self.crew.leave()


async def test_device_leaves_between_two_exchanges_and_the_order_is_that_of_the_configuration() -> None:
    site = Site()
    one, two = site.device("one", poll_s=0.05), site.device("two")
    async with site.running(one, two) as crew:
        before = site.probes["two"].asked
        await crew.exchange(["one"], [site.device("new")], ["new", "two"])
        old = site.probes["one"]
        assert old.asked == old.answered
        assert old.open == 0
        assert [device.name for device in crew.devices] == ["new", "two"]
        await asyncio.sleep(0.05)
        assert site.probes["two"].asked > before
        assert site.probes["new"].answered
    assert [probe.open for probe in site.probes.values()] == [0, 0, 0]
    assert len(site.taken) == sum(probe.answered for probe in site.probes.values())


async def test_device_that_hangs_while_it_closes_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "CLOSE_S", 0.4)
    site = Site()
    async with site.running(site.device("one", close_s=30), site.device("two")) as crew:
        async with asyncio.timeout(5):
            await crew.exchange(["one"], [], ["two"])
        assert [device.name for device in crew.devices] == ["two"]


async def test_who_cannot_be_ended_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "CLOSE_S", 0.05)
    monkeypatch.setattr(crew_module, "CANCELS", 1)
    site = Site()
    async with site.running(site.device("one", close_s=30), site.device("two")) as crew:
        with pytest.raises(StuckDevice, match="one"):
            await crew.exchange(["one", "two"], [], [])
        count = site.probes["two"].answered
        await asyncio.sleep(0.1)
        assert site.probes["two"].answered > count
        monkeypatch.setattr(crew_module, "CLOSE_S", 1.0)
        monkeypatch.setattr(crew_module, "CANCELS", 3)


async def test_nobody_occupies_what_is_lent_to_nobody() -> None:
    site = Site()
    async with site.running(site.device("one")) as crew:
        async with crew.lent("serial:/dev/nothing") as names:
            assert names == []
            count = site.probes["one"].answered
            await asyncio.sleep(0.05)
            assert site.probes["one"].answered > count
