"""Opening and closing a serial port for a driver that listens on it: one way, in our errors."""

from __future__ import annotations

import asyncio
import io
import termios

import serialx

from edge.drivers.base import DeviceUnavailable
from edge.drivers.ports import find_port, keep_to_ourselves, open_trouble


async def open_found(
    name: str,
    what: str,
    *,
    timeout_s: float,
    baudrate: int,
    bytesize: int = 8,
    parity: str = "N",
    stopbits: int = 1,
    hint: str = "",
) -> serialx.AsyncSerial:
    """The configured port, found where it is now, set and open. what: a word for people, for example `scanner`.

    hint: who else may have it open. Raises DeviceUnavailable, and DriverMisconfigured for a name that can be no port.
    """
    path = await find_port(name, what)
    port = serialx.async_serial_for_url(
        path,
        baudrate=baudrate,
        byte_size=bytesize,
        parity=serialx.Parity(parity),
        stopbits=serialx.StopBits(stopbits),
    )
    advice = f"is the {what} plugged in, and the port free{hint}?"
    return await open_port(port, name, timeout_s=timeout_s, advice=advice, path=path)


async def open_port(
    port: serialx.AsyncSerial, name: str, *, timeout_s: float, advice: str, path: str | None = None
) -> serialx.AsyncSerial:
    """The port, open. Raises DeviceUnavailable, with nothing left open.

    `name` (as configured) and `advice` are for people; path: what `ports.find_port` found under the name.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await port.open()
    except TimeoutError:
        port.abort()
        raise DeviceUnavailable(f"{name}: cannot be opened within {timeout_s:g} s") from None
    except (OSError, ValueError, termios.error) as error:
        port.abort()
        why = open_trouble(path or name, error) or f"{error}; {advice}"
        raise DeviceUnavailable(f"{name}: {why}") from error
    if (number := descriptor(port)) is not None:
        keep_to_ourselves(number)
    return port


def descriptor(port: serialx.AsyncSerial) -> int | None:
    """The file descriptor of an open port; None for one that is none here (`socket://`) or is closing."""
    opened = port.transport.get_extra_info("serial")
    try:
        return None if opened is None or port.transport.is_closing() else int(opened.fileno())
    except io.UnsupportedOperation:
        return None


async def close_port(port: serialx.AsyncSerial | None, *, timeout_s: float) -> None:
    """Close it at once, and wait until it is; None was never open."""
    if port is not None:
        port.abort()
        async with asyncio.timeout(timeout_s):
            await port.wait_closed()
