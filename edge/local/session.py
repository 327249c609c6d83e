"""Who is signed in at the local page, and how often somebody may guess. In memory: a restart signs everybody out."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

LIFETIME_S = 12 * 3600.0
SESSIONS_MAX = 32
FREE_GUESSES = 5  # a person with gloves on
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
ADDRESSES_MAX = 256
ALL_GUESSES, ALL_SPAN_S = 30, 300.0  # from everywhere together: addresses are cheap on a local network


class Session:
    """One browser."""

    def __init__(self, ends_s: float) -> None:
        self.ends_s = ends_s
        self.csrf = secrets.token_urlsafe(24)

    def accepts(self, csrf: str) -> bool:
        """Whether a form carries this session's token."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Every session by its token."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._by_token: OrderedDict[str, Session] = OrderedDict()

    def start(self) -> str:
        """Begin one; the oldest gives way."""
        token = secrets.token_urlsafe(32)
        self._by_token[token] = Session(self._now_s() + LIFETIME_S)
        while len(self._by_token) > SESSIONS_MAX:
            self._by_token.popitem(last=False)
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token, None when there is none or it is over."""
        session = self._by_token.get(token)
        if session is not None and session.ends_s <= self._now_s():
            del self._by_token[token]
            return None
        return session

    def end(self, token: str) -> None:
        """Sign out."""
        self._by_token.pop(token, None)

    def end_all(self) -> None:
        """The password was changed."""
        self._by_token.clear()


class Guesses:
    """How long somebody must wait before the next guess."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._by_address: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, when the next may come
        self._all: list[float] = []

    def wait_s(self, address: str) -> float:
        """Real seconds until a guess from there is looked at; 0: now."""
        now_s = self._now_s()
        self._all = [at_s for at_s in self._all if now_s - at_s < ALL_SPAN_S]
        everybody_s = ALL_SPAN_S - (now_s - self._all[0]) if len(self._all) >= ALL_GUESSES else 0.0
        _, free_s = self._by_address.get(address, (0, 0.0))
        return max(0.0, free_s - now_s, everybody_s)

    def failed(self, address: str) -> None:
        """A guess was wrong. Counted before the password is looked at, so that guesses at once don't pass."""
        now_s = self._now_s()
        count = self._by_address.get(address, (0, 0.0))[0] + 1
        over = count - FREE_GUESSES
        pause_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**over) if over >= 0 else 0.0
        self._by_address[address] = (count, now_s + pause_s)
        self._by_address.move_to_end(address)
        while len(self._by_address) > ADDRESSES_MAX:
            self._by_address.popitem(last=False)
        self._all.append(now_s)

    def succeeded(self, address: str) -> None:
        """It was the password."""
        self._by_address.pop(address, None)
        if self._all:
            self._all.pop()
