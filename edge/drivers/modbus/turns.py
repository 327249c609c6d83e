"""Who may use a shared line next: in turn, and the silent ones on a budget.

A slave that doesn't answer keeps the line for its whole time-out. So that dead ones cost the live ones little:

1. Requests are served in the order in which they came; a device has at most one waiting.
2. A unit whose last request ended in silence is *suspect* until it answers. On a line with several units, suspects
   together may use SILENT_SHARE of the time and no more, even while nobody else wants the line: somebody soon will.
   A suspect's turn that lasted a second is paid for by five seconds, in which only the others have turns.

Hence a live device waits for one dead slave's time-out at most, now and then; and the dead ones are still asked. One
that is back answers at once, and costs the others who wait to be asked no more of the budget.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

SILENT_SHARE = 0.2  # of the line's time
CREDIT_MAX_S = 0.02  # less than any time-out: never two silent turns in a row
TIMER_SLACK_S = 0.001  # a timer may come a little early


class _Waiting(NamedTuple):
    unit_id: int
    turn: asyncio.Future[None]


class Turns:
    """The turns of one line. In every turn it is told, by `tell`, how the unit behaved."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[_Waiting] = deque()
        self._units: set[int] = set()
        self._suspects: set[int] = set()
        self._credit_s = CREDIT_MAX_S
        self._credited_at_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def take(self, unit_id: int) -> AsyncIterator[None]:
        """Wait for a turn, and give it on at the end."""
        self._units.add(unit_id)
        if self._taken or not self._may_go(unit_id):
            await self._wait(unit_id)
        self._taken = True
        try:
            yield
        finally:
            self._give_on()

    def tell(self, unit_id: int, *, answered: bool, took_s: float) -> None:
        """How the unit behaved in its turn. answered: anything, even a refusal."""
        if answered:
            self._suspects.discard(unit_id)
        else:
            self._suspects.add(unit_id)
            self._credit()
            self._credit_s -= took_s

    def is_suspect(self, unit_id: int) -> bool:
        """Whether its last request ended in silence."""
        return unit_id in self._suspects

    async def _wait(self, unit_id: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(unit_id, turn)
        self._waiting.append(waiting)
        if not self._taken:
            self._next()  # sets the timer
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(waiting)
            else:
                self._give_on()  # it was our turn already
            raise

    def _give_on(self) -> None:
        self._taken = False
        self._next()

    def _next(self) -> None:
        """Give the free line to the first who may have it; it is taken from now on, so that nobody slips in."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # One that was cancelled just now is still in the queue until its task has noticed.
        there = [waiting for waiting in self._waiting if not waiting.turn.done()]
        chosen = next((waiting for waiting in there if self._may_go(waiting.unit_id)), None)
        if chosen is not None:
            self._waiting.remove(chosen)
            self._taken = True
            chosen.turn.set_result(None)
        elif there:
            wait_s = max(0.0, -self._credit_s / SILENT_SHARE) + TIMER_SLACK_S
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._timed)

    def _timed(self) -> None:
        self._timer = None
        if not self._taken:
            self._next()

    def _may_go(self, unit_id: int) -> bool:
        if unit_id not in self._suspects or len(self._units) == 1:
            return True
        self._credit()
        return self._credit_s > 0

    def _credit(self) -> None:
        now_s = time.monotonic()
        self._credit_s = min(CREDIT_MAX_S, self._credit_s + SILENT_SHARE * (now_s - self._credited_at_s))
        self._credited_at_s = now_s
