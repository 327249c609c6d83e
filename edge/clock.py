"""The gateway's clocks, behind one small interface: everything in edge/ that needs time is given one of these.

Wall time is what the gateway believes; monotonic time orders the observations of a boot. A clock's own seconds
may be simulated: `sleep` waits in them. Waiting for a device or a broker is real time and never goes through here.

Invariant: whoever is given a stamp can rely on its regime being in `clock.json` already, so that a later process of
the same boot can still correct what this one stamped (edge/regime.py, edge/clock_file.py, edge/timekeeping.py).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
import uuid
from collections import deque
from pathlib import Path
from statistics import median_low
from typing import NamedTuple, Protocol

import msgspec

from edge.clock_file import ClockFile
from edge.regime import Course, Regime, follow, settle
from wire.observation import ClockState, Stamp
from wire.pack import ENTRIES_MAX, Correction
from wire.simtime import SharedSimTime

#: 2026-01-01. No clock that shows less is believed to be set: this program was not written yet. Raise it with releases.
BUILD_MS = 1_767_225_600_000
STEP_MS = 2  # wall minus monotonic moves by rounding only, unless somebody stepped the wall clock
CLOSE_NS = 500_000  # two clocks read within this are read at once
LOOKS_MAX = 10
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
KEEP_KNOWN_MS = 3_600_000  # how often the last known time is written: an SD card wears
HOLD_MS = 500  # a clock without its source that moved by more was stepped by somebody
OFFERS = 3  # so many offers must agree: a damaged sentence with a lucky checksum comes alone
OFFERS_WITHIN_MS = 30_000
OFFERS_AGREE_MS = 500
OFFER_MAX_UNCERTAINTY_MS = 1_000  # beyond it, corrected times would not be right to 1 s
OFFER_MOVES_MS = 250  # offers differ by the moods of a serial line
OFFERS_LAST_MS = 120_000  # a source that is silent for longer is lost
_LIBC = ctypes.CDLL(None)

log = logging.getLogger(__name__)


class Clock(Protocol):
    """Time as the gateway sees it."""

    def stamp(self) -> Stamp:
        """Both clocks at one moment."""

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait until the clock's monotonic time has reached `monotonic_ms`."""

    def offer(self, source: str, true_ms: int, monotonic_ms: int, uncertainty_ms: int) -> None:
        """A device says that it was `true_ms` (UTC) at `monotonic_ms`, give or take. Offers that agree are believed."""

    def known_floor_ms(self) -> int:
        """UTC ms that it certainly is by now: what to hold certificates and expiries against while unsynced."""

    def has_passed(self, true_ms: int) -> None:
        """Somebody who is trusted signed that it was `true_ms` (UTC) once: the floor of a clock that nobody set."""

    def pending(self) -> list[Correction]:
        """Corrections that must still be declared."""

    def declared(self, corrections: list[Correction]) -> None:
        """These are durable in the buffer and need not be told again."""


class Look(NamedTuple):
    """The machine's clocks at one moment. offset_ms: wall minus monotonic; uncertainty_ms: while synced."""

    monotonic_ms: int
    offset_ms: int
    synced: bool
    uncertainty_ms: int


class KeepingClock:
    """A clock that knows what it showed in this boot, and declares what was wrong once it learns the time.

    Believed, in this order: the kernel when it says that its clock is synchronised; offers of a device (GPS) that
    agree, and what they said last for as long as nothing better comes; the wall clock as it stands, UNSYNCED. A kernel
    that says synchronised before this program was written is not believed.
    """

    def __init__(self, boot_id: bytes, kept: Path | None, *, build_ms: int) -> None:
        self._boot_id = boot_id
        self._build_ms = build_ms
        self._file = ClockFile(kept)
        self._kept = self._file.read(boot_id)
        self._offset_ms: int | None = None  # as shown last
        self._latest_ms = -1  # monotonic time of the last look
        self._offers: deque[tuple[int, int, int]] = deque(maxlen=OFFERS)  # offset, monotonic, uncertainty
        self._offered: tuple[int, int, int] | None = _offered_before(self._kept.course)
        self._contradicted = False
        self._passed_ms = 0  # as told by others, since the clock was synchronised last

    def _look(self) -> Look:
        raise NotImplementedError

    def stamp(self) -> Stamp:
        """Both clocks now; wall time is monotonic time plus an offset that changes only when somebody stepped."""
        look = self._look()
        seen = self._believed(look)
        course = follow(self._kept.course, seen)
        monotonic_ms = max(look.monotonic_ms, self._latest_ms)
        if course is not self._kept.course:
            if course[-1] is seen and monotonic_ms == self._latest_ms:
                monotonic_ms += 1  # a regime begins behind the last row of the one before
                course = (*course[:-1], msgspec.structs.replace(course[-1], from_monotonic_ms=monotonic_ms))
            self._turn(course)
        self._latest_ms, self._offset_ms = monotonic_ms, seen.offset_ms
        stamp = Stamp(max(0, monotonic_ms + seen.offset_ms), monotonic_ms, self._boot_id, seen.state)
        synced = seen.state is ClockState.SYNCED
        if synced:
            self._passed_ms = 0
            self._remember(stamp.observed_at_ms)
        return stamp

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait in the clock's own time."""
        raise NotImplementedError

    def offer(self, source: str, true_ms: int, monotonic_ms: int, uncertainty_ms: int) -> None:
        """Believed once OFFERS of them agree within OFFERS_AGREE_MS, while the kernel has no source of its own."""
        if true_ms < self._build_ms or uncertainty_ms > OFFER_MAX_UNCERTAINTY_MS:
            return
        self._offers.append((true_ms - monotonic_ms, monotonic_ms, uncertainty_ms))
        offsets = [offset_ms for offset_ms, _, _ in self._offers]
        agree = max(offsets) - min(offsets) <= OFFERS_AGREE_MS
        if len(offsets) < OFFERS or not agree or monotonic_ms - self._offers[0][1] > OFFERS_WITHIN_MS:
            return
        offset_ms = median_low(offsets)
        present = self._kept.course[-1] if self._kept.course else None
        if present is not None and (present.state, present.source) == (ClockState.SYNCED, "ntp"):
            self._compare(source, present.offset_ms - offset_ms, uncertainty_ms)
        elif self._offered is not None and abs(self._offered[0] - offset_ms) <= OFFER_MOVES_MS:
            self._offered = (self._offered[0], monotonic_ms, uncertainty_ms)
        else:
            self._offered = (offset_ms, monotonic_ms, uncertainty_ms)

    def known_floor_ms(self) -> int:
        """The build time, the last time of day that was synchronised, or what others say has passed: the latest."""
        return max(self._build_ms, self._kept.last_known_ms, self._passed_ms)

    def has_passed(self, true_ms: int) -> None:
        """Believed of an unsynchronised clock only, so that a wrong word is forgotten when the time is known."""
        if self.stamp().clock is ClockState.UNSYNCED and true_ms > self.known_floor_ms():
            self._passed_ms = true_ms
            self._remember(true_ms)

    def pending(self) -> list[Correction]:
        """Corrections that must still be declared."""
        return self._kept.pending

    def declared(self, corrections: list[Correction]) -> None:
        """These are durable in the buffer and need not be told again."""
        self._keep(pending=[one for one in self._kept.pending if one not in corrections])

    @property
    def course(self) -> Course:
        """What the clock did in this boot, oldest first."""
        return self._kept.course

    def _believed(self, look: Look) -> Regime:
        if look.synced and look.monotonic_ms + look.offset_ms >= self._build_ms:
            self._offered = None
            offset_ms = self._steady(look.offset_ms)
            return Regime(look.monotonic_ms, offset_ms, ClockState.SYNCED, "ntp", look.uncertainty_ms)
        if self._offered is not None:
            offset_ms, heard_ms, uncertainty_ms = self._offered
            if look.monotonic_ms - heard_ms <= OFFERS_LAST_MS:
                return Regime(look.monotonic_ms, offset_ms, ClockState.SYNCED, "gps", uncertainty_ms)
            return Regime(look.monotonic_ms, offset_ms, ClockState.HOLDOVER, "gps")
        offset_ms = self._steady(look.offset_ms)
        last = self._kept.course[-1] if self._kept.course else None
        holds = last is not None and last.state is not ClockState.UNSYNCED
        if last is not None and holds and abs(offset_ms - last.offset_ms) <= HOLD_MS:
            return Regime(look.monotonic_ms, offset_ms, ClockState.HOLDOVER)
        return Regime(look.monotonic_ms, offset_ms, ClockState.UNSYNCED)

    def _steady(self, offset_ms: int) -> int:
        steady = self._offset_ms is not None and abs(offset_ms - self._offset_ms) <= STEP_MS
        return self._offset_ms if steady and self._offset_ms is not None else offset_ms

    def _turn(self, course: Course) -> None:
        before = self._kept.course[-1] if self._kept.course else None
        settled, corrections = settle(course, self._boot_id)
        now = settled[-1]
        if before is not None and before.state is not now.state:
            log.info("clock is %s: source=%s", now.state.name.lower(), now.source or "none")
        if before is not None and abs(now.offset_ms - before.offset_ms) > HOLD_MS:
            log.warning("wall clock was stepped: by_ms=%d", now.offset_ms - before.offset_ms)
        for one in corrections:
            log.warning("clock was wrong: offset_ms=%d uncertainty_ms=%d", one.offset_ms, one.uncertainty_ms)
        self._keep(course=settled, pending=[*self._kept.pending, *corrections][-ENTRIES_MAX:])

    def _remember(self, known_ms: int) -> None:
        """Keep a known time, once an hour."""
        if abs(known_ms - self._kept.last_known_ms) >= KEEP_KNOWN_MS:
            self._keep(last_known_ms=known_ms)

    def _keep(self, **changed: object) -> None:
        self._kept = msgspec.structs.replace(self._kept, **changed)
        self._file.write(self._kept)

    def _compare(self, source: str, apart_ms: int, uncertainty_ms: int) -> None:
        contradicted = abs(apart_ms) > OFFER_MAX_UNCERTAINTY_MS + uncertainty_ms
        if contradicted and not self._contradicted:
            log.error("%s contradicts the synchronised clock, which is believed: apart_ms=%d", source, apart_ms)
        self._contradicted = contradicted


class SystemClock(KeepingClock):
    """The machine's own clocks. kept: where `clock.json` lies; None: nothing outlives the process."""

    def __init__(self, kept: Path | None = None) -> None:
        boot_id = uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
        super().__init__(boot_id, kept, build_ms=BUILD_MS)

    def _look(self) -> Look:
        offset_ms = _wall_minus_monotonic_ms()
        synced, uncertainty_ms = _kernel()
        return Look(time.monotonic_ns() // 1_000_000, offset_ms, synced, uncertainty_ms)

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0, monotonic_ms - time.monotonic_ns() // 1_000_000) / 1000)


class SimulatedClock(KeepingClock):
    """Follows the shared file of simulated time (wire/simtime.py), with the errors it names for this gateway."""

    LOOK_S = 0.05  # the pace may change while we sleep

    def __init__(self, path: Path, gateway: str = "", kept: Path | None = None) -> None:
        self._time = SharedSimTime(path)
        self._gateway = gateway
        boot_id, self._began_ms = self._time.boot(gateway, self._time.now_ms())
        super().__init__(boot_id, kept, build_ms=0)

    def _look(self) -> Look:
        now_ms = int(self._time.now_ms())
        wall = self._time.wall_clock(self._gateway, now_ms)
        return Look(max(0, now_ms - self._began_ms), self._began_ms + wall.error_ms, wall.synced, 0)

    async def sleep_until(self, monotonic_ms: int) -> None:
        """Wait until simulated time gets there, looking again often enough to follow a change of pace."""
        while (left_ms := monotonic_ms + self._began_ms - self._time.now_ms()) > 0:  # noqa: ASYNC110 - time itself is polled
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

    def offer(self, source: str, true_ms: int, monotonic_ms: int, uncertainty_ms: int) -> None:
        """Not needed: this clock is right by definition."""

    def known_floor_ms(self) -> int:
        """Its start."""
        return self._start_ms

    def has_passed(self, true_ms: int) -> None:
        """Not needed: this clock is right by definition."""

    def pending(self) -> list[Correction]:
        """Nothing: a clock that is right has no corrections."""
        return []

    def declared(self, corrections: list[Correction]) -> None:
        """Nothing to forget."""

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


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read here; it has at most 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),  # microseconds
        ("rest", ctypes.c_char * 256),
    )


def _kernel() -> tuple[bool, int]:
    """Whether the kernel's clock is synchronised, and how wrong it may be, in ms (modes = 0 reads only).

    Every step clears the kernel's mark, whoever made it; the daemon sets it again with its next correction.
    """
    timex = _Timex()
    state: int = _LIBC.adjtimex(ctypes.byref(timex))
    return 0 <= state < TIME_ERROR, -(-timex.maxerror // 1000)


def _offered_before(course: Course) -> tuple[int, int, int] | None:
    """What a device offered to an earlier process of this boot: held over."""
    if course and course[-1].source == "gps":
        return course[-1].offset_ms, course[-1].from_monotonic_ms - OFFERS_LAST_MS - 1, 0
    return None
