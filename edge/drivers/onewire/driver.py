"""A 1-wire thermometer: reads its file, one sensor of a bus at a time, and never in the event loop.

A read blocks for as long as the sensor measures (0.75 s), and a bus in trouble can hold it for ever, where nothing
ends it. So each read has a thread of its own, which nobody waits for at the end; while one hangs, its driver starts no
other, so that a dead bus costs one thread per sensor.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.links import Link
from edge.drivers.onewire.codec import FILE_MAX_BYTES, Temperature, Untrue, read_milli, read_slave
from edge.drivers.onewire.config import OneWireConfig
from wire.observation import Observation, Reading

SHOWN = 8  # sensors named in a message
_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


class OneWireDriver:
    """One sensor."""

    config_type: ClassVar = OneWireConfig

    def __init__(self, name: str, config: OneWireConfig, ctx: DriverContext) -> None:
        self._channel = f"{name}/{config.point}"
        self._config = config
        self._ctx = ctx
        self._path = config.bus / config.sensor / config.file
        self._where = f"1-wire sensor {config.sensor}"
        self._link: Link | None = None
        self._open = AsyncExitStack()
        self._reading: asyncio.Future[str] | None = None  # under way in a thread

    @property
    def channels(self) -> Sequence[tuple[str, str]]:
        """The temperature."""
        return [(self._channel, "CEL")]

    async def __aenter__(self) -> Self:
        why = await _in_thread(lambda: _absent(self._config), "1-wire look")
        if why:
            raise DeviceUnavailable(f"{self._where}: {why}")
        self._link = await self._open.enter_async_context(self._ctx.links.lease(self._config.link, _open_turns))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link = None
        await self._open.aclose()

    async def poll(self) -> list[Observation]:
        """One measurement; the stamp is taken when it was done."""
        link = self._link
        if link is None:
            raise DeviceUnavailable(f"{self._where}: not open")
        async with link.lock:
            text = await self._read()
            stamp = self._ctx.clock.stamp()
        try:
            found = self._decoded(text)
        except Untrue as error:
            raise BadReply(f"{self._where}: {error}") from None
        return [Reading(self._channel, "CEL", found.mantissa, found.exponent, stamp, found.quality)]

    def _decoded(self, text: str) -> Temperature:
        if self._config.file == "temperature":
            return read_milli(text)
        return read_slave(text, self._config.sensor[:2])

    async def _read(self) -> str:
        timeout_s = self._config.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                if self._reading is not None:  # of a poll that was cut off: its answer is as old as that
                    await asyncio.wait({self._reading})
                self._reading = _in_thread(lambda: _text(self._path), f"1-wire {self._config.sensor}")
                return await asyncio.shield(self._reading)
        except TimeoutError:
            raise DeviceUnavailable(
                f"{self._where}: no answer within {timeout_s:g} s; a measurement takes 0.75 s, so the bus hangs: check "
                "the cable, and the 4.7 kΩ resistor between data and 3.3 V"
            ) from None
        except OSError as error:
            if error.errno in _GONE:
                raise DeviceUnavailable(f"{self._where}: {_absent(self._config) or error}") from error
            raise BadReply(f"{self._where}: {error.strerror or error}; is its cable sound?") from error
        finally:
            if self._reading is not None and self._reading.done():
                self._reading = None


class _Turns:
    """The bus as a shared link: there is nothing to open, only turns to take."""

    def close(self) -> None:
        """Nothing is open."""


async def _open_turns() -> _Turns:
    return _Turns()


def _in_thread(work: Callable[[], str], name: str) -> asyncio.Future[str]:
    """What `work` returns, from a thread that does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def run() -> None:
        try:
            outcome: str | BaseException = work()
        except BaseException as error:  # noqa: BLE001 - handed on
            outcome = error
        try:
            loop.call_soon_threadsafe(_settle, future, outcome)
        except RuntimeError:  # the loop has ended meanwhile: nobody asks any more
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _settle(future: asyncio.Future[str], outcome: str | BaseException) -> None:
    if future.cancelled():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # a poll that was cut off never fetches it
    else:
        future.set_result(outcome)


def _text(path: Path) -> str:
    with path.open("rb", buffering=0) as file:  # sysfs gives it all at once, and measures anew at a second look
        return (file.read(FILE_MAX_BYTES) or b"").decode("latin-1")


def _absent(config: OneWireConfig) -> str:
    """Why there is no such sensor; empty when there is."""
    if (config.bus / config.sensor).is_dir():
        return ""
    if not config.bus.is_dir():
        return (
            f"there is no 1-wire bus ({config.bus}); on a Raspberry Pi add `dtoverlay=w1-gpio` to "
            "/boot/firmware/config.txt and restart"
        )
    there = sorted(path.name for path in config.bus.iterdir() if path.name[2:3] == "-")
    seen = ", ".join(there[:SHOWN]) + (" …" if len(there) > SHOWN else "")
    return f"not on the bus; is it connected? Seen there: {seen or 'no sensor at all'}"
