"""A serial line of sensors that speak in lines: opened as configured, and shared by those that are asked."""

from __future__ import annotations

import asyncio
import contextlib
import time

import serialx

from edge.drivers.base import DeviceUnavailable
from edge.drivers.ports import let_go
from edge.drivers.serial_line.config import SerialLineConfig
from edge.drivers.serial_port import descriptor, open_found

DRAIN_BYTES = 65_536
LATE_MAX_S = 5.0  # later than this after its time-out nothing answers


async def open_line(config: SerialLineConfig) -> serialx.AsyncSerial:
    """The port, found, open and set. Raises DeviceUnavailable."""
    return await open_found(
        config.port,
        "sensor",
        timeout_s=config.timeout_s,
        baudrate=config.baudrate,
        bytesize=config.bytesize,
        parity=config.parity,
        stopbits=config.stopbits,
    )


class SharedLine:
    """An open line; the caller holds its link's lock. lost: it has to be opened again.

    Answers do not say who gives them. So after one that did not come in time the line rests for as long as that once
    more, whoever wants to ask: an answer that is only late is thrown away, not taken for a neighbour's.
    """

    def __init__(self, port: serialx.AsyncSerial, name: str) -> None:
        self._port = port
        self._name = name
        self.lost = False
        self._late_until_s = 0.0

    async def rest(self) -> None:
        """Wait until no answer to an earlier request can come any more."""
        if (rest_s := self._late_until_s - time.monotonic()) > 0:
            await asyncio.sleep(rest_s)

    def unanswered(self, timeout_s: float) -> None:
        """A request has had no answer within its time, or nobody waited for it."""
        self._late_until_s = time.monotonic() + min(timeout_s, LATE_MAX_S)

    async def ask(self, request: bytes) -> None:
        """Send a request; what came before it (a late answer to another) is thrown away. Raises DeviceUnavailable."""
        try:
            await self._drain()
            await self._port.write(request)
        except OSError as error:
            raise self._gone(error) from error

    async def read(self, size: int) -> bytes:
        """What has arrived, at least one byte. Raises DeviceUnavailable."""
        try:
            data = await self._port.read(size)
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone("it was closed at the other end")
        return data

    def close(self) -> None:
        """Close it; the lock is gone at once, so that whoever comes next can have the port."""
        if (number := descriptor(self._port)) is not None:
            let_go(number)
        self._port.abort()

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0):  # what is there comes at once
                    if not await self._port.read(DRAIN_BYTES):
                        raise self._gone("it was closed at the other end")

    def _gone(self, why: object) -> DeviceUnavailable:
        self.lost = True
        return DeviceUnavailable(f"{self._name}: {why}; is the adapter still plugged in?")
