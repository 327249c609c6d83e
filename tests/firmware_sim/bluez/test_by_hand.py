"""The simulated adapter as a process of its own, as a person starts it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.drivers.base import DeviceUnavailable
from edge.drivers.ble.config import BleConfig
from edge.drivers.ble.driver import BleDriver
from firmware_sim.bluez.__main__ import KEY, THERMOMETER
from firmware_sim.bluez.bus import dbus_daemon
from tests.edge.drivers.suite import context
from wire.observation import Observation


async def test_its_thermometer_is_heard_and_it_ends_with_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dbus_daemon() is None:
        pytest.skip("dbus-daemon is not installed (Debian package dbus-daemon): no Bluetooth can be simulated")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus.sock")
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "firmware_sim.bluez", str(tmp_path))
    heard: asyncio.Queue[Sequence[Observation]] = asyncio.Queue()
    try:
        async with asyncio.timeout(30):
            driver = BleDriver("cold", BleConfig(address=THERMOMETER, format="bthome", bindkey=KEY.hex()), context())
            async with await _opened(driver) as driver:
                listening = asyncio.create_task(driver.listen(heard.put))
                channels = {one.channel for one in await heard.get()}
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        assert channels == {"cold/battery", "cold/temperature", "cold/humidity", "cold/rssi"}
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def _opened(driver: BleDriver) -> BleDriver:
    """Wait until the simulated adapter is there."""
    while True:
        try:
            async with driver:
                return driver
        except DeviceUnavailable:
            await asyncio.sleep(0.2)
