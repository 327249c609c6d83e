"""Opening and closing a serial port for a driver that listens on it: one way, in our errors."""

from __future__ import annotations

import asyncio

import serialx

from edge.drivers.base import DeviceUnavailable


async def open_port(port: serialx.AsyncSerial, name: str, *, timeout_s: float, advice: str) -> serialx.AsyncSerial:
    """The port, open. `name` and `advice` are for people. Raises DeviceUnavailable, with nothing left open."""
    try:
        async with asyncio.timeout(timeout_s):
            await port.open()
    except TimeoutError:
        port.abort()
        raise DeviceUnavailable(f"{name}: cannot be opened within {timeout_s:g} s") from None
    except (OSError, ValueError) as error:
        port.abort()
        raise DeviceUnavailable(f"{name}: {error}; {advice}") from error
    return port


async def close_port(port: serialx.AsyncSerial | None, *, timeout_s: float) -> None:
    """Close it at once, and wait until it is; None was never open."""
    if port is not None:
        port.abort()
        async with asyncio.timeout(timeout_s):
            await port.wait_closed()
