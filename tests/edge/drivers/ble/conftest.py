"""A Bluetooth adapter for tests: a simulated bluetoothd on a private D-Bus, which bleak's real backend talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from firmware_sim.bluez.bus import PrivateBus, dbus_daemon
from firmware_sim.bluez.daemon import SimBluez


@pytest.fixture
async def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PrivateBus]:
    if dbus_daemon() is None:
        pytest.skip("dbus-daemon is not installed (Debian package dbus-daemon): no Bluetooth can be simulated")
    async with PrivateBus(tmp_path) as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


@pytest.fixture
async def bluez(bus: PrivateBus) -> AsyncIterator[SimBluez]:
    async with SimBluez(bus.address) as bluez:
        yield bluez
