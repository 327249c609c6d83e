"""What is on its way, and what may go next: pure bookkeeping, time is given in.

Two lanes share one small window of packs without a receipt. The live lane (the newest packs) may use all of it, the
backfill lane (the oldest unsent first) leaves a reserve and keeps to a rate, so that live data never wait behind
history. A pack without a receipt is due again after `retry_s`, then after twice that, up to eight times.

A new connection is in doubt until the cloud's first receipt comes over it, and so is one whose broker says that
nobody is there to take packs. In doubt only live packs go, and the newest of them, the probe, is sent again soon and
then ever later: the cloud may be back a moment after us. History waits, or it would only fill the broker.
Out of doubt, backfill starts with two packs at a time and doubles with what is receipted; a pack that has to be sent
again halves it. So a thousand gateways back from one outage share what the cloud can take.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from edge.buffer.base import PackName
from wire.receipt import Receipt

LIVE_PACKS = 4  # this many packs below the head are live: a burst of sealing, not a backlog
LIVE_RESERVE = 6  # places in the window that backfill leaves free
BACKOFF_STEPS = 3  # doublings of retry_s
JITTER = 0.1  # of the delay, so that gateways do not march in step
PROBE_S = 0.2  # when the probe goes again after the broker said that nobody is there
QUICK_PROBES = 5  # so often; then ever later
ANSWER_S = 1.0  # … and when it said yes, but no receipt came, at first
FIRST_BACKFILL = 2  # packs
HISTORY_WAIT_PART = 0.1  # of the outage: the longest that history waits after it …
HISTORY_WAIT_MAX_S = 30.0  # … and at most


@dataclass(slots=True)
class Flight:
    """One pack on its way. `until_puback`: nobody will send a receipt for it, the broker's word must do.

    due_s: infinite while it waits for the doubt to end. stranded: the broker had nobody to give it to.
    """

    due_s: float
    attempts: int
    until_puback: bool
    stranded: bool = False


class Window:
    """The packs that were published and have no receipt yet."""

    def __init__(self, size: int, retry_s: float, rng: random.Random) -> None:
        self._size = size
        self._retry_s = retry_s
        self._rng = rng
        self._flights: dict[PackName, Flight] = {}
        self._in_doubt = True
        self._probe: PackName | None = None
        self._probes = 0
        self._backfill = FIRST_BACKFILL

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def names(self) -> frozenset[PackName]:
        """Everything on its way."""
        return frozenset(self._flights)

    @property
    def in_doubt(self) -> bool:
        """Whether the cloud has yet to show that packs reach it over this connection."""
        return self._in_doubt

    @property
    def live_room(self) -> int:
        """Places the live lane may use."""
        return max(0, self._size - len(self._flights))

    @property
    def backfill_room(self) -> int:
        """Places the backfill lane may use."""
        if self._in_doubt:
            return 0
        return max(0, min(self._size - LIVE_RESERVE, self._backfill) - len(self._flights))

    @property
    def next_due_s(self) -> float | None:
        """When the first pack is due again; None when none will be."""
        first_s = min((flight.due_s for flight in self._flights.values()), default=math.inf)
        return None if first_s == math.inf else first_s

    def limit(self, size: int) -> None:
        """Shrink to what a broker takes at a time."""
        self._size = max(1, size)

    def launch(self, name: PackName, now_s: float, *, until_puback: bool = False) -> None:
        """A pack was handed to the broker, for the first time or again."""
        before = self._flights.get(name)
        attempts = 1 if before is None else before.attempts + 1
        until_puback = until_puback if before is None else before.until_puback
        self._flights[name] = flight = Flight(math.inf, attempts, until_puback)
        if not self._in_doubt:
            if attempts > 1:
                self._backfill = max(FIRST_BACKFILL, self._backfill // 2)
            flight.due_s = now_s + self._spread(self._retry_s * 2 ** min(attempts - 1, BACKOFF_STEPS))
        elif self._becomes_probe(name):
            self._probes += 1
            flight.due_s = now_s + self._probe_delay_s(ANSWER_S, self._probes - 1)

    def due(self, now_s: float) -> list[PackName]:
        """What has waited too long for its receipt, longest first."""
        late = [(flight.due_s, name) for name, flight in self._flights.items() if flight.due_s <= now_s]
        return [name for _, name in sorted(late)]

    def reconnect(self) -> list[PackName]:
        """The connection is new, what was on its way may be lost: those packs, which are to be sent anew."""
        lost = [name for name, flight in self._flights.items() if not flight.until_puback]
        for name in lost:
            del self._flights[name]
        for flight in self._flights.values():
            flight.due_s, flight.stranded = math.inf, True
        self._doubt()
        self._backfill = FIRST_BACKFILL
        return lost

    def heard(self, now_s: float) -> list[PackName]:
        """The cloud's word came, so packs reach it: what was stranded goes again, newest first.

        Returns what is history by now and taken out: backfill brings it.
        """
        if not self._in_doubt:
            return []
        self._in_doubt, self._probe = False, None
        stranded = sorted((name for name, flight in self._flights.items() if flight.stranded), reverse=True)
        history = [name for name in stranded[LIVE_PACKS:] if not self._flights[name].until_puback]
        for name in history:
            del self._flights[name]
        for flight in self._flights.values():
            if flight.stranded:
                flight.due_s, flight.attempts = now_s, 0
            elif flight.due_s == math.inf:
                flight.due_s = now_s + self._spread(self._retry_s)
        return history

    def land(self, receipt: Receipt) -> None:
        """Take out what a receipt settles or refuses."""
        refused = {seq for seq, _, _ in receipt.refused}
        for stream, seq in list(self._flights):
            if stream == receipt.stream and (receipt.settles(seq) or seq in refused):
                del self._flights[stream, seq]
                self._backfill = min(self._size, self._backfill + 1)

    def puback(self, name: PackName) -> None:
        """The broker took a pack over: the end of its way when no receipt is expected, nothing otherwise."""
        flight = self._flights.get(name)
        if flight is not None and flight.until_puback:
            del self._flights[name]

    def nobody(self, name: PackName, now_s: float) -> None:
        """The broker took a pack and gave it to nobody: the cloud is not connected to it."""
        flight = self._flights.get(name)
        if flight is None:
            return
        if not self._in_doubt:
            self._doubt()
        flight.due_s, flight.stranded = math.inf, True
        if self._becomes_probe(name):
            flight.due_s = now_s + self._probe_delay_s(PROBE_S, max(0, self._probes - QUICK_PROBES))

    def drop(self, name: PackName) -> None:
        """The pack is no longer there to send, or no receipt can be hoped for."""
        self._flights.pop(name, None)

    def _doubt(self) -> None:
        self._in_doubt, self._probe, self._probes = True, None, 0

    def _becomes_probe(self, name: PackName) -> bool:
        """Whether this pack is the newest on its way; the one before it then waits."""
        before = self._probe
        if before is not None and before != name and before in self._flights:
            if before[0] == name[0] and name[1] < before[1]:
                return False
            self._flights[before].due_s = math.inf
        self._probe = name
        return True

    def _probe_delay_s(self, first_s: float, doublings: int) -> float:
        return self._spread(min(self._retry_s, first_s * 2.0**doublings))

    def _spread(self, delay_s: float) -> float:
        return delay_s * (1 + JITTER * self._rng.random())


def history_wait_s(outage_s: float, rng: random.Random) -> float:
    """When history may start after an outage: a moment of one's own, so that a crowd doesn't bring it at once."""
    return rng.uniform(0, min(HISTORY_WAIT_MAX_S, HISTORY_WAIT_PART * outage_s))


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
