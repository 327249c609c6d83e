"""A BLE device that broadcasts: hands on what its adverts measure. Shares one scan with all others of its adapter.

Stamps are taken when an advert arrives. Between arrival and disk stand at most PENDING_MAX readings; what a slow disk
makes us miss beyond is counted and told, and the next advert says how it is then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

from bleak.backends.device import BLEDevice

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext, Emit
from edge.drivers.ble.codec.advert import Advert, AdvertError, Message
from edge.drivers.ble.config import FORMATS, BleConfig
from edge.drivers.ble.radio import Radio
from edge.drivers.ble.scanner import Scanner
from edge.drivers.ble.tracker import AdvertDecoder, BthomeDecoder, RuuviDecoder, Tracker
from edge.drivers.ble.vendor import VendorDecoder
from wire.observation import Reading

PENDING_MAX = 2_000  # readings; some minutes of a talkative device, 200 KB


class _VendorAdverts:
    """A vendor's parser as the tracker wants it; which data it reads only it knows, so all of an advert counts."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._decoder: VendorDecoder | None = None  # imported with the first advert

    def raw(self, advert: Advert) -> bytes | None:
        parts = [b"%d" % key + data for key, data in sorted(advert.manufacturer_data.items())]
        parts += [key.encode() + data for key, data in sorted(advert.service_data.items())]
        return b"\0".join(parts) or None

    def decode(self, advert: Advert, now_ms: int) -> Message:  # noqa: ARG002 - the protocol's
        if self._decoder is None:
            self._decoder = VendorDecoder(self._family)
        return self._decoder.decode(advert, time.monotonic())


def decoder_for(config: BleConfig) -> AdvertDecoder:
    """The decoder of a device's format."""
    if config.format == "bthome":
        return BthomeDecoder(config.mac, config.key)
    if config.format == "ruuvi":
        return RuuviDecoder()
    assert config.format in FORMATS  # by BleConfig.problems
    return _VendorAdverts(config.format)


class BleDriver:
    """One broadcasting device. A neighbour that sends nonsense costs it nothing."""

    config_type: ClassVar = BleConfig

    def __init__(self, name: str, config: BleConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._radio = Radio(config, ctx)
        self._tracker = Tracker(decoder_for(config), points=frozenset(config.points), sample_ms=config.sample_ms)
        self._scanner: Scanner | None = None
        self._pending: list[Reading] = []
        self._wrong: list[str] = []
        self._missed = 0
        self._restarts = 0
        self._news = asyncio.Event()

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """Those heard of so far: what a device measures, only its adverts tell."""
        return [(f"{self._name}/{point}", unit) for point, unit in self._tracker.units.items()]

    async def __aenter__(self) -> Self:
        self._scanner = await self._radio.open(self._hear)
        self._restarts = self._scanner.restarts
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scanner = None
        await self._radio.close()

    async def listen(self, emit: Emit) -> None:
        """Hand on readings until cancelled. Raises BadReply for adverts that cannot be believed, DeviceUnavailable."""
        while True:
            await self._wait()
            if self._pending:
                # Not out of the list before they are safe: cancelled in between, they would be lost.
                batch = tuple(self._pending)
                await emit(batch)
                del self._pending[: len(batch)]
            self._complain()

    async def _wait(self) -> None:
        scanner = self._scanner
        if scanner is None:
            raise DeviceUnavailable(f"{self._config.address}: not open")
        if not self._pending and not self._wrong:
            self._news.clear()
            try:
                async with asyncio.timeout(scanner.patience_s()):
                    await self._news.wait()
            except TimeoutError:
                await self._radio.watch()
        if scanner.restarts != self._restarts:
            self._restarts = scanner.restarts
            raise BadReply(scanner.why)

    def _hear(self, advert: Advert, _device: BLEDevice) -> None:
        stamp = self._ctx.clock.stamp()
        try:
            values = self._tracker.take(advert, stamp.monotonic_ms)
        except AdvertError as error:
            if not self._wrong:
                self._wrong.append(f"{self._name} ({self._config.mac}): {error}")
                self._news.set()
            return
        if not values:
            return
        if len(self._pending) + len(values) > PENDING_MAX:
            self._missed += len(values)
            return
        self._pending += [
            Reading(f"{self._name}/{value.point}", value.unit, value.mantissa, value.exponent, stamp, value.quality)
            for value in values
        ]
        self._news.set()

    def _complain(self) -> None:
        if self._missed:
            missed, self._missed = self._missed, 0
            raise BadReply(f"{self._name}: {missed} readings were missed while the disk was too slow to take them")
        if self._wrong:
            raise BadReply(self._wrong.pop())
