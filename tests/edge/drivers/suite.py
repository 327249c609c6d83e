"""What every driver must do, as test classes to inherit from. A subclass gives the fixture `bench`.

`DriverSuite` holds for all drivers; `LinkSuite` adds what can happen to a device on a cable.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from serialx.platforms import serial_posix

from edge.clock import Clock, SystemClock
from edge.drivers.base import BadReply, DeviceUnavailable, Driver, DriverContext, DriverError, ListenDriver, PollDriver
from edge.drivers.links import Links
from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import GOOD, Faults, Link
from wire.observation import Observation, is_channel

TIMEOUT_S = 0.15  # of the devices under test
SLACK_S = 2.0  # on a loaded machine
OPENINGS = 1000
POOL_THREADS = 8  # of the event loop: they come when first needed and stay


def context(clock: Clock | None = None) -> DriverContext:
    return DriverContext(clock or SystemClock(), logging.getLogger("driver under test"), random.Random(1), Links())


class Bench(ABC):
    """One device and what can be done to it."""

    expected: Sequence[object]  #: what `key` gives for the observations of one look
    folder: Path

    @abstractmethod
    def driver(self, ctx: DriverContext) -> Driver:
        """A fresh driver for the device."""

    @abstractmethod
    async def remove(self) -> None:
        """Take the device away."""

    async def speak(self) -> None:
        """Make a device speak that speaks by itself; one that is asked needs nothing."""
        return

    @abstractmethod
    def key(self, observation: Observation) -> object:
        """What must be as expected of an observation."""


class LinkBench(Bench):
    """A device behind a simulated cable."""

    link: Link

    async def remove(self) -> None:
        await self.link.change(Faults(unplugged=True))

    async def change(self, faults: Faults) -> None:
        await self.link.change(faults)

    @asynccontextmanager
    async def running(self, *, simulated, log: DeviceLog) -> AsyncIterator[LinkBench]:
        with log:
            async with simulated:
                serve = asyncio.create_task(simulated.serve()) if hasattr(simulated, "serve") else None
                try:
                    yield self
                finally:
                    if serve is not None:
                        serve.cancel()
                        await asyncio.gather(serve, return_exceptions=True)


async def look(driver: Driver, bench: Bench) -> list[Observation]:
    """One look at a device, whichever kind of driver it has."""
    if isinstance(driver, PollDriver):
        return await driver.poll()
    assert isinstance(driver, ListenDriver)
    heard: asyncio.Queue[Sequence[Observation]] = asyncio.Queue()
    listening = asyncio.create_task(driver.listen(heard.put))
    speaking = asyncio.create_task(bench.speak())
    first = asyncio.create_task(heard.get())
    try:
        async with asyncio.timeout(10):
            await asyncio.wait({listening, first}, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            return list(first.result())
        listening.result()
        raise AssertionError("the driver stopped listening without an error")
    finally:
        for task in (listening, speaking, first):
            task.cancel()
        await asyncio.gather(listening, speaking, first, return_exceptions=True)


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


class DriverSuite:
    """Holds for every driver."""

    async def test_gives_what_the_device_has(self, bench: Bench) -> None:
        async with bench.driver(context()) as driver:
            observations = await look(driver, bench)
        assert [bench.key(observation) for observation in observations] == list(bench.expected)
        assert all(is_channel(observation.channel) for observation in observations)

    async def test_names_the_channels_that_it_gives(self, bench: Bench) -> None:
        driver = bench.driver(context())
        async with driver:
            observations = await look(driver, bench)
        named = {channel for channel, _ in driver.channels}
        assert not named or {observation.channel for observation in observations} <= named

    async def test_absent_device_is_unavailable(self, bench: Bench) -> None:
        await bench.remove()
        with pytest.raises(DeviceUnavailable):
            async with bench.driver(context()):
                pass

    async def test_closing_twice_is_harmless(self, bench: Bench) -> None:
        driver = bench.driver(context())
        async with driver:
            pass
        await driver.__aexit__(None, None, None)

    async def test_never_opened_can_be_closed(self, bench: Bench) -> None:
        await bench.driver(context()).__aexit__(None, None, None)

    async def test_open_again_after_closing_gives_again(self, bench: Bench) -> None:
        ctx = context()
        async with bench.driver(ctx) as driver:
            await look(driver, bench)
        async with bench.driver(ctx) as driver:
            assert await look(driver, bench)

    async def test_1000_times_open_and_close_leak_nothing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serial_posix, "AFTER_OPEN_DELAY", 0)  # for the chip of a real adapter, not for a pty
        ctx = context()
        async with bench.driver(ctx):
            pass
        files, tasks, threads = open_files(), len(asyncio.all_tasks()), threading.active_count()
        for _ in range(OPENINGS):
            async with bench.driver(ctx):
                pass
        await asyncio.sleep(0.05)
        assert open_files() <= files + 1  # the far end may still be closing its last connection
        assert len(asyncio.all_tasks()) <= tasks + 1
        assert threading.active_count() <= threads + POOL_THREADS

    async def test_cancelled_while_it_opens_leaves_nothing_open(self, bench: Bench) -> None:
        ctx = context()
        async with bench.driver(ctx):
            pass
        files, tasks = open_files(), len(asyncio.all_tasks())
        for wait_s in (0, 0, 0.001, 0.003, 0.005, 0.008, 0.012, 0.02):
            opening = asyncio.create_task(bench.driver(ctx).__aenter__())
            await asyncio.sleep(wait_s)
            if opening.done():
                driver = await opening
                await driver.__aexit__(None, None, None)
                continue
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        await asyncio.sleep(0.2)
        assert open_files() <= files + 1
        assert len(asyncio.all_tasks()) <= tasks + 1
        async with bench.driver(ctx) as driver:
            assert await look(driver, bench)


class LinkSuite(DriverSuite):
    """Holds for every device on a cable."""

    async def test_unplugged_device_is_unavailable(self, bench: LinkBench) -> None:
        async with bench.driver(context()) as driver:
            await look(driver, bench)
            await bench.remove()
            began_s = time.monotonic()
            with pytest.raises(DeviceUnavailable):
                await look(driver, bench)
            assert time.monotonic() - began_s < TIMEOUT_S + SLACK_S

    async def test_replugged_device_gives_again(self, bench: LinkBench) -> None:
        ctx = context()
        async with bench.driver(ctx) as driver:
            await bench.remove()
            with pytest.raises(DeviceUnavailable):
                await look(driver, bench)
        await bench.change(GOOD)
        async with bench.driver(ctx) as driver:
            assert await look(driver, bench)

    async def test_cancelled_in_time_and_usable_afterwards(self, bench: LinkBench) -> None:
        async with bench.driver(context()) as driver:
            await bench.change(Faults(hang=True))
            looking = asyncio.create_task(look(driver, bench))
            await asyncio.sleep(0.02)
            began_s = time.monotonic()
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            assert looking.cancelled()
            assert time.monotonic() - began_s < TIMEOUT_S
            await bench.change(GOOD)
            assert await look(driver, bench)

    async def test_cut_off_by_a_timeout_of_the_caller(self, bench: LinkBench) -> None:
        async with bench.driver(context()) as driver:
            await bench.change(Faults(hang=True))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S / 3):
                    await look(driver, bench)


class ListenSuite(LinkSuite):
    """Holds for every device on a cable that speaks by itself.

    damage: what its checksum is proof against. An XOR misses two like flips in a line, a line without one misses more.
    """

    damage: tuple[Faults, ...] = (Faults(garble=0.02), Faults(half=0.5), Faults(drop=0.02))

    async def test_hanging_device_leaves_the_listener_waiting(self, bench: LinkBench) -> None:
        async with bench.driver(context()) as driver:
            await bench.change(Faults(hang=True))
            looking = asyncio.create_task(look(driver, bench))
            await asyncio.sleep(2 * TIMEOUT_S)
            assert not looking.done()
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await bench.change(GOOD)
            assert await look(driver, bench)

    async def test_damaged_lines_never_become_observations(self, bench: LinkBench) -> None:
        for faults in self.damage:
            await self._listen_through(bench, faults)

    async def _listen_through(self, bench: LinkBench, faults: Faults) -> None:
        heard: list[Observation] = []

        async def emit(observations: Sequence[Observation]) -> None:
            heard.extend(observations)

        async def speak() -> None:
            while True:
                await bench.speak()
                await asyncio.sleep(0.01)

        async with bench.driver(context()) as driver:
            assert isinstance(driver, ListenDriver)
            await bench.change(faults)
            speaking = asyncio.create_task(speak())
            ends_s = time.monotonic() + 1
            while time.monotonic() < ends_s:
                try:
                    async with asyncio.timeout(ends_s - time.monotonic()):
                        await driver.listen(emit)
                except (BadReply, TimeoutError):
                    continue
            await bench.change(GOOD)
            heard_damaged = len(heard)
            async with asyncio.timeout(10):
                while len(heard) == heard_damaged:
                    try:
                        async with asyncio.timeout(0.2):
                            await driver.listen(emit)
                    except (BadReply, TimeoutError):
                        continue
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        assert {bench.key(observation) for observation in heard} <= set(bench.expected)


class PollSuite(LinkSuite):
    """Holds for every polled device on a cable."""

    async def test_hanging_device_is_cut_off_in_its_time(self, bench: LinkBench) -> None:
        async with bench.driver(context()) as driver:
            await bench.change(Faults(hang=True))
            began_s = time.monotonic()
            with pytest.raises(DeviceUnavailable, match="no answer"):
                await driver.poll()
            assert TIMEOUT_S <= time.monotonic() - began_s + 0.01 < TIMEOUT_S + SLACK_S
            await bench.change(GOOD)
            assert await driver.poll()

    @pytest.mark.parametrize(
        "faults", [Faults(garble=1), Faults(garble=0.2), Faults(half=1), Faults(drop=0.3)], ids=str
    )
    async def test_damaged_answers_never_become_readings(self, bench: LinkBench, faults: Faults) -> None:
        ctx = context()
        good = [bench.key(observation) for observation in await self._poll_once(bench, ctx)]
        await bench.change(faults)
        for _ in range(3):
            try:
                found = await self._poll_once(bench, ctx)
            except (BadReply, DeviceUnavailable):
                continue
            except DriverError as error:
                pytest.fail(f"{type(error).__name__}: {error}")
            assert [bench.key(observation) for observation in found] == good  # damage may miss
        await bench.change(GOOD)
        assert [bench.key(observation) for observation in await self._poll_once(bench, ctx)] == good

    async def _poll_once(self, bench: LinkBench, ctx: DriverContext) -> list[Observation]:
        async with bench.driver(ctx) as driver:
            return await driver.poll()
