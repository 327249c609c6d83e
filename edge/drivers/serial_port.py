"""Opening and closing a serial port for a driver that listens on it: one way, in our errors."""

from __future__ import annotations

import asyncio
import io
import termios

import serialx

from edge.drivers.base import DeviceUnavailable
from edge.drivers.ports import keep_to_ourselves, open_trouble


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
