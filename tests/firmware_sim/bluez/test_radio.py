"""Which adverts pass which advertisement monitors, and what they look like in the air."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.drivers.ble.scanner import PATTERNS
from firmware_sim.bluez.bus import PrivateBus, dbus_daemon
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.radio import Heard, Pattern, passes, structures

FCD2 = "0000fcd2-0000-1000-8000-00805f9b34fb"
OURS: list[Pattern] = [(start, int(kind), content) for start, kind, content in PATTERNS]


def test_the_structures_of_an_advert_are_those_of_the_core_specification() -> None:
    advert = Heard("A", -60, "S1", {0x0499: b"\x05"}, {FCD2: b"\x40", "ef090000-11d6-42ba-93b8-9dd7ec090ab0": b"\x01"})
    assert structures(advert) == [
        (0x01, b"\x06"),
        (0xFF, b"\x99\x04\x05"),
        (0x16, b"\xd2\xfc\x40"),
        (0x21, bytes.fromhex("b00a09ecd79db893ba42d611000009ef") + b"\x01"),
        (0x09, b"S1"),
    ]


@pytest.mark.parametrize(
    ("advert", "expected"),
    [
        (Heard("A", -60, manufacturer_data={0x0499: b"\x05"}, flags=None), True),
        (Heard("A", -60, service_data={FCD2: b"\x40"}, flags=None), True),
        (Heard("A", -60, manufacturer_data={76: b"\x02"}, flags=None), False),
        (Heard("A", -60, manufacturer_data={76: b"\x02"}, flags=0x06), True),
        (Heard("A", -60, "only a name", flags=None), False),
    ],
    ids=["ruuvi", "bthome", "another without flags", "another that is discoverable", "a name"],
)
def test_our_passive_scan_hears_our_formats_and_all_that_is_discoverable(advert: Heard, expected: bool) -> None:
    assert passes(advert, OURS) is expected


async def test_a_flood_of_adverts_is_taken_by_the_bus_without_losing_the_connection(tmp_path: Path) -> None:
    if dbus_daemon() is None:
        pytest.skip("dbus-daemon is not installed (Debian package dbus-daemon): no Bluetooth can be simulated")
    async with PrivateBus(tmp_path) as bus, SimBluez(bus.address) as bluez:
        bluez._discovering.add("somebody")
        for number in range(5_000):
            assert bluez.hear(Heard("A4:C1:38:00:00:01", -60, manufacturer_data={0x0499: number.to_bytes(200, "big")}))
            if number % 20 == 0:
                await bluez.flush()
        await bluez.flush()
        assert bluez._bus.connected
