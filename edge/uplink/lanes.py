"""What is on its way, and what may go next: pure bookkeeping, time is given in.

Two lanes share one small window of packs without a receipt. The live lane (the newest packs) may use all of it, the
backfill lane (the oldest unsent first) leaves a reserve and keeps to a rate, so that live data never wait behind
history. A pack without a receipt is due again after `retry_s`, then after twice that, up to eight times.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from edge.buffer.base import PackName
from wire.receipt import Receipt

LIVE_PACKS = 4  # this many packs below the head are live: a burst of sealing, not a backlog
LIVE_RESERVE = 6  # places in the window that backfill leaves free
BACKOFF_STEPS = 3  # doublings of retry_s
JITTER = 0.1  # of the delay, so that gateways do not march in step


@dataclass(slots=True)
class Flight:
    """One pack on its way. `until_puback`: nobody will send a receipt for it, the broker's word must do."""

    due_s: float
    attempts: int
    until_puback: bool


class Window:
    """The packs that were published and have no receipt yet."""

    def __init__(self, size: int, retry_s: float, rng: random.Random) -> None:
        self._size = size
        self._retry_s = retry_s
        self._rng = rng
        self._flights: dict[PackName, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def names(self) -> frozenset[PackName]:
        """Everything on its way."""
        return frozenset(self._flights)

    @property
    def live_room(self) -> int:
        """Places the live lane may use."""
        return max(0, self._size - len(self._flights))

    @property
    def backfill_room(self) -> int:
        """Places the backfill lane may use."""
        return max(0, self._size - LIVE_RESERVE - len(self._flights))

    @property
    def next_due_s(self) -> float | None:
        """When the first pack is due again; None when nothing is on its way."""
        return min((flight.due_s for flight in self._flights.values()), default=None)

    def limit(self, size: int) -> None:
        """Shrink to what a broker takes at a time."""
        self._size = max(1, size)

    def launch(self, name: PackName, now_s: float, *, until_puback: bool = False) -> None:
        """A pack was handed to the broker, for the first time or again."""
        before = self._flights.get(name)
        attempts = 1 if before is None else before.attempts + 1
        delay_s = self._retry_s * 2 ** min(attempts - 1, BACKOFF_STEPS) * (1 + JITTER * self._rng.random())
        until_puback = until_puback if before is None else before.until_puback
        self._flights[name] = Flight(now_s + delay_s, attempts, until_puback)

    def due(self, now_s: float) -> list[PackName]:
        """What has waited too long for its receipt, longest first."""
        late = [(flight.due_s, name) for name, flight in self._flights.items() if flight.due_s <= now_s]
        return [name for _, name in sorted(late)]

    def make_all_due(self, now_s: float) -> None:
        """The connection is new: what was on its way may be lost."""
        for flight in self._flights.values():
            flight.due_s, flight.attempts = now_s, 0

    def land(self, receipt: Receipt) -> None:
        """Take out what a receipt settles or refuses."""
        refused = {seq for seq, _, _ in receipt.refused}
        for stream, seq in list(self._flights):
            if stream == receipt.stream and (receipt.settles(seq) or seq in refused):
                del self._flights[stream, seq]

    def puback(self, name: PackName) -> None:
        """The broker took a pack over: the end of its way when no receipt is expected, nothing otherwise."""
        flight = self._flights.get(name)
        if flight is not None and flight.until_puback:
            del self._flights[name]

    def drop(self, name: PackName) -> None:
        """The pack is no longer there to send, or no receipt can be hoped for."""
        self._flights.pop(name, None)


class Pace:
    """A token bucket in readings per second, one second deep; a pack may overdraw it, the next one then waits."""

    def __init__(self, readings_per_s: int) -> None:
        self._rate = readings_per_s
        self._tokens = float(readings_per_s)
        self._seen_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """How long until the next pack may go; 0 when it may now."""
        if self._seen_s is not None:
            self._tokens = min(float(self._rate), self._tokens + (now_s - self._seen_s) * self._rate)
        self._seen_s = now_s
        return 0.0 if self._tokens > 0 else -self._tokens / self._rate + 0.001

    def spend(self, readings: int) -> None:
        """A pack of so many readings went."""
        self._tokens -= readings
