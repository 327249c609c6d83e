"""Sensors that broadcast: the contract of all drivers, over bleak's own D-Bus backend and a simulated bluetoothd."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.ble import bluez as bluez_module
from edge.drivers.ble import scanner as scanner_module
from edge.drivers.ble.codec import bthome
from edge.drivers.ble.codec.bthome import encode_2
from edge.drivers.ble.config import BleConfig
from edge.drivers.ble.driver import BleDriver
from firmware_sim.bluez.bus import PrivateBus
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.radio import Heard
from firmware_sim.devices.ble import Broadcaster, BthomeThermometer, RuuviTag
from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import GOOD, Faults, Link
from tests.edge.drivers.suite import Bench, LinkBench, LinkSuite, context, look
from wire.observation import Observation, Quality, Reading

TAG = "CB:B8:33:4C:88:4F"
PROBE = "A4:C1:38:8D:18:B2"
KEY = "231d39c1d7cc1ab1aee224cd096db932"


def climate(_at_ms: int) -> tuple[float | None, float | None]:
    return -18.5, 61.2


def config(address: str = PROBE, **keys: Any) -> BleConfig:
    return BleConfig(address=address, **{"format": "bthome", "watchdog_s": 30, "sample_s": 0, **keys})


class Air:
    """A sensor in range, and the readings of its driver."""

    def __init__(self, bluez: SimBluez, folder: Path, payload: Any) -> None:
        self.bluez = bluez
        self.link = Link("air", random.Random(3))
        self.sensor = Broadcaster(bluez, payload, link=self.link, log=DeviceLog(folder))
        self.heard: list[Reading] = []
        self.payload = payload

    async def emit(self, observations: Sequence[Observation]) -> None:
        assert all(isinstance(one, Reading) for one in observations)
        self.heard += [one for one in observations if isinstance(one, Reading)]

    def send(self, *objects: tuple[int, bytes], **keys: Any) -> None:
        assert self.bluez.hear(Heard(PROBE, -60, service_data={bthome.V2: bthome.encode_2(list(objects), **keys)}))

    def values(self, point: str) -> list[object]:
        return [one.value for one in self.heard if one.channel.endswith(f"/{point}")]


async def settle() -> None:
    """Let the bus and the driver work off what was sent."""
    for _ in range(15):
        await asyncio.sleep(0.01)


async def passive(bluez: SimBluez) -> None:
    """Wait until the monitor is registered: bluetoothd reads its patterns after it has answered."""
    async with asyncio.timeout(5):
        while not bluez.scanning:
            await asyncio.sleep(0.005)


class BleBench(LinkBench):
    expected = (
        ("cold/battery", 87),
        ("cold/temperature", -1850),
        ("cold/humidity", 6120),
        ("cold/rssi", -60),
    )

    def __init__(self, folder: Path, bluez: SimBluez) -> None:
        self.folder = folder
        self.bluez = bluez
        self.link = Link("air", random.Random(7))
        self.link.attach(self._plug)
        thermometer = BthomeThermometer(PROBE, "gw/cold", climate)
        self.sensor = Broadcaster(bluez, thermometer, link=self.link, log=DeviceLog(folder))

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self.bluez.plug()
        else:
            self.bluez.unplug()

    async def change(self, faults: Faults) -> None:
        await super().change(faults)

    def driver(self, ctx: DriverContext) -> BleDriver:
        return BleDriver("cold", config(watchdog_s=0.3), ctx)

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.mantissa

    async def speak(self) -> None:
        with self.sensor._log:
            while True:
                await self.sensor.measure(0)
                await asyncio.sleep(0.02)


@pytest.fixture
async def bench(tmp_path: Path, bluez: SimBluez) -> Bench:
    return BleBench(tmp_path, bluez)


class TestBle(LinkSuite):
    async def test_1000_times_open_and_close_leak_nothing(self, bench: BleBench) -> None:
        await _open_and_close(bench, 1000)


async def _open_and_close(bench: BleBench, times: int) -> None:
    from tests.edge.drivers.suite import open_files

    ctx = context()
    async with bench.driver(ctx):
        pass
    files, tasks = open_files(), len(asyncio.all_tasks())
    for _ in range(times):
        async with bench.driver(ctx):
            pass
    await settle()
    assert open_files() <= files + 1
    assert len(asyncio.all_tasks()) <= tasks + 1


@pytest.fixture
async def air(tmp_path: Path, bluez: SimBluez) -> AsyncIterator[Air]:
    air = Air(bluez, tmp_path, BthomeThermometer(PROBE, "gw/cold", climate))
    with air.sensor._log:
        yield air


async def listening(driver: BleDriver, air: Air) -> asyncio.Task[None]:
    await passive(air.bluez)
    return asyncio.create_task(driver.listen(air.emit))


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_measurement_that_is_sent_five_times_is_one_reading(air: Air) -> None:
    async with BleDriver("cold", config(), context()) as driver:
        task = await listening(driver, air)
        await air.sensor.measure(0)
        for rssi in range(5):
            air.sensor.rssi_dbm = -70 - rssi
            air.sensor.repeat()
        await settle()
        await air.sensor.measure(0)
        await settle()
        await stopped(task)
    assert len(air.values("temperature")) == 2


async def test_a_format_without_numbers_is_sampled(air: Air) -> None:
    async with BleDriver("cold", config(sample_s=0.2), context()) as driver:
        task = await listening(driver, air)
        for _ in range(25):
            air.send((0x02, b"\x39\x30"))
            await asyncio.sleep(0.02)
        await stopped(task)
    assert 2 <= len(air.values("temperature")) <= 4


async def test_a_door_is_told_at_once_and_only_when_it_turns(air: Air) -> None:
    async with BleDriver("cold", config(sample_s=3600), context()) as driver:
        task = await listening(driver, air)
        for packet, state in enumerate([0, 0, 1, 1, 0]):
            air.send((0x00, bytes([packet])), (0x1A, bytes([state])))
            await settle()
        await stopped(task)
    assert air.values("door") == [0, 1, 0]


async def test_a_changed_property_that_is_no_advert_is_no_reading(air: Air) -> None:
    async with BleDriver("cold", config(), context()) as driver:
        task = await listening(driver, air)
        air.send((0x02, b"\x39\x30"))
        await settle()
        air.bluez.touch(PROBE)
        await settle()
        await stopped(task)
    assert len(air.values("temperature")) == 1


async def test_encrypted_adverts_and_their_replay(air: Air, tmp_path: Path) -> None:
    air.payload = BthomeThermometer(PROBE, "gw/cold", climate, bytes.fromhex(KEY))
    sensor = Broadcaster(air.bluez, air.payload, link=air.link, log=air.sensor._log)
    async with BleDriver("cold", config(bindkey=KEY), context()) as driver:
        task = await listening(driver, air)
        await sensor.measure(0)
        old = sensor._last
        await sensor.measure(0)
        await settle()
        sensor.send(old)
        with pytest.raises(BadReply, match="counter 1001 is not ahead of 1002"):
            async with asyncio.timeout(5):
                await task
        task = asyncio.create_task(driver.listen(air.emit))
        air.send((0x02, b"\x39\x30"))
        with pytest.raises(BadReply, match="not encrypted, although a bindkey is configured"):
            async with asyncio.timeout(5):
                await task
    assert len(air.values("temperature")) == 2


async def test_a_broken_probe_is_a_sensor_error_without_a_number(bluez: SimBluez, tmp_path: Path) -> None:
    air = Air(bluez, tmp_path, RuuviTag(TAG, "gw/tag", lambda _: (None, 45.0)))
    with air.sensor._log:
        async with BleDriver("tag", config(TAG, format="ruuvi"), context()) as driver:
            task = await listening(driver, air)
            await air.sensor.measure(0)
            await settle()
            await stopped(task)
    broken = [one for one in air.heard if one.channel == "tag/temperature"]
    assert [(one.mantissa, one.quality) for one in broken] == [(None, Quality.SENSOR_ERROR)]
    assert {one.channel for one in air.heard} == {
        f"tag/{point}" for point in ("temperature", "humidity", "pressure", "battery", "movement_counter", "rssi")
    }


async def test_only_the_points_that_are_wanted(air: Air) -> None:
    async with BleDriver("cold", config(points=["temperature"]), context()) as driver:
        task = await listening(driver, air)
        await air.sensor.measure(0)
        await settle()
        await stopped(task)
        assert driver.channels == [("cold/temperature", "CEL")]
    assert {one.channel for one in air.heard} == {"cold/temperature"}


async def test_devices_share_one_scan_and_the_last_one_ends_it(air: Air) -> None:
    ctx = context()
    async with BleDriver("one", config(), ctx):
        async with BleDriver("two", config(TAG, format="ruuvi"), ctx) as two:
            await passive(air.bluez)
            assert len(air.bluez._monitors) == 1
            assert two._scanner is not None
        await settle()
        assert air.bluez.scanning == "passive"
    await settle()
    assert air.bluez.scanning == ""


async def test_what_was_not_taken_is_told_again_after_a_failure_of_the_disk(air: Air) -> None:
    async def refuse(_: Sequence[Observation]) -> None:
        raise OSError("no space left")

    async with BleDriver("cold", config(), context()) as driver:
        await passive(air.bluez)
        await air.sensor.measure(0)
        with pytest.raises(OSError, match="no space"):
            async with asyncio.timeout(5):
                await driver.listen(refuse)
        task = asyncio.create_task(driver.listen(air.emit))
        await settle()
        await stopped(task)
    assert len(air.values("temperature")) == 1


async def test_an_adapter_without_monitors_is_scanned_actively(bus: PrivateBus, tmp_path: Path) -> None:
    async with SimBluez(bus.address, passive=False) as bluez:
        air = Air(bluez, tmp_path, BthomeThermometer(PROBE, "gw/cold", climate))
        with air.sensor._log:
            async with BleDriver("cold", config(), context()) as driver:
                assert bluez.scanning == "active"
                task = await listening(driver, air)
                await air.sensor.measure(0)
                await settle()
                await stopped(task)
            assert air.values("rssi") == [-60]
            with pytest.raises(DeviceUnavailable, match=r"BlueZ >= 5\.56"):
                async with BleDriver("cold", config(scan="passive"), context()):
                    pass


async def test_the_watchdog_starts_a_deaf_scan_anew_and_says_so(air: Air) -> None:
    air.bluez.deaf = True
    async with BleDriver("cold", config(watchdog_s=0.2), context()) as driver:
        with pytest.raises(BadReply, match="no advert of any device for 0 s, so the scan was started anew"):
            async with asyncio.timeout(5):
                await driver.listen(air.emit)
        air.bluez.deaf = False
        task = await listening(driver, air)
        await air.sensor.measure(0)
        await settle()
        await stopped(task)
    assert air.values("temperature")


async def test_a_kernel_that_takes_monitors_and_hears_nothing_is_scanned_actively(air: Air) -> None:
    air.bluez.monitors_work = False
    async with BleDriver("cold", config(watchdog_s=0.2), context()) as driver:
        await passive(air.bluez)
        assert air.bluez.scanning == "passive"
        with pytest.raises(BadReply, match=r"started anew \(active\)"):
            async with asyncio.timeout(5):
                await driver.listen(air.emit)
        task = await listening(driver, air)
        await air.sensor.measure(0)
        await settle()
        await stopped(task)
    assert air.values("temperature")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda bluez: bluez.unplug(), r"hci0: not there; plugged in are: none"),
        (lambda bluez: bluez.power(False), r"hci0: is switched off: `rfkill unblock bluetooth` and `bluetoothctl"),
    ],
    ids=["unplugged", "switched off"],
)
async def test_a_lost_adapter_is_named_with_its_cure(air: Air, harm: Any, told: str) -> None:
    ctx = context()
    async with BleDriver("cold", config(watchdog_s=0.2), ctx) as driver:
        harm(air.bluez)
        with pytest.raises(DeviceUnavailable, match=told):
            async with asyncio.timeout(5):
                await driver.listen(air.emit)
    with pytest.raises(DeviceUnavailable, match=told):
        async with BleDriver("cold", config(), ctx):
            pass


async def test_all_sharers_learn_that_the_adapter_is_gone(air: Air) -> None:
    ctx = context()
    async with BleDriver("one", config(watchdog_s=0.2), ctx) as one, BleDriver("two", config(TAG), ctx) as two:
        air.bluez.unplug()
        results = await asyncio.gather(one.listen(air.emit), two.listen(air.emit), return_exceptions=True)
    assert all(isinstance(result, DeviceUnavailable) for result in results), results
    air.bluez.plug()
    async with BleDriver("one", config(), ctx):
        pass


async def test_no_bluetoothd_says_how_to_start_it(bus: PrivateBus) -> None:
    with pytest.raises(DeviceUnavailable, match="bluetoothd is not running: `sudo systemctl enable --now bluetooth`"):
        async with BleDriver("cold", config(), context()):
            pass


async def test_a_bluetoothd_that_was_restarted_is_scanned_again(bus: PrivateBus) -> None:
    ctx = context()
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    driver = BleDriver("cold", config(watchdog_s=0.2), ctx)
    for round_ in range(2):
        async with SimBluez(bus.address) as bluez:
            async with driver:
                task = asyncio.create_task(driver.listen(emit))
                await passive(bluez)
                data = encode_2([(0x00, bytes([round_])), (0x02, b"\x00\x01")])
                bluez.hear(Heard(PROBE, -60, service_data={bthome.V2: data}))
                await settle()
                await stopped(task)
    assert [one.channel for one in heard] == ["cold/temperature", "cold/rssi"] * 2


async def test_a_bus_that_was_restarted_is_connected_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bus: PrivateBus
) -> None:
    del bus  # only for its reason to skip
    other = tmp_path / "other"
    other.mkdir()
    ctx = context()
    heard: list[Observation] = []

    async def emit(observations: Sequence[Observation]) -> None:
        heard.extend(observations)

    driver = BleDriver("cold", config(watchdog_s=0.2), ctx)
    for round_ in range(2):
        async with PrivateBus(other) as own:
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", own.address)
            async with SimBluez(own.address) as bluez:
                async with driver:
                    task = asyncio.create_task(driver.listen(emit))
                    await passive(bluez)
                    data = encode_2([(0x00, bytes([round_])), (0x02, b"\x00\x01")])
                    bluez.hear(Heard(PROBE, -60, service_data={bthome.V2: data}))
                    await settle()
                    await stopped(task)
                    if round_ == 0:
                        await own._stop()
                        with pytest.raises(DeviceUnavailable, match="D-Bus cannot be reached"):
                            async with asyncio.timeout(5):
                                await driver.listen(emit)
    assert [one.channel for one in heard] == ["cold/temperature", "cold/rssi"] * 2


async def test_a_bluetoothd_that_hangs_is_named(air: Air, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bluez_module, "ANSWER_S", 0.2)
    monkeypatch.setattr(scanner_module, "STOP_S", 0.2)
    told = "bluetoothd does not answer: `sudo systemctl restart bluetooth`"
    async with BleDriver("cold", config(watchdog_s=0.2), context()) as driver:
        air.bluez.hanging = True
        with pytest.raises(DeviceUnavailable, match=told):
            async with asyncio.timeout(5):
                await driver.listen(air.emit)
    with pytest.raises(DeviceUnavailable, match=told):
        async with BleDriver("cold", config(), context()):
            pass
    air.bluez.hanging = False
    async with BleDriver("cold", config(), context()):
        pass


async def test_no_bus_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(DeviceUnavailable, match="D-Bus cannot be reached"):
        async with BleDriver("cold", config(), context()):
            pass


async def test_another_adapter_is_found_by_its_address(air: Air) -> None:
    async with BleDriver("cold", config(adapter="00:11:22:33:44:55"), context()) as driver:
        assert driver._scanner is not None
        assert driver._scanner.adapter.name == "hci0"
    with pytest.raises(DeviceUnavailable, match=r"hci7: not there; plugged in are: hci0 \(00:11:22:33:44:55\)"):
        async with BleDriver("cold", config(adapter="hci7"), context()):
            pass


async def test_nonsense_of_a_device_is_told_and_the_next_advert_is_heard(air: Air) -> None:
    async with BleDriver("cold", config(), context()) as driver:
        task = await listening(driver, air)
        air.sensor.send(b"\x40\x02\xff")
        with pytest.raises(BadReply, match="object 0x02 needs 2 bytes, 1 are left"):
            async with asyncio.timeout(5):
                await task
        task = asyncio.create_task(driver.listen(air.emit))
        await air.sensor.measure(0)
        await settle()
        await stopped(task)
    assert air.values("temperature")


async def test_a_device_out_of_range_is_heard_when_it_comes_back(air: Air) -> None:
    async with BleDriver("cold", config(), context()) as driver:
        task = await listening(driver, air)
        await air.link.change(Faults(hang=True))
        assert not await air.sensor.measure(0)
        await air.link.change(GOOD)
        assert await air.sensor.measure(0)
        await settle()
        await stopped(task)
    assert len(air.values("temperature")) == 1


async def test_looking_gives_what_the_bench_says(bench: BleBench) -> None:
    async with bench.driver(context()) as driver:
        assert await look(driver, bench)
