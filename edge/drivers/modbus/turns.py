"""Who may use a shared line next: in turn, and the silent ones on a budget.

A slave that doesn't answer keeps the line for its whole time-out. So that several dead ones never stand one after
the other before a live one:

1. Requests are served in the order in which they came; every device has at most one waiting.
2. A unit whose last request ended in silence is *suspect* until it answers. Suspects may use the line when nobody
   else waits for it, or within their budget: SILENT_SHARE of the time, with no credit to speak of. A suspect's turn
   that lasted a second is paid for by five seconds in which live devices go first.

Hence a live device waits for one dead slave's time-out at most, and the dead ones are still asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

SILENT_SHARE = 0.2  # of the line's time, at most, may go to units that were silent when they were last asked
CREDIT_MAX_S = 0.05  # less than any time-out: never two silent turns in a row while a live device waits


class _Waiting(NamedTuple):
    unit_id: int
    turn: asyncio.Future[None]


class Turns:
    """The turns of one line. Every `take` is followed by `tell`, as soon as it is known how the unit behaved."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._taken = False
        self._waiting: deque[_Waiting] = deque()
        self._suspects: set[int] = set()
        self._credit_s = CREDIT_MAX_S
        self._credited_at_s = now_s()

    @asynccontextmanager
    async def take(self, unit_id: int) -> AsyncIterator[None]:
        """Wait for a turn, and give it on at the end."""
        if self._taken:
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
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_on()  # it was our turn already
            else:
                self._waiting.remove(waiting)
            raise

    def _give_on(self) -> None:
        """Hand the line to the next: it stays taken in between, so that nobody can slip in."""
        self._taken = bool(self._waiting)
        if self._taken:
            chosen = self._choose()
            self._waiting.remove(chosen)
            chosen.turn.set_result(None)

    def _choose(self) -> _Waiting:
        self._credit()
        if self._credit_s <= 0:
            for waiting in self._waiting:
                if waiting.unit_id not in self._suspects:
                    return waiting
        return self._waiting[0]

    def _credit(self) -> None:
        now_s = self._now_s()
        self._credit_s = min(CREDIT_MAX_S, self._credit_s + SILENT_SHARE * (now_s - self._credited_at_s))
        self._credited_at_s = now_s
