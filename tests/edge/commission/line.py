"""A serial line on a pseudo-terminal with whatever on it: it hears only what is sent at its own settings."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

SPEEDS = {getattr(termios, f"B{rate}"): rate for rate in (4800, 9600, 19200, 38400, 115200)}


class Line:
    """`answer(frame, baudrate)` gives the bytes that come back. talk: bytes that come every 50 ms by themselves.
    think_s: before it answers.

    A pseudo-terminal knows no parity: the kernel refuses to set it.
    """

    def __init__(
        self, path: Path, answer: Callable[[bytes, int], bytes], *, talk: bytes = b"", think_s: float = 0.0
    ) -> None:
        self.path = path
        self.asked: list[bytes] = []
        self._answer = answer
        self._talk = talk
        self._think_s = think_s
        self._master = -1
        self._slave = -1
        self._talking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.symlink_to(os.ttyname(self._slave))
        asyncio.get_running_loop().add_reader(self._master, self._take)
        if self._talk:
            self._talking = asyncio.create_task(self._speak())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._talking is not None:
            self._talking.cancel()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        self._master = -1
        os.close(self._slave)
        self.path.unlink()

    def _take(self) -> None:
        frame = os.read(self._master, 4096)
        self.asked.append(frame)
        reply = self._answer(frame, SPEEDS.get(termios.tcgetattr(self._slave)[4], 0))
        if reply:
            asyncio.get_running_loop().call_later(self._think_s, self._write, reply)

    def _write(self, reply: bytes) -> None:
        if self._master >= 0:
            os.write(self._master, reply)

    async def _speak(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            try:
                os.write(self._master, self._talk)
            except BlockingIOError:
                pass
