"""A barcode scanner that plays a keyboard: types what somebody scans, as the kernel would hand it out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import msgspec

from edge.drivers.hid.codec import EV_SYN, EVENT, SYN_DROPPED, HidSuffix, KeyEvent, encode, type_text
from firmware_sim.devices.fifo_port import FifoPort
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.scanner import WELL_BEHAVED, Habits
from firmware_sim.links import Link
from standards.gs1.keyboard import Layout

READY_S = 0.1
LOOK_S = 0.02
FULL_S = 0.002  # until a full FIFO is tried again
AT_ONCE = 40  # key events in one write: less than PIPE_BUF, so all of them or none
SEPARATOR = "\x1d"
_ENDS: dict[HidSuffix, str] = {"enter": "\r", "tab": "\t"}


class Typing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a scanner is set. layout: the country of its keyboard. caps_lock: it allows for a Caps Lock that is not on.

    separator: how it types GS. control: Ctrl and the key of `]`. lost: not at all. Otherwise the text itself.
    key_s: from key to key; 0: all at once. dropped: chance per scan that the kernel loses keys and says SYN_DROPPED.
    """

    layout: Layout = "us"
    suffix: HidSuffix = "enter"
    aim: bool = True
    caps_lock: bool = False
    separator: str = "control"
    key_s: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    dropped: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class HidScanner:
    """`async with scanner:` makes the device appear. typing and habits may be set at any time.

    The link's faults hit whole key events, one byte each on the simulated cable: USB loses and damages no less.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        channel: str,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        typing: Typing | None = None,
        habits: Habits = WELL_BEHAVED,
    ) -> None:
        self.typing = typing or Typing()
        self.habits = habits
        self._name = name
        self._channel = channel
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._rng = random.Random(f"scanner {name}")  # noqa: S311 - chance, not secrets
        self._port = FifoPort(path)
        self._sending = asyncio.Lock()
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._port.close()

    async def send(self, code: str, symbology: str) -> None:
        """Scan a code: once (but for its habits), in order, and only when somebody listens, however long that takes.

        Raises ValueError when the code has a character that is on no key of the scanner's layout.
        """
        async with self._sending:
            habits, typing = self.habits, self.typing
            sent = symbology if typing.aim else ""
            text = (f"]{sent}" if sent else "") + code
            if typing.separator != "control":
                text = text.replace(SEPARATOR, "" if typing.separator == "lost" else typing.separator)
            keys = type_text(text, typing.layout, caps_lock=typing.caps_lock)
            whole = self._rng.random() >= habits.no_suffix
            if whole:
                keys += type_text(_ENDS[typing.suffix])
            for again in (False, True):
                if again and self._rng.random() >= habits.double:
                    break
                await asyncio.sleep(habits.double_after_s if again else 0)
                await self._send(keys, code, sent, whole=whole)

    async def _send(self, keys: list[KeyEvent], code: str, symbology: str, *, whole: bool) -> None:
        wire = bytes(key.key | key.value << 7 for key in keys)
        dropped = self._rng.random() < self.typing.dropped
        while True:
            await self._ready()
            at_ms = int(self._now_ms())
            out, intact = await self._link.outward(wire)
            if await self._type([KeyEvent(byte & 0x7F, byte >> 7) for byte in out], dropped=dropped):
                break
        if intact and whole and not dropped:
            self._log.scan(self._name, self._channel, code=code, symbology=symbology, at_ms=at_ms)
        else:
            self._log.damaged(self._name, at_ms)

    async def _type(self, keys: list[KeyEvent], *, dropped: bool) -> bool:
        """Whether somebody read to the end."""
        records = [encode([key]) for key in keys]
        if dropped:
            records[len(records) // 4 : len(records) // 2] = [EVENT.pack(0, 0, EV_SYN, SYN_DROPPED, 0)]
        at_once = 1 if self.typing.key_s else AT_ONCE
        for at in range(0, len(records), at_once):
            while not self._port.write(b"".join(records[at : at + at_once])):
                if not self._port.heard_for_s:
                    return False
                await asyncio.sleep(FULL_S)
            await asyncio.sleep(self.typing.key_s)
        return True

    async def _ready(self) -> None:
        while self._port.heard_for_s < READY_S:  # noqa: ASYNC110 - a FIFO tells when asked, it has no event
            await asyncio.sleep(LOOK_S)

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()
