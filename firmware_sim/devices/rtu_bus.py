"""Modbus slaves on one serial line, behind a pseudo-terminal that keeps the line's baud rate.

A pty is as fast as memory; here an answer comes out no earlier than it could on a real line: the request's time on
the wire, 3.5 characters of silence, what the slave needs to think, and the answer's time on the wire.
Two slaves with one unit id answer at once, and nobody understands either.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from firmware_sim.devices.ailments import slow_s
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.modbus import Answer, RtuRequests, Unit, answer, rtu_frame, rtu_payload
from firmware_sim.devices.pty_port import PtyPort
from firmware_sim.links import Link

BITS_PER_CHARACTER = 10  # 8N1
SILENCE_CHARACTERS = 3.5  # ends a frame (Serial Line V1.02 §2.5.1.1)
SILENCE_MIN_S = 0.02  # a loaded host may pause its writing; no pause of ours is shorter
TIMER_S = 0.0015  # an event loop's timers are whole milliseconds, rounded up
MAX_WAITING = 8  # requests that came while the line was busy; a master that sends more than that is broken


class _Request(NamedTuple):
    frame: bytes
    came_s: float


class RtuBus:
    """One line with its slaves. `async with bus:` makes the port appear; `serve` answers until cancelled.

    own_baudrates: by unit id, of those that are set otherwise; if there are any, each hears only its own rate.
    """

    def __init__(
        self,
        path: Path,
        units: Sequence[Unit],
        *,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        baudrate: int = 9600,
        turnaround_s: float = 0.003,
        paced: bool = True,
        own_baudrates: Mapping[int, int] | None = None,
    ) -> None:
        self._own_baudrates = dict(own_baudrates or {})
        self._baudrate = baudrate
        self._units: dict[int, list[Unit]] = defaultdict(list)
        for unit in units:
            self._units[unit.unit_id].append(unit)
        self._link = link
        self._log = log
        self._now_ms = now_ms
        self._character_s = BITS_PER_CHARACTER / baudrate
        self._turnaround_s = turnaround_s
        self._paced = paced
        self._port = PtyPort(path, self._take)
        self._cutter = RtuRequests()
        self._requests: asyncio.Queue[_Request] = asyncio.Queue(MAX_WAITING)
        self._silence: asyncio.TimerHandle | None = None
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancel_silence()
        self._port.close()

    async def serve(self) -> None:
        """Answer requests one after the other."""
        while True:
            request = await self._requests.get()
            await self._answer(request)

    async def _plug(self, plugged: bool) -> None:
        if plugged:
            self._port.open()
        else:
            self._port.close()

    def _take(self, data: bytes) -> None:
        self._cancel_silence()
        for frame in self._cutter.feed(self._link.inward(data)):
            self._queue(frame)
        if self._cutter.waiting:
            wait_s = max(SILENCE_MIN_S, SILENCE_CHARACTERS * self._character_s)
            self._silence = asyncio.get_running_loop().call_later(wait_s, self._end_by_silence)

    def _end_by_silence(self) -> None:
        self._silence = None
        self._queue(self._cutter.silence())

    def _cancel_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _queue(self, frame: bytes) -> None:
        if not self._requests.full():
            self._requests.put_nowait(_Request(frame, asyncio.get_running_loop().time()))

    def _is_deaf(self, unit_id: int) -> bool:
        """Whether this unit is set to another rate than whoever asks."""
        return bool(self._own_baudrates) and self._port.baudrate != self._own_baudrates.get(unit_id, self._baudrate)

    async def _answer(self, request: _Request) -> None:
        payload = rtu_payload(request.frame)
        units = [] if payload is None or self._is_deaf(payload[0]) else self._units.get(payload[0], [])
        if payload is None or not units:
            return  # damaged, a broadcast or somebody else's: a slave keeps silent
        at_ms = int(self._now_ms())
        replies = [answer(unit, payload[1], at_ms) for unit in units]
        frame = _collided([rtu_frame(payload[0], reply.pdu) for reply in replies])
        thinks_s = self._turnaround_s + max(slow_s(unit.ailments, at_ms) for unit in units)
        if self._paced:
            characters = len(request.frame) + SILENCE_CHARACTERS + len(frame)
            due_s = request.came_s + characters * self._character_s + thinks_s
            await _until(due_s)
        elif thinks_s > self._turnaround_s:
            await asyncio.sleep(thinks_s)
        out, intact = await self._link.outward(frame)
        self._note(units, replies, at_ms, arrived=self._port.write(out), intact=intact and len(units) == 1)

    def _note(self, units: list[Unit], replies: list[Answer], at_ms: int, *, arrived: bool, intact: bool) -> None:
        for unit, reply in zip(units, replies, strict=True):
            if not intact:
                self._log.damaged(unit.device, at_ms)
            elif arrived:
                self._log.values(reply.values, at_ms)


async def _until(due_s: float) -> None:
    """Wait to the instant, so that a line is as fast as it could be, too."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due_s - TIMER_S - loop.time())
    while loop.time() < due_s:  # noqa: ASYNC110 - a moment shorter than any timer
        await asyncio.sleep(0)


def _collided(frames: list[bytes]) -> bytes:
    """What is heard when slaves talk at once, each a character after the other: a low bit drowns a high one."""
    heard = frames[0]
    for late, frame in enumerate(frames[1:], 1):
        shifted = b"\xff" * late + frame  # 0xFF: an idle line
        length = max(len(heard), len(shifted))
        both = zip(heard.ljust(length, b"\xff"), shifted.ljust(length, b"\xff"), strict=True)
        heard = bytes(one & other for one, other in both)
    return heard
