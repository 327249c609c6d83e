"""Simulated time: one file that every process of a simulation reads, so that all agree what time it is.

The file holds segments {started_s, origin_ms, factor}: from host monotonic time `started_s` on (CLOCK_MONOTONIC,
shared by all processes of one boot), simulated time runs from `origin_ms` with `factor`. A change of pace is a new
segment that starts a moment in the future, so that every process sees it before it counts. Should it come too late
all the same (the disk stalled), time stands still for a reader until the new course has caught up: it never runs back.

`clocks` says what is wrong with the wall clock of a gateway, by its name; simulated time itself stays the truth, for
devices, places and the cloud. A gateway without an entry is right and synced, in one boot since the origin.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec


class SimTimeError(ValueError):
    """The file of simulated time cannot be read."""


class Segment(msgspec.Struct, frozen=True):
    """From `started_s` (host monotonic seconds) on, time runs from `origin_ms` (UTC ms) × factor."""

    started_s: float
    origin_ms: float
    factor: Annotated[float, msgspec.Meta(gt=0)]  # who waits for a moment divides by it

    def at(self, monotonic_s: float) -> float:
        """Simulated UTC milliseconds at a host monotonic time."""
        return self.origin_ms + (monotonic_s - self.started_s) * 1000.0 * self.factor


class WallClock(msgspec.Struct, frozen=True):
    """From `from_ms` (true UTC ms) on, a gateway's wall clock shows truth + `error_ms`; `synced`: what its kernel says.

    boot: the gateway boots at that moment: processes started after it are in this boot, its monotonic time starts at 0.
    """

    from_ms: int
    error_ms: int = 0
    synced: bool = True
    boot: bool = False


class SimTime(msgspec.Struct, frozen=True):
    """The whole course of simulated time, segments in order of their start, and each gateway's wrong wall clock."""

    segments: list[Segment]
    clocks: dict[str, list[WallClock]] = {}

    def segment(self, monotonic_s: float) -> Segment:
        """The segment in force at a host monotonic time (the first one before anything started)."""
        active = self.segments[0]
        for segment in self.segments[1:]:
            if segment.started_s <= monotonic_s:
                active = segment
        return active

    def now_ms(self, monotonic_s: float) -> float:
        """Simulated UTC milliseconds at a host monotonic time."""
        return self.segment(monotonic_s).at(monotonic_s)


class SharedSimTime:
    """Reads the file again whenever it was replaced; every process of a simulation holds one of these."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._time = SimTime([])
        self._latest_ms = 0.0
        self._refresh()
        first = self._time.segments[0]
        #: Names this simulation, as a boot id names a boot: 16 bytes.
        self.boot_id = hashlib.sha256(f"{first.started_s!r} {first.origin_ms!r}".encode()).digest()[:16]
        self.origin_ms = int(first.origin_ms)

    def now_ms(self) -> float:
        """Simulated UTC milliseconds now; never less than the time before."""
        self._refresh()
        self._latest_ms = max(self._latest_ms, self._time.now_ms(time.monotonic()))
        return self._latest_ms

    def factor(self) -> float:
        """How many simulated seconds pass in a real one, now."""
        self._refresh()
        return self._time.segment(time.monotonic()).factor

    def wall_clock(self, gateway: str, true_ms: float) -> WallClock:
        """What a gateway's wall clock does at a true time."""
        self._refresh()
        return self._last(gateway, true_ms, lambda _: True)

    def boot(self, gateway: str, true_ms: float) -> tuple[bytes, int]:
        """Id (16 bytes) and beginning (true UTC ms) of the boot that a gateway is in at a true time."""
        self._refresh()
        began = self._last(gateway, true_ms, lambda clock: clock.boot)
        if not began.boot:
            return self.boot_id, self.origin_ms
        return hashlib.sha256(self.boot_id + f"{gateway} {began.from_ms}".encode()).digest()[:16], began.from_ms

    def _last(self, gateway: str, true_ms: float, wanted: Callable[[WallClock], bool]) -> WallClock:
        past = [clock for clock in self._time.clocks.get(gateway, []) if clock.from_ms <= true_ms and wanted(clock)]
        return max(past, key=lambda clock: clock.from_ms, default=WallClock(self.origin_ms))

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_ino)
            if version == self._version:
                return
            self._time = msgspec.json.decode(self._path.read_bytes(), type=SimTime)
        except (OSError, msgspec.MsgspecError) as error:
            raise SimTimeError(f"{self._path}: no simulated time there ({error})") from error
        if not self._time.segments:
            raise SimTimeError(f"{self._path}: no segment in it")
        self._version = version


def write(path: Path, sim_time: SimTime) -> None:
    """Replace the course of time in one step.

    `path` is a link that is swung to a new file: replacing a file itself would make some file systems write it to the
    disk first, and a busy disk would delay the change.
    """
    before = path.resolve()
    fresh = path.with_name(f"{path.name}.{time.monotonic_ns()}")
    fresh.write_bytes(msgspec.json.encode(sim_time))
    link = path.with_name(f"{path.name}.link")
    link.symlink_to(fresh.name)
    link.replace(path)
    if before != path:
        before.unlink(missing_ok=True)
