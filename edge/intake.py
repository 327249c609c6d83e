"""Between the drivers and the buffer: readings are handed in without waiting for the disk, scans wait for it.

A poller that waited for each commit could not keep an interval shorter than the commit window. So `put` returns
at once, while at most UNDER_WAY_MAX appends wait for their commit; then it waits too, and the pollers with it.
When the disk stalls, pollers wait in `room` before they ask their device again: what a kill can cost stays one
commit window of readings and the replies under way, however long the disk takes.
Observations that the buffer refuses are counted and shown: they are not recorded, and nobody may think they were. Once
it accepts again, each channel gets a mark where its refused readings begin and one where they end: a reading without a
number, STALE, so that the gap in the record explains itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from edge.buffer.base import BufferFull, ObservationRefused
from wire.observation import Observation, Quality, Reading

UNDER_WAY_MAX = 1_000  # at 2,000 readings a second and 250 ms to a commit, 500 are the rule
ERROR_CHARS = 300
MISSED_MAX = 10_000  # channels whose gap is marked: ten for each of 1,000 devices

log = logging.getLogger(__name__)


class Store(Protocol):
    """The part of a buffer that is needed here."""

    async def append(self, observations: Sequence[Observation]) -> None:
        """Return when all of them are accepted. Raises BufferFull, ObservationRefused, BufferUnusable."""


class IntakeState(msgspec.Struct, frozen=True):
    """What became of the observations; last_error is empty again after the next one that was accepted."""

    accepted: int
    refused: int
    last_error: str


class Intake:
    """Lives around the drivers: leaving it waits until everything handed in is accepted or refused."""

    def __init__(self, store: Store, *, window_ms: int = 250) -> None:
        """window_ms: the buffer's commit window."""
        self._store = store
        self._window_s = window_ms / 1000
        self._under_way: dict[int, float] = {}  # number of an append → loop time of its start, oldest first
        self._begun = 0
        self._settled = asyncio.Event()
        self._slots = asyncio.Semaphore(UNDER_WAY_MAX)
        self._appends = asyncio.TaskGroup()
        self._accepted = 0
        self._refused = 0
        self._last_error = ""
        self._missed: dict[str, tuple[Reading, Reading]] = {}  # by channel: first and last one that found no disk

    async def __aenter__(self) -> Self:
        await self._appends.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._appends.__aexit__(kind, error, trace)

    @property
    def state(self) -> IntakeState:
        """The counts so far."""
        return IntakeState(self._accepted, self._refused, self._last_error)

    async def accept(self, observations: Sequence[Observation]) -> None:
        """Return when all of them are on the disk. Raises BufferFull or ObservationRefused (both counted here)."""
        try:
            await self._store.append(observations)
        except (BufferFull, ObservationRefused) as error:
            self._refused += len(observations)
            if not self._last_error:
                log.error("observations are refused: %s", error)
            self._last_error = str(error)[:ERROR_CHARS]
            if isinstance(error, BufferFull):
                self._remember(observations)
            raise
        if self._last_error:
            log.warning("observations are accepted again, %d were refused", self._refused)
            self._last_error = ""
        self._accepted += len(observations)
        if self._missed:
            await self._mark_the_gap()

    def _remember(self, observations: Sequence[Observation]) -> None:
        for each in observations:
            if isinstance(each, Reading) and (each.channel in self._missed or len(self._missed) < MISSED_MAX):
                first, _ = self._missed.get(each.channel, (each, each))
                self._missed[each.channel] = (first, each)

    async def _mark_the_gap(self) -> None:
        missed, self._missed = self._missed, {}
        ends = [reading for pair in missed.values() for reading in dict.fromkeys(pair)]
        marks = [msgspec.structs.replace(each, mantissa=None, quality=Quality.STALE) for each in ends]
        try:
            await self._store.append(marks)
        except (BufferFull, ObservationRefused):
            for channel, (first, last) in missed.items():  # the next one that is accepted tries again
                self._missed[channel] = (first, self._missed.get(channel, (first, last))[1])
        else:
            self._accepted += len(marks)

    async def room(self) -> None:
        """Return when nothing has been waiting for the disk for longer than a commit window."""
        loop = asyncio.get_running_loop()
        while self._under_way and loop.time() - next(iter(self._under_way.values())) > self._window_s:
            self._settled.clear()
            await self._settled.wait()

    async def put(self, observations: Sequence[Observation]) -> None:
        """Return when they are on their way to the disk, in order."""
        await self._slots.acquire()
        self._begun += 1
        self._under_way[self._begun] = asyncio.get_running_loop().time()
        self._appends.create_task(self._append(observations, self._begun), name="append")

    async def _append(self, observations: Sequence[Observation], number: int) -> None:
        try:
            await self.accept(observations)
        except (BufferFull, ObservationRefused):
            pass  # counted and told by accept
        finally:
            del self._under_way[number]
            self._slots.release()
            self._settled.set()
