"""The task that watches the clock: whatever it was wrong about goes into the stream as a signed correction.

A correction is forgotten here only once the buffer holds it durably; a gateway that is killed in between declares it
again at its next start, which does no harm (docs/wire.md §4.3).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from edge.buffer.base import BufferFull, DeclarationRefused
from edge.clock import Clock
from wire.observation import ClockState
from wire.pack import Correction

UNSYNCED_LOOK_S = 1.0  # somebody waits for the time
SYNCED_LOOK_S = 5.0  # a look is two system calls; every stamp is one as well
FULL_PAUSE_S = 5.0

log = logging.getLogger(__name__)


class Declares(Protocol):
    """What timekeeping needs of the buffer."""

    async def declare(self, entry: Correction) -> None:
        """Durable when it returns. Raises BufferFull, DeclarationRefused."""


async def keep_time(clock: Clock, buffer: Declares, *, look_s: float | None = None) -> None:
    """Watch until cancelled. look_s: how often, in place of what the clock's state asks for."""
    told = ""
    while True:
        state = clock.stamp().clock
        try:
            await _declare(clock, buffer)
            told = ""
        except BufferFull as error:
            if str(error) != told:
                log.error("corrections of the clock wait for room in the buffer: %s", error)
            told = str(error)
            await asyncio.sleep(FULL_PAUSE_S)
        await asyncio.sleep(look_s or (SYNCED_LOOK_S if state is ClockState.SYNCED else UNSYNCED_LOOK_S))


async def _declare(clock: Clock, buffer: Declares) -> None:
    waiting = list(clock.pending())
    for correction in waiting:
        try:
            await buffer.declare(correction)
        except DeclarationRefused as error:
            log.error("a correction of the clock cannot be declared: %s", error)
    if waiting:
        clock.declared(waiting)
