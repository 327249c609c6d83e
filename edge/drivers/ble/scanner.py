"""One scan per adapter, for all BLE devices of the gateway. The only module that scans with bleak.

Passive first: the adapter listens and asks devices for nothing (advertisement monitors, BlueZ 5.56 or later; which
adverts are wanted must be named, so those of our formats and everything discoverable are). Where the adapter cannot,
or hears nothing that way, the scan is active.

Traps that end here: bleak calls for every changed property of a device and repeats its last advert then, so that an
advert is one only if its data or signal strength was told anew; its default hides adverts whose data did not change;
an adapter that is switched off or pulled out makes no error, only silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from bleak import BleakScanner
from bleak.args.bluez import BlueZScannerArgs, OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError

from edge.drivers.base import DeviceUnavailable, DriverContext
from edge.drivers.ble.bluez import ANSWER_S, Adapter, explain, find_adapter
from edge.drivers.ble.codec.advert import Advert

STOP_S = 3.0  # less than the supervisor grants for closing
CHECK_S = 10.0  # how soon a silent adapter is looked at
Hear = Callable[[Advert, BLEDevice], None]

#: What a passive scan listens for: our formats, and the flags that discoverable and connectable devices send.
PATTERNS = [
    OrPattern(0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, b"\x99\x04"),  # Ruuvi
    OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xd2\xfc"),  # BTHome v2
    OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\x1c\x18"),  # BTHome v1
    OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\x1e\x18"),  # the same, encrypted
    *(OrPattern(0, AdvertisementDataType.FLAGS, bytes([flags])) for flags in (0x02, 0x04, 0x05, 0x06, 0x1A)),
]


class Scanner:
    """An open scan; drivers share it through Links.

    `restarts` counts how often the watchdog started it anew, `why` says why it last did.
    """

    def __init__(self, adapter: Adapter, mode: str, watchdog_s: float, ctx: DriverContext) -> None:
        self.adapter = adapter
        self.restarts = 0
        self.why = ""
        self.connecting = asyncio.Lock()  # an adapter makes one connection at a time
        self._mode = mode
        self._watchdog_s = watchdog_s
        self._ctx = ctx
        self._scan: BleakScanner | None = None
        self._listeners: dict[str, list[Hear]] = {}
        self._seen: dict[str, tuple[Any, Any, Any]] = {}  # per device that is listened to
        self._active = mode == "active"
        self._ending: asyncio.Task[None] | None = None  # held, or it might be collected while it runs
        self._heard = False  # anything, since the scan was started
        self._heard_at_s = self._checked_at_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it scans, as far as anybody has noticed."""
        return self._scan is not None

    @property
    def is_active(self) -> bool:
        """Whether it asks devices for their scan responses."""
        return self._active

    @contextmanager
    def listening(self, mac: str, hear: Hear) -> Iterator[None]:
        """Call `hear` with every advert of a device; it must not block."""
        self._listeners.setdefault(mac, []).append(hear)
        try:
            yield
        finally:
            self._listeners[mac].remove(hear)
            if not self._listeners[mac]:
                del self._listeners[mac]
                self._seen.pop(mac, None)

    async def start(self) -> None:
        """Begin to scan. Raises DeviceUnavailable."""
        where = f"Bluetooth adapter {self.adapter.name}"
        try:
            async with asyncio.timeout(ANSWER_S):
                if not self._active:
                    try:
                        self._scan = await self._started("passive")
                    except BleakError as error:
                        if self._mode == "passive":
                            raise
                        self._active = True
                        self._ctx.log.warning("%s cannot scan passively (%s); scanning actively", where, error)
                if self._scan is None:
                    self._scan = await self._started("active")
        except (OSError, EOFError, TimeoutError, BleakError) as error:
            raise explain(error, where) from error
        self._heard = False
        self._heard_at_s = self._checked_at_s = time.monotonic()

    async def stop(self) -> None:
        """End the scan; errors are of no interest any more."""
        scan, self._scan = self._scan, None
        if scan is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await scan.stop()
        except (OSError, EOFError, TimeoutError, BleakError, AssertionError) as error:
            self._ctx.log.debug("the scan of %s was not stopped properly: %s", self.adapter.name, error)

    def close(self) -> None:
        """Only for a sharer that was cut off while closing: the others stop the scan before they let it go."""
        self._listeners.clear()
        if self._scan is not None:
            self._ending = asyncio.get_running_loop().create_task(self.stop(), name="ending a BLE scan")

    def patience_s(self) -> float:
        """How long a listener may wait for an advert before it should call `watch`."""
        check_s = min(CHECK_S, self._watchdog_s)
        return max(0.0, max(self._heard_at_s, self._checked_at_s) + check_s - time.monotonic())

    async def watch(self) -> None:
        """Look after a silent scan: is the adapter there, is it time to start anew? Raises DeviceUnavailable."""
        if self._scan is None:
            raise DeviceUnavailable(f"Bluetooth adapter {self.adapter.name}: the scan was given up, opening it again")
        if self.patience_s() > 0:
            return
        self._checked_at_s = time.monotonic()
        await find_adapter(self.adapter.name)
        silent_s = time.monotonic() - self._heard_at_s
        if silent_s < self._watchdog_s:
            return
        if self._mode == "auto" and not self._heard:
            self._active = not self._active  # perhaps the controller's filter lets nothing through
        await self.stop()
        await self.start()
        self.restarts += 1
        how = "active" if self._active else "passive"
        self.why = (
            f"Bluetooth adapter {self.adapter.name}: no advert of any device for {silent_s:.0f} s, so the scan was "
            f"started anew ({how}); if this repeats, move the adapter into range, or unplug and plug it"
        )
        self._ctx.log.warning("%s", self.why)

    async def _started(self, mode: Literal["passive", "active"]) -> BleakScanner:
        args: BlueZScannerArgs = {"adapter": self.adapter.name}
        if mode == "passive":
            args["or_patterns"] = list(PATTERNS)
        else:
            args["filters"] = {"DuplicateData": True}
        scan = BleakScanner(self._on_advert, scanning_mode=mode, bluez=args)
        await scan.start()
        return scan

    def _on_advert(self, device: BLEDevice, data: AdvertisementData) -> None:
        listeners = self._listeners.get(device.address)
        self._heard = True
        self._heard_at_s = time.monotonic()
        if listeners is None:
            return
        properties = data.platform_data[1]
        told = (properties.get("ManufacturerData"), properties.get("ServiceData"), properties.get("RSSI"))
        last = self._seen.get(device.address)
        # The objects are the same ones as before unless BlueZ told them anew, however equal they are.
        if last is not None and all(now is then for now, then in zip(told, last, strict=True)):
            return
        self._seen[device.address] = told
        advert = Advert(
            device.address,
            data.local_name or device.name or "",
            None if data.rssi == -127 else data.rssi,  # bleak's word for none
            data.manufacturer_data,
            data.service_data,
            tuple(data.service_uuids),
        )
        for hear in tuple(listeners):
            hear(advert, device)


async def open_scanner(adapter: str, mode: str, watchdog_s: float, ctx: DriverContext) -> Scanner:
    """Find the adapter and start its scan. Raises DeviceUnavailable."""
    scanner = Scanner(await find_adapter(adapter), mode, watchdog_s, ctx)
    await scanner.start()
    return scanner
