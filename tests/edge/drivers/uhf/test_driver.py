"""The UHF module's driver on a pty."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, DriverMisconfigured
from edge.drivers.uhf import driver as driver_module
from edge.drivers.uhf.config import UhfConfig
from edge.drivers.uhf.driver import UhfDriver
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.rfid_module import UhfModule
from firmware_sim.links import GOOD, Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, LinkSuite, context
from wire.observation import Observation, Scan

EPC = "3034257BF7194E4000001A85"
OTHER = "3114257BF4499602D2000000"


class ModuleBench(LinkBench):
    expected = (("shelf/pass", EPC, "epc", -42),)
    module: UhfModule

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link("module", random.Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Scan)
        return observation.channel, observation.code, observation.symbology, observation.rssi_dbm

    def driver(self, ctx: DriverContext, **more: Any) -> UhfDriver:
        keys = {"dwell_s": 0.1, "timeout_s": TIMEOUT_S * 3, **more}
        return UhfDriver("shelf", UhfConfig(port=str(self.folder / "module"), **keys), ctx)

    async def speak(self) -> None:
        while True:
            await self.module.pass_by(EPC, for_s=0.15, rssi_dbm=-42)
            await asyncio.sleep(0.3)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = ModuleBench(tmp_path)
    log = DeviceLog(tmp_path)
    bench.module = UhfModule(
        tmp_path / "module", name="m", channel="gw/shelf/pass", link=bench.link, log=log, now_ms=lambda: 0
    )
    async with bench.running(simulated=bench.module, log=log):
        yield bench


class TestUhf(LinkSuite):
    pass


@asynccontextmanager
async def listening(driver: UhfDriver) -> AsyncIterator[list[Scan]]:
    """What a driver tells, whatever it complains of meanwhile."""
    heard: list[Any] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    async def listen() -> None:
        while True:
            try:
                await driver.listen(emit)
            except BadReply:
                await asyncio.sleep(0)

    task = asyncio.create_task(listen())
    try:
        yield heard
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.01)


async def test_tags_that_pass_together_are_a_pass_each(bench: ModuleBench) -> None:
    async with bench.driver(context()) as driver, listening(driver) as heard:
        await asyncio.gather(
            bench.module.pass_by(EPC, for_s=0.3, rssi_dbm=-42), bench.module.pass_by(OTHER, for_s=0.2, rssi_dbm=-70)
        )
        await until(lambda: len(heard) == 2)
    assert {(scan.code, scan.rssi_dbm, scan.antenna) for scan in heard} == {(EPC, -42, None), (OTHER, -70, None)}
    assert all(scan.count >= 3 for scan in heard)


async def test_a_module_that_has_done_its_rounds_is_started_again(
    bench: ModuleBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "QUIET_S", 0.1)
    bench.module.rounds_max = 3
    bench.module.says_no_tag = False
    async with bench.driver(context()) as driver, listening(driver) as heard:
        await asyncio.sleep(0.5)
        await bench.module.pass_by(EPC, for_s=0.4)
        await until(lambda: heard)


async def test_silent_module_is_unavailable(bench: ModuleBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "QUIET_S", 0.1)
    async with bench.driver(context()) as driver:
        await bench.change(Faults(hang=True))
        with pytest.raises(DeviceUnavailable, match=r"silent for .* though it was told to start; has the module power"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 5)


async def test_port_without_a_module_is_unavailable(bench: ModuleBench) -> None:
    await bench.change(Faults(hang=True))
    with pytest.raises(DeviceUnavailable, match=r"no answer within 0\.45 s; .* is 115200 its baudrate"):
        async with bench.driver(context()):
            pass
    await bench.change(GOOD)
    async with bench.driver(context()):
        pass


@pytest.mark.parametrize("faults", [Faults(garble=0.02), Faults(half=0.3), Faults(drop=0.02)], ids=str)
async def test_noise_hides_reads_but_never_makes_a_tag(bench: ModuleBench, faults: Faults) -> None:
    async with bench.driver(context(), dwell_s=0.5) as driver, listening(driver) as heard:
        await bench.change(faults)
        await bench.module.pass_by(EPC, for_s=1.0)
        await until(lambda: heard)
    assert {scan.code for scan in heard} == {EPC}


async def test_noise_is_told(bench: ModuleBench) -> None:
    async with bench.driver(context()) as driver:
        await asyncio.sleep(0.1)  # until the module has heard that it shall start
        await bench.change(Faults(garble=0.3))
        with pytest.raises(BadReply, match=r"bytes that are no frame; is 115200 the module's baudrate"):
            await asyncio.wait_for(driver.listen(asyncio.Queue().put), 5)


async def test_power_that_the_module_refuses_is_misconfigured(bench: ModuleBench) -> None:
    with pytest.raises(DriverMisconfigured, match=r"refuses power_dbm = 30 \(wrong parameter\)"):
        async with bench.driver(context(), power_dbm=30.0):
            pass
    async with bench.driver(context(), power_dbm=20.0):
        pass


async def test_pass_that_is_going_on_is_handed_over_when_the_driver_is_closed(bench: ModuleBench) -> None:
    driver = bench.driver(context(), dwell_s=60)
    async with driver:
        async with listening(driver) as heard:
            await bench.module.pass_by(EPC, for_s=0.2, rssi_dbm=-42)
        assert heard == []
    assert [bench.key(one) for one in driver.leftovers()] == list(bench.expected)


async def test_tags_that_were_read_before_the_driver_was_closed_are_handed_over(bench: ModuleBench) -> None:
    driver = bench.driver(context(), dwell_s=60)
    async with driver:  # nobody listens: it is closed before it is asked
        await bench.module.pass_by(EPC, for_s=0.2, rssi_dbm=-42)
    assert [bench.key(one) for one in driver.leftovers()] == list(bench.expected)


async def test_a_slow_disk_is_no_silence_of_the_module(bench: ModuleBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "QUIET_S", 0.5)
    bench.module.says_no_tag = False
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        await asyncio.sleep(1.5)  # longer than any silence that is borne
        heard.extend(observations)

    async with bench.driver(context()) as driver:
        task = asyncio.create_task(driver.listen(emit))
        for nth in (1, 2):
            await bench.module.pass_by(EPC, for_s=0.2, rssi_dbm=-42)
            await until(lambda nth=nth: len(heard) == nth or task.done())  # type: ignore[misc]
            await asyncio.sleep(0.4)  # it looks whether the module still works
            assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
