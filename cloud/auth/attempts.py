"""How often a password may be guessed wrong before guessing stops for a while. Kept in memory: one per web process.

Invariants: after MOST_WRONG failures of one login from one address, or MOST_WRONG_PER_ADDRESS of any logins from one
address, within WINDOW_S, nothing from there is tried until the oldest failure has left the window; somebody guessing
elsewhere never locks a person out of their own desk; memory is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_S = 15 * 60.0
MOST_WRONG = 5
MOST_WRONG_PER_ADDRESS = 50  # an office behind one address has many people, few of whom mistype at once
MOST_KEPT = 20_000  # places remembered; the one untouched for longest is forgotten first


class Attempts:
    """Failed sign-ins of late, by (login, address) and by address."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def reserve(self, login: str, address: str) -> float:
        """Count a try as failed before it is made, so that parallel guesses can't slip through.

        Returns 0 when it may be made, or the seconds to wait (then nothing was counted).
        """
        now = self._monotonic_s()
        bounds = (((login, address), MOST_WRONG), (("", address), MOST_WRONG_PER_ADDRESS))
        with self._lock:
            for key, most in bounds:
                failures = self._recent(key, now)
                if len(failures) >= most:
                    return failures[0] + WINDOW_S - now
            for key, _ in bounds:
                self._failures.setdefault(key, deque()).append(now)
                self._failures.move_to_end(key)
            while len(self._failures) > MOST_KEPT:
                self._failures.popitem(last=False)
        return 0.0

    def succeeded(self, login: str, address: str) -> None:
        """The try fitted: the login's failures from here are forgotten, the address's last one is taken back."""
        with self._lock:
            self._failures.pop((login, address), None)
            failures = self._failures.get(("", address))
            if failures:
                failures.pop()

    def _recent(self, key: tuple[str, str], now: float) -> deque[float]:
        failures = self._failures.get(key, deque())
        while failures and failures[0] <= now - WINDOW_S:
            failures.popleft()
        return failures
