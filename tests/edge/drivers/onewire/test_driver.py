"""The 1-wire driver on a folder tree whose files take as long to read as the kernel's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.onewire.config import OneWireConfig
from edge.drivers.onewire.driver import OneWireDriver
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.onewire import OneWireBus, Sensor
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, PollSuite, context
from wire.observation import Observation, Quality, Reading

ID, OTHER = "28-0316a2795bff", "28-0000000000aa"


class OneWireBench(LinkBench):
    expected = (("room-1/air", "CEL", -213125, -4, Quality.OK),)
    bus: OneWireBus

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "w1"
        self.link = Link("w1", Random(7))

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.unit, observation.mantissa, observation.exponent, observation.quality

    def driver(self, ctx: DriverContext, sensor: str = ID, timeout_s: float = TIMEOUT_S) -> OneWireDriver:
        return OneWireDriver("room-1", OneWireConfig(sensor=sensor, bus=self.folder, timeout_s=timeout_s), ctx)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = OneWireBench(tmp_path)
    sensors = {ID: Sensor("gw/room-1/air", lambda _: -341), OTHER: Sensor("gw/room-2/air", lambda _: 64)}
    log = DeviceLog(tmp_path)
    bench.bus = OneWireBus(bench.folder, sensors, name="w1", link=bench.link, log=log, now_ms=lambda: 0, measure_s=0.0)
    async with bench.running(simulated=bench.bus, log=log):
        yield bench


class TestOneWire(PollSuite):
    pass


async def test_a_measurement_of_750_ms_never_holds_up_the_loop(bench: OneWireBench) -> None:
    bench.bus.measure_s = 0.75
    async with bench.driver(context(), timeout_s=3) as driver:
        began_s = time.monotonic()
        polling = asyncio.create_task(driver.poll())
        longest_s = 0.0
        while not polling.done():
            before_s = time.monotonic()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - before_s)
        assert (await polling)[0].mantissa == -213125  # type: ignore[union-attr]
        assert time.monotonic() - began_s >= 0.75
        assert longest_s < 0.7


async def test_sensors_of_one_bus_take_turns_and_a_turn_is_not_a_timeout(bench: OneWireBench) -> None:
    bench.bus.measure_s = 0.2
    ctx = context()
    async with bench.driver(ctx, timeout_s=0.35) as one, bench.driver(ctx, OTHER, timeout_s=0.35) as other:
        first, second = await asyncio.gather(one.poll(), other.poll())
    assert [first[0].mantissa, second[0].mantissa] == [-213125, 40000]  # type: ignore[union-attr]


async def test_a_bus_that_hangs_costs_one_thread_however_often_it_is_asked(bench: OneWireBench) -> None:
    await bench.change(Faults(hang=True))
    ctx = context()
    before = threading.active_count()
    async with bench.driver(ctx, timeout_s=0.03) as driver:
        for _ in range(5):
            with pytest.raises(DeviceUnavailable, match=r"no answer within 0\.03 s.*4\.7 kΩ"):
                await driver.poll()
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n", "before it has measured"),
        ("00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n", "short circuit"),
        ("ff ff ff ff ff ff ff ff ff : crc=c9 NO\nff ff ff ff ff ff ff ff ff t=-62\n", "checksum is wrong"),
    ],
)
async def test_what_is_no_temperature_is_refused(bench: OneWireBench, text: str, why: str) -> None:
    bench.bus.texts[ID] = text
    async with bench.driver(context()) as driver:
        with pytest.raises(BadReply, match=why):
            await driver.poll()


async def test_an_absent_sensor_is_told_with_those_that_are_there(bench: OneWireBench) -> None:
    with pytest.raises(DeviceUnavailable, match=f"28-ffffffffffff: not on the bus.*{OTHER}, {ID}"):
        async with bench.driver(context(), "28-ffffffffffff"):
            pass


async def test_a_missing_bus_is_told_with_what_turns_it_on(tmp_path: Path) -> None:
    config = OneWireConfig(sensor=ID, bus=tmp_path / "absent")
    with pytest.raises(DeviceUnavailable, match=r"there is no 1-wire bus.*dtoverlay=w1-gpio"):
        async with OneWireDriver("room", config, context()):
            pass


async def test_the_kernels_own_number_can_be_read_too(tmp_path: Path) -> None:
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "temperature").write_text("-21312\n")
    async with OneWireDriver("r", OneWireConfig(sensor=ID, bus=tmp_path, file="temperature"), context()) as driver:
        (reading,) = await driver.poll()
    assert isinstance(reading, Reading)
    assert (reading.mantissa, reading.exponent) == (-21312, -3)


async def test_a_file_that_cannot_be_read_is_a_bad_reply(tmp_path: Path) -> None:
    (tmp_path / ID / "w1_slave").mkdir(parents=True)
    async with OneWireDriver("r", OneWireConfig(sensor=ID, bus=tmp_path), context()) as driver:
        with pytest.raises(BadReply, match="Is a directory"):
            await driver.poll()
