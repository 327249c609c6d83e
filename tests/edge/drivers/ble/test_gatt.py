"""Devices that must be connected to: the contract of all polled drivers, environment and logs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bleak import BleakClient

from edge.buffer.base import SealOptions
from edge.buffer.seal import admit, pack_group, unpack_group
from edge.clock import SteppedClock
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.ble import gatt, scanner
from edge.drivers.ble.codec import ruuvi_log
from edge.drivers.ble.codec.advert import short_uuid
from edge.drivers.ble.config import BleConfig, GattConfig
from edge.drivers.ble.driver import BleDriver
from edge.drivers.ble.gatt import GattDriver
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.gatt import Characteristic, Peripheral, Service
from firmware_sim.devices.ble import air_log_peripheral, beacon, environment_peripheral, log_peripheral
from firmware_sim.links import Faults, Link
from tests.edge.drivers.suite import TIMEOUT_S, Bench, LinkBench, LinkSuite, context
from wire.observation import Observation, Quality, Reading

PROBE = "C4:00:00:00:00:01"
E1 = bytes.fromhex("E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE10FFFFFFFFFFCBB8334C884F")


def config(**keys: Any) -> GattConfig:
    return GattConfig(address=PROBE, **{"timeout_s": 3.0, **keys})


class GattBench(LinkBench):
    expected = (
        ("fridge/temperature", 412),
        ("fridge/humidity", 5530),
        ("fridge/pressure", 1_000_440),
        ("fridge/battery", 91),
        ("fridge/rssi", -70),
    )

    def __init__(self, folder: Path, bluez: SimBluez) -> None:
        self.folder = folder
        self.bluez = bluez
        self.link = Link("air", random.Random(7))
        self.timeout_s = 1.0
        bluez.offer(environment_peripheral(PROBE, lambda _: (4.12, 55.3), lambda: 0))

    async def remove(self) -> None:
        self.bluez.unplug()

    async def change(self, faults: Faults) -> None:
        await super().change(faults)
        answer_s = 3600.0 if faults.hang else 0.01
        self.bluez.offer(environment_peripheral(PROBE, lambda _: (4.12, 55.3), lambda: 0)._replace(answer_s=answer_s))
        self.bluez.plug()

    def driver(self, ctx: DriverContext) -> GattDriver:
        return GattDriver("fridge", config(timeout_s=self.timeout_s, watchdog_s=0.1), ctx)

    def key(self, observation: Observation) -> object:
        assert isinstance(observation, Reading)
        return observation.channel, observation.mantissa


@pytest.fixture
async def bench(tmp_path: Path, bluez: SimBluez) -> AsyncIterator[Bench]:
    bench = GattBench(tmp_path, bluez)
    telling = asyncio.create_task(advertise(bluez))
    yield bench
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def advertise(bluez: SimBluez) -> None:
    while True:
        bluez.hear(beacon(PROBE))
        await asyncio.sleep(0.01)


class TestGatt(LinkSuite):
    async def test_hanging_device_is_cut_off_in_its_time(self, bench: GattBench) -> None:
        bench.timeout_s = TIMEOUT_S
        async with bench.driver(context()) as driver:
            await bench.change(Faults(hang=True))
            began_s = time.monotonic()
            with pytest.raises(DeviceUnavailable, match=r"no answer within 0\.15 s"):
                await driver.poll()
            assert TIMEOUT_S <= time.monotonic() - began_s + 0.02 < TIMEOUT_S + 1


@pytest.fixture
async def near(bluez: SimBluez) -> AsyncIterator[SimBluez]:
    """A device in range."""
    telling = asyncio.create_task(advertise(bluez))
    yield bluez
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


def tabled(readings: list[Observation]) -> list[tuple[str, object, Quality]]:
    return [(one.channel, one.value, one.quality) for one in readings if isinstance(one, Reading)]


async def test_a_broken_probe_is_a_sensor_error(near: SimBluez) -> None:
    near.offer(environment_peripheral(PROBE, lambda _: (None, 50.0), lambda: 0))
    async with GattDriver("fridge", config(), context()) as driver:
        found = tabled(await driver.poll())
    assert found[0] == ("fridge/temperature", None, Quality.SENSOR_ERROR)


async def test_a_device_without_the_service_is_told_with_its_services(near: SimBluez) -> None:
    near.offer(Peripheral(PROBE, (Service(short_uuid(0x180A), (Characteristic(short_uuid(0x2A29), ("read",)),)),)))
    async with GattDriver("fridge", config(), context()) as driver:
        with pytest.raises(BadReply, match=r"no characteristic of the Environmental Sensing Service.*0000180a"):
            await driver.poll()


async def test_a_characteristic_of_a_wrong_length_is_no_reading(near: SimBluez) -> None:
    short = Characteristic(short_uuid(0x2A6E), ("read",), lambda: b"\x01")
    near.offer(Peripheral(PROBE, (Service(short_uuid(0x181A), (short,)),)))
    async with GattDriver("fridge", config(), context()) as driver:
        with pytest.raises(BadReply, match="1 bytes, 2 expected"):
            await driver.poll()


async def test_a_device_that_is_not_heard_is_unavailable(bluez: SimBluez) -> None:
    async with GattDriver("fridge", config(timeout_s=0.1), context()) as driver:
        with pytest.raises(DeviceUnavailable, match=r"not heard within 0\.1 s; is it in range"):
            await driver.poll()


async def test_a_device_that_refuses_says_so(near: SimBluez) -> None:
    async with GattDriver("fridge", config(), context()) as driver:
        with pytest.raises(DeviceUnavailable, match=r"not connected to a phone\? \(le-connection-abort-by-peer\)"):
            await driver.poll()


async def test_a_device_that_does_not_answer_keeps_no_advert_from_its_neighbours(near: SimBluez) -> None:
    near.offer(environment_peripheral(PROBE, lambda _: (4.0, 50.0), lambda: 0)._replace(answer_s=3600))
    ctx = context()
    heard: list[Observation] = []

    async def emit(observations: Any) -> None:
        heard.extend(observations)

    from edge.drivers.ble.codec import bthome
    from firmware_sim.bluez.radio import Heard

    other = "A4:C1:38:8D:18:B2"
    async with (
        GattDriver("fridge", config(timeout_s=30.0), ctx) as dead,
        BleDriver("cold", BleConfig(address=other, format="bthome", sample_s=0), ctx) as alive,
    ):
        polling = asyncio.create_task(dead.poll())
        listening = asyncio.create_task(alive.listen(emit))
        await asyncio.sleep(0.2)
        near.hear(Heard(other, -60, service_data={bthome.V2: bthome.encode_2([(2, b"\x00\x01")])}))
        async with asyncio.timeout(20):
            while not heard:
                await asyncio.sleep(0.005)
        assert not polling.done()
        for task in (polling, listening):
            task.cancel()
        await asyncio.gather(polling, listening, return_exceptions=True)


async def test_a_bluetoothd_that_hangs_meanwhile_is_left_in_time(
    near: SimBluez, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang() -> bytes:
        near.hanging = True
        return b"\x00\x01"

    monkeypatch.setattr(gatt, "DISCONNECT_S", 0.2)
    monkeypatch.setattr(scanner, "STOP_S", 0.2)
    stuck = Characteristic(short_uuid(0x2A6E), ("read",), hang)
    near.offer(Peripheral(PROBE, (Service(short_uuid(0x181A), (stuck, stuck)),)))
    tasks = len(asyncio.all_tasks())
    async with GattDriver("fridge", config(timeout_s=0.5), context()) as driver:
        began_s = time.monotonic()
        with pytest.raises(DeviceUnavailable, match="no answer within"):
            await driver.poll()
        assert time.monotonic() - began_s < 2
    near.hanging = False
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks()) <= tasks + 1  # bleak's watch over its connection to the bus


async def test_two_devices_are_connected_one_after_the_other(near: SimBluez) -> None:
    second = "C4:00:00:00:00:02"
    for address in (PROBE, second):
        near.offer(environment_peripheral(address, lambda _: (4.0, 50.0), lambda: 0)._replace(answer_s=0.1))
    ctx = context()
    async with (
        GattDriver("one", config(), ctx) as one,
        GattDriver("two", GattConfig(address=second, timeout_s=3), ctx) as two,
    ):
        polls = asyncio.gather(one.poll(), two.poll())
        await asyncio.sleep(0.05)
        near.hear(beacon(second))
        first_found, second_found = await polls
    assert first_found
    assert second_found
    assert near.connections == 2


class SetClock(SteppedClock):
    """Somebody sets its wall time."""

    def set(self, wall_ms: int) -> None:
        self._start_ms = wall_ms - self._monotonic_ms


class TestRuuviLog:
    async def test_the_log_is_read_with_the_times_of_the_device_and_then_from_where_it_ended(
        self, near: SimBluez
    ) -> None:
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        entries = [(now_s - 600 + 300 * k, -1850 + k, 6120, 100_044) for k in range(2)]
        near.offer(log_peripheral(PROBE, entries))
        async with GattDriver("tag-log", config(read="ruuvi_log", history_h=1), ctx) as driver:
            readings = await driver.poll()
            assert await driver.poll() == []
            entries.append((now_s - 10, -1800, 6000, 100_000))
            near.offer(log_peripheral(PROBE, entries))
            more = await driver.poll()
        assert [(o.channel, o.mantissa, o.stamp.observed_at_ms) for o in readings if isinstance(o, Reading)] == [
            ("tag-log/temperature", -1850, (now_s - 600) * 1000),
            ("tag-log/humidity", 6120, (now_s - 600) * 1000),
            ("tag-log/pressure", 100_044, (now_s - 600) * 1000),
            ("tag-log/temperature", -1849, (now_s - 300) * 1000),
            ("tag-log/humidity", 6120, (now_s - 300) * 1000),
            ("tag-log/pressure", 100_044, (now_s - 300) * 1000),
        ]
        assert [o.stamp.observed_at_ms for o in more] == [(now_s - 10) * 1000] * 3
        assert len({o.stamp.monotonic_ms for o in readings}) == 1  # what corrects the clock of now corrects them
        assert [o for o in unpack_group(pack_group(readings)) if o not in readings] == []
        admit(readings, SealOptions())

    async def test_a_log_that_was_read_is_not_lost_when_the_connection_ends_too_slowly(
        self, near: SimBluez, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow_s = [30.0]

        class Slow(BleakClient):
            async def disconnect(self) -> None:
                try:
                    await asyncio.sleep(slow_s.pop() if slow_s else 0)
                finally:
                    await super().disconnect()

        monkeypatch.setattr(gatt, "BleakClient", Slow)
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        near.offer(log_peripheral(PROBE, [(now_s - 600, -1850, 6120, 100_044)]))
        async with GattDriver("tag-log", config(read="ruuvi_log", timeout_s=2.0), ctx) as driver:
            with pytest.raises(DeviceUnavailable, match="no answer within 2 s"):
                await driver.poll()
            assert not slow_s
            assert len(await driver.poll()) == 3

    async def test_an_entry_is_told_once_however_its_seconds_are_rounded(self, near: SimBluez) -> None:
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        async with GattDriver("tag-log", config(read="ruuvi_log"), ctx) as driver:
            near.offer(log_peripheral(PROBE, [(now_s - 600, -1850, 6120, 100_044)]))
            assert len(await driver.poll()) == 3
            near.offer(log_peripheral(PROBE, [(now_s - 599, -1850, 6120, 100_044), (now_s - 299, 1, 1, 1)]))
            assert {o.mantissa for o in await driver.poll() if isinstance(o, Reading)} == {1}

    async def test_a_clock_that_was_far_ahead_keeps_nothing_of_the_log_from_us(self, near: SimBluez) -> None:
        clock = SetClock(4_000_000_000_000)
        ctx = context(clock)
        async with GattDriver("tag-log", config(read="ruuvi_log"), ctx) as driver:
            near.offer(log_peripheral(PROBE, [(4_000_000_000 - 60, 1, 1, 1)]))
            assert len(await driver.poll()) == 3
            clock.set(1_800_000_000_000)
            near.offer(log_peripheral(PROBE, [(1_800_000_000 - 60, 1, 1, 1), (1_800_000_000 - 1, 2, 2, 2)]))
            assert {o.mantissa for o in await driver.poll() if isinstance(o, Reading)} == {2}

    async def test_moisture_beyond_all_measure_is_out_of_range_in_a_log_too(self, near: SimBluez) -> None:
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        near.offer(log_peripheral(PROBE, [(now_s - 60, 1, 10_001, 1)]))
        async with GattDriver("tag-log", config(read="ruuvi_log"), ctx) as driver:
            found = {o.channel: (o.mantissa, o.quality) for o in await driver.poll() if isinstance(o, Reading)}
        assert found["tag-log/humidity"] == (10_001, Quality.OUT_OF_RANGE)

    @pytest.mark.parametrize(("source", "raw"), [(0x30, 1 << 31), (0x31, 0xFFFF_FFFF), (0x32, 0xFFFF_FFFF)])
    def test_what_a_tag_could_not_measure_is_no_number_in_its_log(self, source: int, raw: int) -> None:
        frame = bytes([0x3A, source, 0x10]) + (1_700_000_000).to_bytes(4, "big") + raw.to_bytes(4, "big")
        (entry,) = ruuvi_log.decode(frame) or []
        assert [(value.mantissa, value.quality) for value in entry.values] == [(None, Quality.SENSOR_ERROR)]

    async def test_entries_from_the_future_and_older_than_asked_are_no_readings(self, near: SimBluez) -> None:
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        frames = log_peripheral(PROBE, [])
        assert frames
        from edge.drivers.ble.codec import ruuvi_log
        from firmware_sim.devices.ble import _uart

        odd = [(now_s - 1_000_000, 1, 1, 1), (now_s + 3600, 2, 2, 2), (now_s - 60, 3, 3, 3)]
        near.offer(Peripheral(PROBE, (_uart(lambda _: ruuvi_log.encode_tag(odd)),)))
        async with GattDriver("tag-log", config(read="ruuvi_log"), ctx) as driver:
            assert {o.mantissa for o in await driver.poll() if isinstance(o, Reading)} == {3}

    async def test_an_air_answers_with_records_of_its_broadcast_format(self, near: SimBluez) -> None:
        ctx = context()
        now_s = ctx.clock.stamp().observed_at_ms // 1000
        near.offer(air_log_peripheral(PROBE, [(now_s - 300 * k, E1) for k in range(13, 0, -1)]))
        async with GattDriver("air-log", config(read="ruuvi_air_log", history_h=2), ctx) as driver:
            readings = await driver.poll()
        co2 = [o for o in readings if o.channel == "air-log/co2"]
        assert [o.stamp.observed_at_ms for o in co2] == [(now_s - 300 * k) * 1000 for k in range(13, 0, -1)]
        assert not [o for o in readings if o.channel.endswith("illuminance")]

    async def test_a_device_that_is_lost_meanwhile_is_unavailable(self, near: SimBluez) -> None:
        from firmware_sim.devices.ble import _uart

        def vanish(_: bytes) -> list[bytes]:
            near.lose(PROBE)
            return []

        near.offer(Peripheral(PROBE, (_uart(vanish),)))
        async with GattDriver("tag-log", config(read="ruuvi_log"), context()) as driver:
            with pytest.raises(DeviceUnavailable):
                await driver.poll()

    async def test_a_frame_that_is_cut_off_is_a_bad_reply(self, near: SimBluez) -> None:
        from firmware_sim.devices.ble import _uart

        near.offer(Peripheral(PROBE, (_uart(lambda _: [bytes.fromhex("3A3010 5D57FEAD 00")]),)))
        async with GattDriver("tag-log", config(read="ruuvi_log"), context()) as driver:
            with pytest.raises(BadReply, match="11 bytes, 8 came"):
                await driver.poll()
