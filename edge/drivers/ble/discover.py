"""Which BLE devices are in the air: for an installer who looks for the ones to bind. One active scan, then it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from bleak import BleakScanner
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from edge.drivers.ble.bluez import explain, find_adapter
from edge.drivers.ble.codec import environment
from edge.drivers.ble.filter import AdvertFilter

DEVICES_MAX = 1_000  # in a hall full of telephones with changing addresses


class Found(msgspec.Struct, frozen=True):
    """One device. proposal: the keys of a `[[device]]` for it, empty where no format of ours was recognised.

    says: what `edge decode ble` says of its latest advert, or the reason why that cannot be decoded.
    """

    address: str
    name: str
    rssi_dbm: int
    proposal: dict[str, str]
    says: dict[str, Any]


async def discover(adapter: str = "hci0", *, seconds: float = 10.0) -> list[Found]:
    """Every device heard within `seconds`, the nearest first. Raises DeviceUnavailable where the adapter is not usable.

    Also while a gateway's own scan is running: BlueZ serves several.
    """
    radio = await find_adapter(adapter)
    latest: dict[str, tuple[BLEDevice, AdvertisementData]] = {}

    def hear(device: BLEDevice, data: AdvertisementData) -> None:
        if device.address in latest or len(latest) < DEVICES_MAX:
            latest[device.address] = (device, data)

    try:
        async with BleakScanner(hear, bluez={"adapter": radio.name, "filters": {"DuplicateData": True}}):
            await asyncio.sleep(seconds)
    except (BleakError, OSError, EOFError) as error:
        raise explain(error, f"Bluetooth adapter {adapter}") from error
    decoder = AdvertFilter()
    found = [_found(decoder, device, data) for device, data in latest.values()]
    return sorted(found, key=lambda one: (-one.rssi_dbm, one.address))


def _found(decoder: AdvertFilter, device: BLEDevice, data: AdvertisementData) -> Found:
    name = data.local_name or device.name or ""
    line = {
        "address": device.address,
        "name": name,
        "rssi": data.rssi,
        "manufacturer_data": {str(key): value.hex() for key, value in data.manufacturer_data.items()},
        "service_data": {key: value.hex() for key, value in data.service_data.items()},
        "service_uuids": data.service_uuids,
    }
    says = decoder.decode(msgspec.json.encode(line))
    return Found(device.address, name, data.rssi, _proposal(device.address, says, data), says)


def _proposal(address: str, says: dict[str, Any], data: AdvertisementData) -> dict[str, str]:
    form = str(says.get("format", "")).partition("-")[0]
    if "BTHome: encrypted" in says.get("error", ""):
        return {"driver": "ble", "address": address, "format": "bthome", "bindkey": ""}  # for the installer to fill in
    if form:
        return {"driver": "ble", "address": address, "format": form}
    if environment.SERVICE in data.service_uuids:
        return {"driver": "ble_gatt", "address": address}
    return {}
