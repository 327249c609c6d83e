"""The serial ports of this machine: their stable names, and what USB says of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import serialx

from edge.drivers import usb_port

BY_ID = Path("/dev/serial/by-id")
BY_PATH = Path("/dev/serial/by-path")
PORTS_MAX = 64
INPUT_MAJOR = 13  # of input devices: Linux, Documentation/admin-guide/devices.txt


class Port(msgspec.Struct, frozen=True):
    """One port. path: the name to configure; it stays when adapters are plugged in another order.

    product, usb_serial: as the device says; empty for ports that are not USB. vid, pid: of USB, 0 where there is none.
    """

    path: str
    product: str = ""
    usb_serial: str = ""
    vid: int = 0
    pid: int = 0

    @property
    def label(self) -> str:
        """For people: path, product and serial number."""
        told = " ".join(part for part in (self.product, f"#{self.usb_serial}" if self.usb_serial else "") if part)
        return f"{self.path} ({told})" if told else self.path


def usb_ports() -> list[Port]:
    """The USB serial ports; built-in ones are named by hand, since nothing tells whether anything is wired to them."""
    found = [
        Port(
            stable_name(info.device),
            product=" ".join(part for part in (info.manufacturer, info.product) if part)[:120],
            usb_serial=(info.serial_number or "")[:80],
            vid=info.vid or 0,
            pid=info.pid or 0,
        )
        for info in serialx.list_serial_ports()
        if info.vid is not None
    ]
    return sorted(found, key=lambda port: port.path)[:PORTS_MAX]


def named_ports(paths: Iterable[str]) -> list[Port]:
    """Ports by path, with what USB says of them where they are USB ports."""
    known = {os.path.realpath(port.path): port for port in usb_ports()}
    return [known.get(os.path.realpath(path), Port(path)) for path in paths][:PORTS_MAX]


def ports_in(folder: Path) -> list[Port]:
    """Every terminal in a folder, such as one of a site's own udev rules. Raises OSError."""
    terminals = (each for each in sorted(folder.iterdir()) if each.is_char_device() and not _is_input(each))
    return [Port(str(each)) for each in terminals][:PORTS_MAX]


def inputs_in(folder: Path) -> list[str]:
    """Every input device in a folder; a FIFO there is the recording of one. Raises OSError."""
    return [str(each) for each in sorted(folder.iterdir()) if each.is_fifo() or _is_input(each)][:PORTS_MAX]


def _is_input(path: Path) -> bool:
    return path.is_char_device() and os.major(path.stat().st_rdev) == INPUT_MAJOR


def stable_name(device: str) -> str:
    """The name by serial number, else by place in the USB tree, else the one given."""
    real = os.path.realpath(device)
    for folder in (BY_ID, BY_PATH):
        if folder.is_dir():
            for link in sorted(folder.iterdir()):
                if os.path.realpath(link) == real:
                    return str(link)
    return device


def one_port(one: str, other: str) -> bool:
    """Whether two names are one port, also where one is `usb:…`."""
    return _real(one) == _real(other)


def _real(name: str) -> str:
    if not name.startswith(usb_port.PREFIX):
        return os.path.realpath(name)
    try:
        wanted = usb_port.parse_name(name)
    except ValueError:
        return name
    return next((os.path.realpath(each.path) for each in usb_port.usb_ports() if wanted.matches(each)), name)
