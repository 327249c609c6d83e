"""USB serial ports as sysfs shows them, and the names that stay theirs whatever number the kernel gives.

    usb:SERIAL              the adapter with this serial number, for example usb:FT4X1ABC
    usb:VID:PID             the only adapter of this kind (four hexadecimal digits each), for example usb:1a86:7523
    usb:VID:PID:SERIAL      both
    …@IF                    one port of an adapter with several: bInterfaceNumber, for example usb:FT4X1ABC@02

Source of the files: the kernel's Documentation/ABI/stable/sysfs-bus-usb and sysfs-devices. Serial numbers with colons
(ESP32: `34:85:18:…`) are no VID:PID, because those have four digits each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

SYS = Path("/sys")
DEV = Path("/dev")
PREFIX: Final = "usb:"
NAME_PATTERN = r"usb:[^\s@][^@\n]{0,200}(@[0-9A-Fa-f]{2})?"
_WITH_IDS = re.compile(r"([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::(.+))?")
TEXT_MAX = 126  # characters of a USB string descriptor: (255 - 2) / 2 (USB 2.0 §9.6.7)


class UsbPort(msgspec.Struct, frozen=True, order=True):
    """One serial port of a USB adapter. vid, pid, interface: lower-case hexadecimal, as in sysfs."""

    path: str
    vid: str
    pid: str
    serial: str
    interface: str
    product: str
    place: str  #: where it is plugged in, for example `1-1.2`

    @property
    def name(self) -> str:
        """The name to configure: it stays when the adapter is unplugged and comes back under another number."""
        return f"{PREFIX}{self.vid}:{self.pid}" + (f":{self.serial}" if self.serial else "")


class Wanted(msgspec.Struct, frozen=True):
    """What a `usb:` name asks for; empty means any."""

    vid: str
    pid: str
    serial: str
    interface: str

    def matches(self, port: UsbPort) -> bool:
        """Whether a port answers to the name."""
        pairs = (
            (self.vid, port.vid),
            (self.pid, port.pid),
            (self.serial, port.serial),
            (self.interface, port.interface),
        )
        return all(not wanted or wanted == has for wanted, has in pairs)


def parse_name(name: str) -> Wanted:
    """Read a `usb:` name. Raises ValueError."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ValueError(f"{name[:80]!r}: expected usb:SERIAL, usb:VID:PID or usb:VID:PID:SERIAL, each with @IF or not")
    identity, _, interface = name.removeprefix(PREFIX).partition("@")
    found = _WITH_IDS.fullmatch(identity)
    if found is None:
        return Wanted("", "", identity, interface.lower())
    return Wanted(found[1].lower(), found[2].lower(), found[3] or "", interface.lower())


def usb_ports() -> list[UsbPort]:
    """Every serial port of a USB adapter that is plugged in now, in the order of their paths."""
    try:
        entries = list((SYS / "class" / "tty").iterdir())
    except OSError:  # no sysfs: no USB ports that we could tell apart
        return []
    found = (_port(entry) for entry in entries)
    return sorted(port for port in found if port is not None)


def _port(entry: Path) -> UsbPort | None:
    device = entry / "device"
    if not device.exists():  # a virtual console
        return None
    interface = ""
    root = SYS.resolve()
    for folder in (at := device.resolve(), *at.parents):
        if folder == root:
            break
        interface = interface or _text(folder / "bInterfaceNumber")
        if vid := _text(folder / "idVendor"):
            return UsbPort(
                path=str(DEV / entry.name),
                vid=vid.lower(),
                pid=_text(folder / "idProduct").lower(),
                serial=_text(folder / "serial"),
                interface=interface.lower(),
                product=_text(folder / "product"),
                place=folder.name,
            )
    return None


def _text(path: Path) -> str:
    """The line of a sysfs file; empty where the device has none, or is being pulled out just now."""
    try:
        return path.read_text("utf-8", "replace")[:TEXT_MAX].strip()
    except OSError:
        return ""
