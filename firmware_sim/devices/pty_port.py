"""A serial port that is a pseudo-terminal: a symlink where the gateway finds it, raw from the first byte.

The device keeps only the master end, so the kernel tells (POLLHUP) whether anybody has the port open.
Unplugging closes the master: who had the port open gets an error at once, like a pulled USB adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import termios
import tty
from collections.abc import Callable
from pathlib import Path

LOOK_S = 0.02  # how often we look whether somebody opened the port; below a scanner's or master's notice
READ_BYTES = 4096
RATES = {getattr(termios, f"B{rate}"): rate for rate in (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)}


class PtyPort:
    """One port. on_bytes gets what the other side wrote, in the event loop."""

    def __init__(self, path: Path, on_bytes: Callable[[bytes], None]) -> None:
        self.path = path
        self._on_bytes = on_bytes
        self._master = -1
        self._look: asyncio.TimerHandle | None = None
        self._heard_since_s: float | None = None

    def open(self) -> None:
        """Make the port appear; harmless when it is there."""
        if self._master >= 0:
            return
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)
        self._watch()

    def close(self) -> None:
        """Make the port disappear; harmless when it is gone."""
        if self._master < 0:
            return
        if self._look is not None:
            self._look.cancel()
            self._look = None
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        self._master = -1
        self._heard_since_s = None
        self.path.unlink(missing_ok=True)

    @property
    def heard(self) -> bool:
        """Whether somebody has the port open."""
        if self._master < 0:
            return False
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    @property
    def heard_for_s(self) -> float:
        """How long the port has been open at the other end without a break; 0 when it is not."""
        if not self.heard or self._heard_since_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._heard_since_s

    @property
    def baudrate(self) -> int:
        """The rate that whoever opened the port has set; a pty sends at any. 0: an unusual one."""
        return RATES.get(termios.tcgetattr(self._master)[5], 0) if self._master >= 0 else 0

    def write(self, data: bytes) -> bool:
        """Send; False when nobody has the port open or its buffer is full: a serial line does not wait."""
        if not self.heard:
            return False
        with contextlib.suppress(BlockingIOError):
            return os.write(self._master, data) == len(data)
        return False

    def _watch(self) -> None:
        self._look = None
        loop = asyncio.get_running_loop()
        if self.heard:
            self._heard_since_s = loop.time()
            loop.add_reader(self._master, self._read)
        else:  # a hung-up master is always readable: a reader would spin
            self._heard_since_s = None
            with contextlib.suppress(OSError):  # the last words of somebody who is gone
                self._on_bytes(os.read(self._master, READ_BYTES))
            self._look = loop.call_later(LOOK_S, self._watch)

    def _read(self) -> None:
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise
            asyncio.get_running_loop().remove_reader(self._master)
            self._watch()
            return
        self._on_bytes(data)
