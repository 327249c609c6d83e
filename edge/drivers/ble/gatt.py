"""A BLE device that must be connected to: its Environmental Sensing Service, or the log that it keeps.

Each poll finds the device's advert in the shared scan, connects, reads and disconnects, all within `timeout_s`; an
adapter makes one connection at a time, and the scan goes on meanwhile. What a log says is stamped with the time that
the device wrote down, counted from this gateway's clock; its monotonic time is that of the download, so that a later
correction of the clock moves it as it moves the clock it was counted from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ClassVar, Self

from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.exc import BleakError

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.ble.bluez import explain
from edge.drivers.ble.codec import environment, ruuvi_log
from edge.drivers.ble.codec.advert import Advert, AdvertError, Value
from edge.drivers.ble.config import GattConfig
from edge.drivers.ble.radio import Radio
from edge.drivers.ble.scanner import Scanner
from wire.observation import Observation, Reading, Stamp

FRESH_S = 30.0  # BlueZ forgets a device that long after its last advert
TURN_S = 30.0  # the supervisor's patience with a driver is 60 s
ENTRIES_MAX = 20_000  # of one download: a RuuviTag keeps 10 days of 3 values each 5 minutes, 8,640
NEVER_S = 1e6  # longer than any of our own limits, which are the ones that hold
DISCONNECT_S = 2.0
ROUNDED_S = 2  # by which an entry seems younger in the next download; a tag writes one each 5 minutes
AHEAD_S = 60  # an entry that is further in the future than this was written by a clock that is wrong


class GattDriver:
    """One device, connected to at each poll."""

    config_type: ClassVar = GattConfig

    def __init__(self, name: str, config: GattConfig, ctx: DriverContext) -> None:
        self._name = name
        self._config = config
        self._ctx = ctx
        self._radio = Radio(config, ctx)
        self._scanner: Scanner | None = None
        self._device: tuple[BLEDevice, float] | None = None
        self._rssi_dbm: int | None = None
        self._found = asyncio.Event()
        self._units: dict[str, str] = {}
        self._log_through_ms: int | None = None  # monotonic time, which nobody sets
        self._log_reached_ms: int | None = None  # the same, of the exchange that is under way

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """Those read so far."""
        return [(f"{self._name}/{point}", unit) for point, unit in self._units.items()]

    async def __aenter__(self) -> Self:
        self._scanner = await self._radio.open(self._hear)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scanner = None
        await self._radio.close()

    async def poll(self) -> list[Observation]:
        """One connection. Raises DeviceUnavailable, or BadReply for a device that answers with nonsense."""
        scanner = self._scanner
        if scanner is None:
            raise DeviceUnavailable(f"{self._name}: not open")
        if scanner.patience_s() == 0:
            await self._radio.watch()
        device = await self._find()
        try:
            async with asyncio.timeout(TURN_S):
                await scanner.connecting.acquire()
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._where}: the adapter was busy with other devices for {TURN_S:g} s"
            ) from None
        self._log_reached_ms = self._log_through_ms
        try:
            readings = await self._exchange(device)
        finally:
            scanner.connecting.release()
        self._log_through_ms = self._log_reached_ms  # not before: what was cut off at its end is read again
        for reading in readings:
            self._units[reading.channel.partition("/")[2]] = reading.unit
        return list(readings)

    async def _exchange(self, device: BLEDevice) -> list[Reading]:
        timeout_s = self._config.timeout_s
        connected = asyncio.create_task(self._connected(device), name=f"{self._name}: connected")
        try:
            done, _ = await asyncio.wait({connected}, timeout=timeout_s)
            if not done:
                raise TimeoutError
            return connected.result()
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._where}: no answer within {timeout_s:g} s; is it in range, and not connected to a phone?"
            ) from None
        except AdvertError as error:
            raise BadReply(f"{self._where}: {error}") from error
        except (BleakError, OSError, EOFError) as error:
            raise explain(error, self._where) from error
        finally:
            await _ended(connected)

    async def _connected(self, device: BLEDevice) -> list[Reading]:
        async with BleakClient(device, timeout=NEVER_S, bluez={"adapter": self._adapter}) as client:
            if self._config.read == "environment":
                return await self._read_environment(client)
            return await self._read_log(client)

    async def _read_environment(self, client: BleakClient) -> list[Reading]:
        found: list[Value] = []
        # By handle: which of two thermometers is the first must not change from one connection to the next.
        for _, characteristic in sorted(client.services.characteristics.items()):
            if characteristic.uuid in environment.CHARACTERISTICS and "read" in characteristic.properties:
                data = bytes(await client.read_gatt_char(characteristic))
                found.append(environment.decode(characteristic.uuid, data))
        if not found:
            offered = ", ".join(service.uuid for service in client.services) or "none"
            raise BadReply(
                f"{self._where}: no characteristic of the Environmental Sensing Service (0x181A); services: {offered}"
            )
        stamp = self._ctx.clock.stamp()
        if self._rssi_dbm is not None:
            found.append(Value("rssi", "DBM", self._rssi_dbm))
        return [self._reading(value, stamp) for value in _numbered(found)]

    async def _read_log(self, client: BleakClient) -> list[Reading]:
        stamp = self._ctx.clock.stamp()
        now_s = stamp.observed_at_ms // 1000
        since_s = max(0, now_s - self._log_age_s(stamp))
        entries = await self._download(client, now_s, since_s)
        fresh = sorted((e for e in entries if since_s < e.at_s <= now_s + AHEAD_S), key=lambda entry: entry.at_s)
        if len(fresh) < len(entries):
            self._ctx.log.info(
                "%s: %d entries of its log were older than asked for, or in the future",
                self._where,
                len(entries) - len(fresh),
            )
        if fresh:
            self._log_reached_ms = stamp.monotonic_ms - (now_s - fresh[-1].at_s) * 1000
        return [self._reading(value, _then(stamp, entry.at_s)) for entry in fresh for value in entry.values]

    def _log_age_s(self, now: Stamp) -> int:
        """How far back a look at the log goes."""
        if self._log_through_ms is None:
            return round(self._config.history_h * 3600)
        return round((now.monotonic_ms - self._log_through_ms) / 1000) - ROUNDED_S

    async def _download(self, client: BleakClient, now_s: int, since_s: int) -> list[ruuvi_log.Entry]:
        entries: list[ruuvi_log.Entry] = []
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await client.start_notify(ruuvi_log.NOTIFY, _collector(entries, done))
        try:
            air = self._config.read == "ruuvi_air_log"
            question = ruuvi_log.request(now_s=now_s, since_s=since_s, air=air)
            await client.write_gatt_char(ruuvi_log.WRITE, question, response=False)
            while not done.done():  # a device that is lost meanwhile says nothing more
                if not client.is_connected:
                    raise DeviceUnavailable(f"{self._where}: lost after {len(entries)} entries of its log")
                await asyncio.wait({done}, timeout=0.5)
            done.result()
        finally:
            done.cancel()
        return entries

    async def _find(self) -> BLEDevice:
        known = self._device
        if known is not None and time.monotonic() - known[1] < FRESH_S:
            return known[0]
        self._found.clear()
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._found.wait()
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._where}: no answer, not heard within {self._config.timeout_s:g} s; is it in range, is its "
                "battery good, and is it not connected to a phone?"
            ) from None
        assert self._device is not None  # set before the event
        return self._device[0]

    def _hear(self, advert: Advert, device: BLEDevice) -> None:
        self._device = (device, time.monotonic())
        self._rssi_dbm = advert.rssi_dbm
        self._found.set()

    def _reading(self, value: Value, stamp: Stamp) -> Reading:
        channel = f"{self._name}/{value.point}"
        return Reading(channel, value.unit, value.mantissa, value.exponent, stamp, value.quality)

    @property
    def _where(self) -> str:
        return f"{self._name} ({self._config.mac})"

    @property
    def _adapter(self) -> str:
        assert self._scanner is not None  # asked only while open
        return self._scanner.adapter.name


async def _ended(task: asyncio.Task[list[Reading]]) -> None:
    """Cut a connection off. bleak disconnects when it is cancelled, and waits for the answer as long as it takes."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=DISCONNECT_S)


def _collector(entries: list[ruuvi_log.Entry], done: asyncio.Future[None]) -> Callable[[object, bytearray], None]:
    """What takes the notifications of a log: ends `done` with the last one, or with what is wrong."""

    def take(_sender: object, frame: bytearray) -> None:
        if done.done():
            return
        try:
            found = ruuvi_log.decode(bytes(frame))
            if found is not None and len(entries) + len(found) > ENTRIES_MAX:
                raise AdvertError(f"Ruuvi log: more than {ENTRIES_MAX} entries; ask for less with history_h")
        except AdvertError as error:
            done.set_exception(error)
            return
        if found is None:
            done.set_result(None)
        else:
            entries.extend(found)

    return take


def _then(now: Stamp, at_s: int) -> Stamp:
    """The stamp of a moment in the past, told by a device in the time of our clock as it is now."""
    return Stamp(at_s * 1000, now.monotonic_ms, now.boot_id, now.clock)


def _numbered(values: list[Value]) -> list[Value]:
    """Several sensors of one kind are told apart by their order: temperature, temperature_2."""
    counted: dict[str, int] = {}
    found = []
    for value in values:
        counted[value.point] = nth = counted.get(value.point, 0) + 1
        point = value.point if nth == 1 else f"{value.point}_{nth}"
        found.append(Value(point, value.unit, value.mantissa, value.exponent, value.quality))
    return found
