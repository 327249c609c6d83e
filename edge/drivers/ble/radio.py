"""A driver's part of the scan that all BLE devices of an adapter share.

Each device looks for a missing adapter by itself, every other second; what one of them found holds for all of them for
ABSENT_S, so that 400 devices do not ask D-Bus 200 times a second.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from weakref import WeakKeyDictionary

from edge.drivers.base import DeviceUnavailable, DriverContext
from edge.drivers.ble.config import RadioConfig
from edge.drivers.ble.scanner import Hear, Scanner, open_scanner
from edge.drivers.links import Link, Links

ABSENT_S = 1.0
_absent: WeakKeyDictionary[Links, dict[str, tuple[float, str]]] = WeakKeyDictionary()


class Radio:
    """Opens with the first of its sharers, stops scanning with the last one."""

    def __init__(self, config: RadioConfig, ctx: DriverContext) -> None:
        self._config = config
        self._ctx = ctx
        self._link: Link | None = None
        self._scanner: Scanner | None = None
        self._open = AsyncExitStack()

    async def open(self, hear: Hear) -> Scanner:
        """Share the scan and listen to the device's adverts. Raises DeviceUnavailable."""
        link = await self._open.enter_async_context(self._ctx.links.lease(self._config.link, self._open_scanner))
        try:
            scanner: Scanner | None = link.resource
            if scanner is None:
                raise DeviceUnavailable(f"{self._config.adapter}: given up by a neighbour meanwhile, opening it again")
            self._link, self._scanner = link, scanner
            self._open.enter_context(scanner.listening(self._config.mac, hear))
        except BaseException:
            await self.close()
            raise
        return scanner

    async def close(self) -> None:
        """Let go of the scan; harmless when it is not open."""
        link, scanner = self._link, self._scanner
        self._link = self._scanner = None
        try:
            if link is not None and scanner is not None:
                async with link.lock:  # whoever comes meanwhile waits, and opens a scan of its own
                    if link.users == 1 and link.resource is scanner:
                        link.resource = None
                        await scanner.stop()
        finally:
            await self._open.aclose()

    async def watch(self) -> None:
        """Look after a silent scan, one sharer at a time. Raises DeviceUnavailable; the scan is given up then."""
        link, scanner = self._link, self._scanner
        if link is None or scanner is None:
            raise DeviceUnavailable(f"{self._config.adapter}: not open")
        async with link.lock:
            try:
                await scanner.watch()
            except DeviceUnavailable:
                if link.resource is scanner:
                    link.resource = None
                    await scanner.stop()
                raise

    async def _open_scanner(self) -> Scanner:
        config = self._config
        absent = _absent.setdefault(self._ctx.links, {})
        found_at_s, why = absent.get(config.link, (0.0, ""))
        if why and time.monotonic() - found_at_s < ABSENT_S:
            raise DeviceUnavailable(why)
        try:
            return await open_scanner(config.adapter, config.scan, config.watchdog_s, self._ctx)
        except DeviceUnavailable as error:
            absent[config.link] = (time.monotonic(), str(error))
            raise
