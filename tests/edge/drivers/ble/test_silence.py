"""A broadcasting device under its supervisor: falls silent, says so in the record, comes back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from edge.clock import SystemClock
from edge.drivers.base import DriverContext
from edge.drivers.ble.config import BleConfig
from edge.drivers.ble.driver import BleDriver
from edge.drivers.links import Links
from edge.supervisor import Supervisor
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.devices.ble import Broadcaster, BthomeThermometer
from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import Link
from wire.observation import Observation, Quality

PROBE = "A4:C1:38:8D:18:B2"


async def test_a_silent_sensor_is_stale_once_per_silence_while_others_are_heard(
    bluez: SimBluez, tmp_path: Path
) -> None:
    clock = SystemClock()
    ctx = DriverContext(clock, logging.getLogger("t"), random.Random(1), Links())
    taken: list[Observation] = []

    async def put(observations: Sequence[Observation]) -> None:
        taken.extend(observations)

    async def room() -> None:
        return

    driver = BleDriver("cold", BleConfig(address=PROBE, format="bthome", interval_s=0.2), ctx)
    supervisor = Supervisor(
        "cold", driver, interval_s=0.2, put=put, accept=put, room=room, clock=clock, rng=random.Random(1)
    )
    with DeviceLog(tmp_path) as log:
        link = Link("air", random.Random(1))
        mine = Broadcaster(bluez, BthomeThermometer(PROBE, "gw/cold", lambda _: (-18.5, 60.0)), link=link, log=log)
        other = Broadcaster(
            bluez, BthomeThermometer("A4:C1:38:8D:18:B3", "gw/x", lambda _: (1.0, 60.0)), link=link, log=log
        )
        running = asyncio.create_task(supervisor.run())
        try:
            await _until(lambda: bool(bluez.scanning))
            await mine.measure(0)
            await _until(lambda: len(taken) == 4)
            for _ in range(20):  # the neighbour is heard all the while
                await other.measure(0)
                await asyncio.sleep(0.05)
            assert supervisor.state.state == "silent"
            stale = [one for one in taken if one.quality is Quality.STALE]
            assert sorted(one.channel for one in stale) == [
                "cold/battery",
                "cold/humidity",
                "cold/rssi",
                "cold/temperature",
            ]
            await mine.measure(0)
            await _until(lambda: supervisor.state.state != "silent")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
