"""Input devices of Linux (evdev): find one, open it for us alone, read its event records, in our errors.

Identity is read from sysfs (`/sys/class/input/event*/device/{name,phys,uniq}`), the same words that the ioctls
EVIOCGNAME, EVIOCGPHYS and EVIOCGUNIQ give, without opening devices that are not ours.
A device is grabbed (EVIOCGRAB), so that what is scanned is typed nowhere else. A FIFO in the place of a device is a
recording or a simulated scanner: it cannot be grabbed, and nobody else would get its events.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from edge.drivers.base import DeviceUnavailable, DriverMisconfigured
from edge.drivers.hid.codec import EVENT, KEY_ENTER
from edge.drivers.hid.config import Match

SYSFS = Path("/sys/class/input")
DEV = Path("/dev/input")
EVIOCGRAB = 0x40044590  # _IOW('E', 0x90, int), linux/input.h; alike on x86, ARM and RISC-V
READ_BYTES = EVENT.size * 256
DEVICES_MAX = 256
WORD_MAX_BYTES = 256
TYPES_CODES = sum(1 << key for key in (*range(2, 12), KEY_ENTER))  # KEY_1 … KEY_0 and Enter


class InputDevice(NamedTuple):
    """An input device as the kernel knows it. is_keyboard: it has the digits and Enter."""

    path: Path
    name: str
    phys: str
    uniq: str
    is_keyboard: bool


class Events:
    """An open input device."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def read(self) -> bytes:
        """Wait for records; empty when the device is gone. Raises OSError (ENODEV: unplugged)."""
        while True:
            # Waiting comes first: a FIFO whose writer has not come yet would read as if it had gone.
            await self._readable()
            try:
                return os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                continue

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._fd, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._fd)

    def close(self) -> None:
        """Let the device go; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)  # the grab ends with it


def input_devices(sysfs: Path = SYSFS, dev: Path = DEV) -> list[InputDevice]:
    """The input devices there are, by number."""
    folders = sorted(sysfs.glob("event*"), key=lambda folder: (len(folder.name), folder.name))
    return [_device(folder / "device", dev / folder.name) for folder in folders[:DEVICES_MAX]]


def find(match: Match, *, sysfs: Path = SYSFS, dev: Path = DEV) -> Path:
    """The one keyboard that fits. Raises DeviceUnavailable naming those there are, if none or several do.

    Scanners often have more input devices than one (a second one for volume keys): only the keyboard types codes.
    """
    known = [device for device in input_devices(sysfs, dev) if device.is_keyboard]
    fitting = [device for device in known if all(not said or said == is_ for said, is_ in _pairs(match, device))]
    if len(fitting) == 1:
        return fitting[0].path
    if not fitting:
        there = "; ".join(_shown(device) for device in known) or "none at all"
        raise DeviceUnavailable(
            f"no keyboard with {match}; is the scanner plugged in, and set to keyboard? There are: {there}"
        )
    alike = "; ".join(_shown(device) for device in fitting)
    raise DeviceUnavailable(f"several keyboards have {match}: {alike}; tell them apart by phys or uniq")


def open_events(path: Path) -> Events:
    """The device at `path`, grabbed. Raises DeviceUnavailable or DriverMisconfigured, with nothing left open."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        cure = "add the gateway's user to the group of input devices: sudo usermod -aG input USER, and start it again"
        raise DeviceUnavailable(f"{path}: {error.strerror}; {cure}") from error
    except OSError as error:
        raise DeviceUnavailable(f"{path}: {error.strerror}; is the scanner plugged in?") from error
    try:
        _grab(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return Events(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _grab(fd: int, path: Path) -> None:
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return
    try:
        fcntl.ioctl(fd, EVIOCGRAB, 1)
    except OSError as error:
        if error.errno == errno.EBUSY:
            what = "somebody else has grabbed it (a second gateway or [[device]], a scanner service): stop that one"
            raise DeviceUnavailable(f"{path}: {what}") from error
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            raise DriverMisconfigured(f"{path} is no input device; those are /dev/input/event*") from error
        raise DeviceUnavailable(f"{path}: {error.strerror}; is the scanner still plugged in?") from error


def _pairs(match: Match, device: InputDevice) -> list[tuple[str, str]]:
    return [(match.name, device.name), (match.phys, device.phys), (match.uniq, device.uniq)]


def _device(folder: Path, path: Path) -> InputDevice:
    name, phys, uniq = (_word(folder / word) for word in ("name", "phys", "uniq"))
    keys = _word(folder / "capabilities" / "key").split()  # a bitmap in words of hexadecimal, the lowest one last
    lowest = int(keys[-1], 16) if keys and re.fullmatch("[0-9a-f]{1,16}", keys[-1]) else 0
    return InputDevice(path, name, phys, uniq, is_keyboard=lowest & TYPES_CODES == TYPES_CODES)


def _word(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(WORD_MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:  # unplugged while we look, or the device has no such word
        return ""


def _shown(device: InputDevice) -> str:
    words = {"name": device.name, "phys": device.phys, "uniq": device.uniq}
    return f"{device.path.name} ({', '.join(f'{key} {word!r}' for key, word in words.items() if word)})"
