"""A Bluetooth adapter with three sensors in range, for trying things out by hand.

    python -m firmware_sim.bluez FOLDER

serves until SIGTERM or Ctrl-C. Whoever is to hear them is started with
DBUS_SYSTEM_BUS_ADDRESS=unix:path=FOLDER/bus.sock. In range are a RuuviTag (CB:B8:33:4C:88:4F), an encrypted BTHome
thermometer (A4:C1:38:8D:18:B2, bindkey 231d39c1d7cc1ab1aee224cd096db932), and a device with the Environmental Sensing
Service to connect to (C4:00:00:00:00:01).
"""

from __future__ import annotations

import asyncio
import math
import random
import signal
import sys
import time
from pathlib import Path

from firmware_sim.bluez.bus import PrivateBus
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.devices.ble import Broadcaster, BthomeThermometer, RuuviTag, beacon, environment_peripheral
from firmware_sim.devices.log import DeviceLog
from firmware_sim.links import Link

TAG, THERMOMETER, FRIDGE = "CB:B8:33:4C:88:4F", "A4:C1:38:8D:18:B2", "C4:00:00:00:00:01"
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
EVERY_S = 1.0


def climate(at_ms: int) -> tuple[float | None, float | None]:
    """A cold room whose compressor runs every ten minutes."""
    turn = 2 * math.pi * at_ms / 600_000
    return 4 + math.sin(turn), 80 + 5 * math.cos(turn)


async def serve(folder: Path) -> None:
    """Serve until cancelled."""
    link = Link("air", random.Random(0))  # noqa: S311 - a simulation
    async with PrivateBus(folder) as bus, SimBluez(bus.address) as bluez:
        with DeviceLog(folder) as log:
            sensors = [
                Broadcaster(bluez, RuuviTag(TAG, "sim/tag", climate), link=link, log=log),
                Broadcaster(bluez, BthomeThermometer(THERMOMETER, "sim/cold", climate, KEY), link=link, log=log),
            ]
            bluez.offer(environment_peripheral(FRIDGE, climate, lambda: time.time() * 1000))
            while True:
                for sensor in sensors:
                    await sensor.measure(int(time.time() * 1000))
                bluez.hear(beacon(FRIDGE))
                await asyncio.sleep(EVERY_S)


async def _main(folder: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await serve(folder)


if __name__ == "__main__":
    try:
        asyncio.run(_main(Path(sys.argv[1])))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(0)
