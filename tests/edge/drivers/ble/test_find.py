"""What `coldproof edge devices scan` says of the air."""

from __future__ import annotations

import asyncio

from edge.commission.finder import Asked
from edge.commission.scan import scan
from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.bthome import encode_2
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.radio import Heard
from firmware_sim.devices.ble import beacon

TAG = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
ADDRESS = "A4:C1:38:00:00:02"


async def test_sensors_are_named_with_their_values_and_what_a_person_must_add(bluez: SimBluez) -> None:
    sealed = encode_2([(2, b"\x00\x01")], address=ADDRESS, bindkey=bytes(16))
    air = [
        Heard("CB:B8:33:4C:88:4F", -50, "Ruuvi 884F", manufacturer_data={ruuvi.COMPANY: TAG}),
        Heard(ADDRESS, -70, service_data={bthome.V2: sealed}),
        beacon("C4:00:00:00:00:01", -80, "Fridge"),
        Heard("11:22:33:44:55:66", -90, "phone", manufacturer_data={76: b"\x02\x15"}),
        Heard("11:22:33:44:55:67", -95, manufacturer_data={76: b"\x02\x15"}),
    ]
    said: list[str] = []
    asked = Asked(radio_s=0.5, families=["ble"])
    scanning = asyncio.create_task(scan(asked, said.append, lambda _: None))
    while not scanning.done():
        for advert in air:
            bluez.hear(advert)
        await asyncio.sleep(0.05)
    tag, locked, fridge, phone = await scanning
    assert tag.table == {"driver": "ble", "address": "CB:B8:33:4C:88:4F", "format": "ruuvi"}
    assert any(words.endswith("24.3 °C") for words in tag.live)
    assert {unit for _, unit in tag.channels} >= {"CEL", "P1"}
    assert locked.table["bindkey"] == ""
    assert "bindkey" in locked.fault
    assert fridge.table["driver"] == "ble_gatt"
    assert (phone.table, phone.what) == ({}, "phone: a BLE device of a kind we don't decode")
    assert "3 sensors, 2 other devices" in said[-1]
