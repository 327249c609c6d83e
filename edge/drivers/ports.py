"""Where a configured serial port is now, and why it cannot be used if it cannot: one answer for every serial driver.

A driver calls `find_port` each time it opens, so that an adapter that was unplugged and came back as another
/dev/ttyUSBn is found again without a restart. A port is named

    /dev/serial/by-id/…     by its adapter (udev's link)         usb:…     the same without udev (usb_port.py)
    /dev/serial/by-path/…   by the socket it is plugged into     /dev/…    by the kernel's number, which may change

or, for serialx, by a URL (`socket://`, `rfc2217://`), which is left as it is. The looking is done in a thread: it
reads sysfs and, for the process that holds a port, /proc, which takes tens of milliseconds on a small machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import termios
from pathlib import Path
from typing import Annotated

import msgspec

from edge.drivers.base import DeviceUnavailable, DriverMisconfigured
from edge.drivers.port_trouble import holders, permission_trouble
from edge.drivers.usb_port import NAME_PATTERN, PREFIX, UsbPort, parse_name, usb_ports

SHOWN = 5  # adapters named in a message

#: The type of a configuration's key `port`.
Port = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=4096,
        pattern=rf"^(/[^\x00]*|{NAME_PATTERN}|[a-z0-9+.-]+://.+)\Z",
        description="a port such as /dev/serial/by-id/…, usb:SERIALNUMBER, usb:VID:PID or /dev/ttyUSB0",
    ),
]


async def find_port(port: str, what: str = "adapter") -> str:
    """The path (or URL) by which to open a port now. what: a word for people, for example `scanner`.

    Raises DeviceUnavailable when it is not there, not ours to open, or in somebody's hands;
    DriverMisconfigured for a name that can never be one.
    """
    return port if "://" in port else await asyncio.to_thread(look_for, port, what)


def look_for(port: str, what: str = "adapter") -> str:
    """`find_port`, in the calling thread."""
    path = _usb_path(port, what) if port.startswith(PREFIX) else port
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a NUL in a path is a ValueError here
    except FileNotFoundError:
        raise DeviceUnavailable(_absent(port, what)) from None
    except (OSError, ValueError) as error:
        raise DeviceUnavailable(f"{port}: cannot be looked at ({error})") from error
    if not stat.S_ISCHR(mode):
        raise DeviceUnavailable(f"{_named(port, path)}: this is no serial port; see /dev/serial/by-id for those here")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise DeviceUnavailable(f"{_named(port, path)}: {permission_trouble(path)}")
    if busy := holders(path):
        raise DeviceUnavailable(f"{_named(port, path)}: busy, held by {busy}; stop it, or give it another port")
    return path


def open_trouble(path: str, error: OSError | ValueError | termios.error) -> str:
    """Why a port that was found could not be opened, and what to do; empty when the error says all there is."""
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(error, PermissionError):
        return permission_trouble(path)
    if code in {errno.EBUSY, errno.EAGAIN}:
        by = holders(path) or f"a process that we may not see (`sudo fuser -v {path}` names it), or another device here"
        return f"busy, held by {by}; stop it, or give it another port"
    if code in {errno.ENXIO, errno.ENODEV, errno.EIO, errno.ENOENT}:
        return f"the device behind it is gone ({os.strerror(code)}); unplug it and plug it in again"
    if code in {errno.ENOTTY, errno.EINVAL} or isinstance(error, termios.error):
        return f"this is no serial port, or it cannot be set like that ({error})"
    return ""


def keep_to_ourselves(descriptor: int) -> None:
    """Refuse the open port to every later process (TIOCEXCL of tty_ioctl(4)); root is not held back by it.

    Ends when the port is closed. Not done on a pseudo-terminal, where it would outlive us for as long as the far end
    is open: a gateway that was killed could not come back.
    """
    with contextlib.suppress(OSError):  # no terminal, or one that knows no such thing
        if not os.ttyname(descriptor).startswith("/dev/pts/"):
            fcntl.ioctl(descriptor, termios.TIOCEXCL)


def let_go(descriptor: int) -> None:
    """Take back what keeps others from a port that is being closed: closing itself is done by a thread, later."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        fcntl.ioctl(descriptor, termios.TIOCNXCL)


def _usb_path(name: str, what: str) -> str:
    try:
        wanted = parse_name(name)
    except ValueError as error:
        raise DriverMisconfigured(str(error)) from error
    found = [port for port in usb_ports() if wanted.matches(port)]
    if not found:
        raise DeviceUnavailable(_absent(name, what))
    if len(found) > 1:
        raise DeviceUnavailable(
            f"{name}: {len(found)} ports answer to this name ({_listed(found)}); add @IF where they are one adapter's, "
            "else name the socket by its /dev/serial/by-path/…"
        )
    return found[0].path


def _absent(port: str, what: str) -> str:
    there = usb_ports()
    now = f"plugged in now: {_listed(there)}" if there else "no USB serial adapter is plugged in"
    return f"{port}: no such port; is the {what} plugged in? (see /dev/serial/by-id; {now})"


def _listed(ports: list[UsbPort]) -> str:
    names = [f"{port.name}@{port.interface} = {port.path}" for port in ports[:SHOWN]]
    return ", ".join(names) + (f" and {len(ports) - SHOWN} more" if len(ports) > SHOWN else "")


def _named(port: str, path: str) -> str:
    real = str(Path(path).resolve())
    return port if real == port else f"{port} ({real})"
