"""How long to wait before the broker is tried again: pure, chance is given in.

Two kinds of failure. Nobody there (the port is closed, the network is gone): trying costs the broker nothing, so it
is tried again soon, and delivery resumes within 2 s of its return. Everything else costs it something, and after an
outage of a whole province a thousand gateways come at once: time-outs, failed handshakes, refusals and connections
that break right after they were made are answered with ever longer waits, each drawn from the whole span ("full
jitter"), so that the crowd spreads out.
"""

from __future__ import annotations

import random

from edge.uplink.base import BrokerAbsent, UplinkError

SOON_S = (0.2, 0.8)
FIRST_SPAN_S = 1.0
LONGEST_SPAN_S = 60.0
STABLE_S = 10.0  # a connection that lasted this long, or brought a receipt, ends the waiting


class Reconnect:
    """The waits of one gateway."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def served(self) -> None:
        """The connection is good: it lasted, or a receipt came over it."""
        self._failures = 0

    def wait_s(self, why: UplinkError, *, lasted_s: float) -> float:
        """Seconds until the next try. lasted_s: how long the connection was up; 0 when it never was."""
        if lasted_s >= STABLE_S:
            self._failures = 0
            return self._rng.uniform(*SOON_S)  # an ordinary loss: everybody may come back at once
        if isinstance(why, BrokerAbsent):
            return self._rng.uniform(*SOON_S)
        self._failures += 1
        span_s = min(LONGEST_SPAN_S, FIRST_SPAN_S * 2.0 ** (self._failures - 1))
        return self._rng.uniform(SOON_S[0], max(SOON_S[1], span_s))
