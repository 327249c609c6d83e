"""Whether the other end of a connection still answers: pure bookkeeping, time is given in.

Only the broker's own answers count (PUBACK, SUBACK, UNSUBACK, a letter). What TCP says counts for nothing: a dead
modem, a full NAT table or a hung proxy keeps sockets open and takes whatever is written. When nothing was heard for
`patience_s`, something is asked; when that, or a pack, has no answer for as long again, the link is dead. So a link
is dead 2 × patience_s after the last word, whether it was idle or busy. A large pack is granted the time that it
needs on a slow line, or such a line could never carry it.
"""

from __future__ import annotations

from typing import NamedTuple

SLOWEST_BYTES_PER_S = 8_000  # a line that carries less, about 64 kbit/s, may be taken for dead while a pack travels


class Look(NamedTuple):
    """What to do now, and when to look again at the latest."""

    ask: bool
    dead: bool
    again_in_s: float


class Pulse:
    """The answers of one connection. `owe` and `answered` name what is asked by the library's message number."""

    def __init__(self, patience_s: float, now_s: float) -> None:
        self._patience_s = patience_s
        self._heard_at_s = self._answered_at_s = now_s
        self._owed: dict[int, tuple[float, int]] = {}  # number → when, bytes; oldest first
        self._owed_bytes = 0

    @property
    def unanswered_bytes(self) -> int:
        """Bytes that were sent and have no answer yet."""
        return self._owed_bytes

    def owe(self, number: int, size_bytes: int, now_s: float) -> None:
        """Something was sent that has to be answered."""
        self._owed[number] = (now_s, size_bytes)
        self._owed_bytes += size_bytes

    def answered(self, number: int, now_s: float) -> None:
        """It was answered."""
        _, size_bytes = self._owed.pop(number, (0.0, 0))
        self._owed_bytes -= size_bytes
        self._answered_at_s = now_s
        self.heard(now_s)

    def heard(self, now_s: float) -> None:
        """Something came, whatever it was."""
        self._heard_at_s = now_s

    def look(self, now_s: float) -> Look:
        """Judge the connection."""
        if not self._owed:
            left_s = self._heard_at_s + self._patience_s - now_s
            return Look(ask=left_s <= 0, dead=False, again_in_s=max(left_s, 0.0))
        asked_at_s, size_bytes = next(iter(self._owed.values()))
        since_s = max(asked_at_s, self._answered_at_s)  # answers come in the order of the questions
        ends_s = max(self._heard_at_s + 2 * self._patience_s, since_s + self._patience_s)
        ends_s = min(ends_s, since_s + 2 * self._patience_s)  # letters alone are no answer: the way up may be deaf
        left_s = ends_s + size_bytes / SLOWEST_BYTES_PER_S - now_s
        return Look(ask=False, dead=left_s <= 0, again_in_s=max(left_s, 0.0))
