"""The gateway's clocks, behind one small interface: everything in edge/ that needs time is given one of these.

Wall time is what the gateway believes; monotonic time orders the observations of a boot. A clock's own seconds
may be simulated: `sleep` waits in them. Waiting for a device or a broker is real time and never goes through here.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
import uuid
from pathlib import Path
from typing import Protocol

from wire.observation import ClockState, Stamp
from wire.simtime import SharedSimTime

STEP_MS = 2  # wall minus monotonic moves by rounding only, unless somebody stepped the wall clock
CLOSE_NS = 500_000  # two clocks read within this are read at once
LOOKS_MAX = 10
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_LIBC = ctypes.CDLL(None)


class Clock(Protocol):
    """Time as the gateway sees it."""

    def stamp(self) -> Stamp:
        """Both clocks at one moment."""

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait until the clock's monotonic time has reached `monotonic_ms`."""


class SystemClock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._boot_id = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
        self._offset_ms = _wall_minus_monotonic_ms()
        self._unsynced = ClockState.UNSYNCED  # what to say while the kernel has no source

    def stamp(self) -> Stamp:
        """Both clocks now; wall time is monotonic time plus an offset that changes only when somebody stepped."""
        offset_ms = _wall_minus_monotonic_ms()
        if abs(offset_ms - self._offset_ms) > STEP_MS:
            self._offset_ms = offset_ms
            self._unsynced = ClockState.UNSYNCED
        if _is_synchronised():
            self._unsynced = ClockState.HOLDOVER
            state = ClockState.SYNCED
        else:
            state = self._unsynced
        monotonic_ms = time.monotonic_ns() // 1_000_000
        return Stamp(monotonic_ms + self._offset_ms, monotonic_ms, self._boot_id, state)

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0, monotonic_ms - time.monotonic_ns() // 1_000_000) / 1000)


class SimulatedClock:
    """Follows the shared file of simulated time (wire/simtime.py)."""

    LOOK_S = 0.05  # the pace may change while we sleep

    def __init__(self, path: Path) -> None:
        self._time = SharedSimTime(path)

    def stamp(self) -> Stamp:
        """Simulated wall time; monotonic time counts from the start of the simulation."""
        now_ms = int(self._time.now_ms())
        return Stamp(now_ms, max(0, now_ms - self._time.origin_ms), self._time.boot_id, ClockState.SYNCED)

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait until simulated time gets there, looking again often enough to follow a change of pace."""
        while (left_ms := monotonic_ms + self._time.origin_ms - self._time.now_ms()) > 0:  # noqa: ASYNC110 - time itself is polled
            await asyncio.sleep(min(self.LOOK_S, left_ms / 1000 / self._time.factor()))


class SteppedClock:
    """Stands still until it is moved: for replaying a recorded log so that every row keeps its own time.

    For one event loop. Whoever moves it waits in between until everybody sleeps again (`all_asleep`).
    """

    def __init__(self, start_ms: int, boot_id: bytes = bytes(16)) -> None:
        self._start_ms = start_ms
        self._monotonic_ms = 0
        self._boot_id = boot_id
        self._sleepers: list[tuple[int, asyncio.Event]] = []
        self._changed = asyncio.Event()

    def stamp(self) -> Stamp:
        """The time the clock was last moved to."""
        wall_ms = self._start_ms + self._monotonic_ms
        return Stamp(wall_ms, self._monotonic_ms, self._boot_id, ClockState.SYNCED)

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait until somebody has moved the clock that far."""
        if monotonic_ms <= self._monotonic_ms:
            await asyncio.sleep(0)
            return
        sleeper = (monotonic_ms, asyncio.Event())
        self._sleepers.append(sleeper)
        self._changed.set()
        try:
            await sleeper[1].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    def move_to(self, wall_ms: int) -> None:
        """Move the clock forward and wake whoever is due. Raises ValueError for a step backwards."""
        if wall_ms - self._start_ms < self._monotonic_ms:
            raise ValueError("a stepped clock only moves forward")
        self._monotonic_ms = wall_ms - self._start_ms
        for sleeper in [sleeper for sleeper in self._sleepers if sleeper[0] <= self._monotonic_ms]:
            self._sleepers.remove(sleeper)
            sleeper[1].set()

    async def all_asleep(self, count: int) -> None:
        """Wait until `count` tasks wait for the clock to move further than it is."""
        while len(self._sleepers) < count:
            self._changed.clear()
            await self._changed.wait()


def _wall_minus_monotonic_ms() -> int:
    """Look again when something came between the two clocks: being held up is no step."""
    for _ in range(LOOKS_MAX):
        monotonic_ns = time.monotonic_ns()
        offset_ns = time.time_ns() - monotonic_ns
        if time.monotonic_ns() - monotonic_ns < CLOSE_NS:
            break
    return offset_ns // 1_000_000


def _is_synchronised() -> bool:
    """Ask the kernel (adjtimex(2) with modes = 0 reads only)."""
    buffer = ctypes.create_string_buffer(256)  # struct timex has 208 bytes on 64-bit Linux
    state: int = _LIBC.adjtimex(buffer)
    return 0 <= state < TIME_ERROR
