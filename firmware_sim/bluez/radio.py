"""What is in the air: an advert as the simulated bluetoothd hears it, and which monitors it passes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

FLAGS, SERVICE_DATA_16, SERVICE_DATA_128, NAME, MANUFACTURER = 0x01, 0x16, 0x21, 0x09, 0xFF
_BASE = "-0000-1000-8000-00805f9b34fb"

Pattern = tuple[int, int, bytes]  # where in the data, which type of data, which bytes


class Heard(msgspec.Struct, frozen=True):
    """One advert. service_data: by 128-bit UUID. flags: None for one without (not discoverable)."""

    address: str
    rssi_dbm: int
    name: str = ""
    manufacturer_data: dict[int, bytes] = {}
    service_data: dict[str, bytes] = {}
    service_uuids: tuple[str, ...] = ()
    flags: int | None = 0x06


def structures(advert: Heard) -> list[tuple[int, bytes]]:
    """The advert as (type, bytes) of its data structures: Core Specification vol. 3, part C §11."""
    found: list[tuple[int, bytes]] = [] if advert.flags is None else [(FLAGS, bytes([advert.flags]))]
    found += [(MANUFACTURER, key.to_bytes(2, "little") + data) for key, data in advert.manufacturer_data.items()]
    for uuid, data in advert.service_data.items():
        whole = bytes.fromhex(uuid.replace("-", ""))
        short = uuid.startswith("0000") and uuid.endswith(_BASE)
        found.append((SERVICE_DATA_16, whole[3:1:-1] + data) if short else (SERVICE_DATA_128, whole[::-1] + data))
    if advert.name:
        found.append((NAME, advert.name.encode()))
    return found


def passes(advert: Heard, patterns: Sequence[Pattern]) -> bool:
    """Whether any pattern is in the advert, as AdvertisementMonitor1 with type `or_patterns` asks."""
    parts = structures(advert)
    return any(
        kind == wanted and data[start : start + len(content)] == content
        for start, wanted, content in patterns
        for kind, data in parts
    )
