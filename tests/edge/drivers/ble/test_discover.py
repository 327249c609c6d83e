"""What an installer finds in the air."""

from __future__ import annotations

import asyncio

import pytest

from edge.drivers.base import DeviceUnavailable
from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.bthome import encode_2
from edge.drivers.ble.discover import discover
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.radio import Heard
from firmware_sim.devices.ble import beacon

TAG = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
KEY = bytes(16)


async def test_known_devices_are_proposed_and_unknown_ones_are_listed(bluez: SimBluez) -> None:
    air = [
        Heard("CB:B8:33:4C:88:4F", -50, "Ruuvi 884F", manufacturer_data={ruuvi.COMPANY: TAG}),
        Heard("A4:C1:38:00:00:01", -60, service_data={bthome.V2: encode_2([(2, b"\x00\x01")])}),
        Heard(
            "A4:C1:38:00:00:02",
            -70,
            service_data={bthome.V2: encode_2([(2, b"\x00\x01")], address="A4:C1:38:00:00:02", bindkey=KEY)},
        ),
        beacon("C4:00:00:00:00:01", -80, "Fridge"),
        Heard("11:22:33:44:55:66", -90, "phone", manufacturer_data={76: b"\x02\x15"}),
    ]
    searching = asyncio.create_task(discover(seconds=0.5))
    while not searching.done():
        for advert in air:
            bluez.hear(advert)
        await asyncio.sleep(0.05)
    found = await searching
    assert [(one.address, one.proposal) for one in found] == [
        ("CB:B8:33:4C:88:4F", {"driver": "ble", "address": "CB:B8:33:4C:88:4F", "format": "ruuvi"}),
        ("A4:C1:38:00:00:01", {"driver": "ble", "address": "A4:C1:38:00:00:01", "format": "bthome"}),
        ("A4:C1:38:00:00:02", {"driver": "ble", "address": "A4:C1:38:00:00:02", "format": "bthome", "bindkey": ""}),
        ("C4:00:00:00:00:01", {"driver": "ble_gatt", "address": "C4:00:00:00:00:01"}),
        ("11:22:33:44:55:66", {}),
    ]
    assert "company 76 (0x004C)" in found[-1].says["error"]
    assert bluez.scanning == ""


async def test_without_an_adapter_it_says_so(bluez: SimBluez) -> None:
    bluez.unplug()
    with pytest.raises(DeviceUnavailable, match="hci0: not there; plugged in are: none"):
        await discover(seconds=0.1)
