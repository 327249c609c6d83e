"""An input device that is a FIFO: the records that a driver reads from /dev/input/event* come out of it.

The kernel of a development machine has no uinput, so there is no real one to simulate. A FIFO tells whether anybody
reads it (opening it for writing succeeds), keeps nothing for those who come later, and ends for its reader when it is
closed, as a device does that is pulled out. It cannot be grabbed, and has neither name nor serial number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from pathlib import Path

LOOK_S = 0.02  # how often we look whether somebody opened or closed it


class FifoPort:
    """One port."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._there = False
        self._look: asyncio.TimerHandle | None = None
        self._heard_since_s: float | None = None

    def open(self) -> None:
        """Make the device appear; harmless when it is there."""
        if self._there:
            return
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path, 0o600)
        self._there = True
        self._watch()

    def close(self) -> None:
        """Make the device disappear; harmless when it is gone."""
        if not self._there:
            return
        self._there = False
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._connect()  # a reader who came a moment ago hears of the end only if there was a beginning
        self._drop()
        self.path.unlink(missing_ok=True)

    @property
    def heard_for_s(self) -> float:
        """How long somebody has had the device open without a break that we noticed; 0 when nobody has."""
        if not self._is_read() or self._heard_since_s is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._heard_since_s

    def write(self, data: bytes) -> bool:
        """Hand out records; False when nobody reads or somebody reads too slowly."""
        if not self._is_read():
            return False
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            return os.write(self._fd, data) == len(data)
        return False

    def _watch(self) -> None:
        if self._fd >= 0 and not self._is_read():
            self._drop()  # and what it did not read with it
        if self._fd < 0:
            self._connect()
        self._look = asyncio.get_running_loop().call_later(LOOK_S, self._watch)

    def _connect(self) -> None:
        if self._fd < 0:
            with contextlib.suppress(OSError):  # ENXIO: nobody reads
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
                self._heard_since_s = asyncio.get_running_loop().time()

    def _drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._heard_since_s = None

    def _is_read(self) -> bool:
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, 0)
        return not poll.poll(0)  # POLLERR: the last reader is gone
