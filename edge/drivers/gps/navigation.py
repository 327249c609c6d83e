"""Sentences of one moment → one solution: where the receiver is, how fast, and how far that may be believed. Pure.

A receiver tells each moment in several sentences, in an order of its maker's. They are put together by their time of
day, and there is a position only if none of them disowns it: RMC with status V or GGA with quality 0 at the same
moment is "no fix", whatever the other says, and so are two positions of one moment that lie apart. A receiver that
sends only one of the two kinds is told from that when its next moment begins, and at once from then on; should the
other kind come after all (some send GGA only now and then), the moment is told again with it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from edge.drivers.gps.codec import Gga, Position, Rmc, Sentence

APART_MAX = (
    100  # 1e-7 degrees, 1.1 m: both say the same digits. The checksum, an XOR, misses two like flips; this doesn't
)

At = TypeVar("At")


class Solution(msgspec.Struct, Generic[At], frozen=True):
    """What one moment's sentences say. at: what was given with the first of them. position: None without a fix."""

    at: At
    position: Position | None
    speed_knots: Decimal | None
    satellites: int | None
    hdop: Decimal | None


class Navigator(Generic[At]):
    """Puts sentences together. Holds one moment's at most."""

    def __init__(self) -> None:
        self._at: list[At] = []  # one, while a moment is open
        self._rmc: Rmc | None = None
        self._gga: Gga | None = None
        self._given = False
        self._usual: frozenset[type[Sentence]] = frozenset({Rmc, Gga})  # what makes this receiver's moment whole

    def take(self, sentence: Sentence, at: At) -> list[Solution[At]]:
        """What this sentence completes: the moment before, its own, both, or nothing."""
        if not isinstance(sentence, Rmc | Gga):
            return []
        held, other = (self._gga, self._rmc) if isinstance(sentence, Gga) else (self._rmc, self._gga)
        done: list[Solution[At]] = []
        if held is not None or (other is not None and other.time_ms != sentence.time_ms):
            self._usual = self._kinds()
            done += self.finish()
        if not self._at:
            self._at = [at]
        if isinstance(sentence, Rmc):
            self._rmc = sentence
        else:
            self._gga = sentence
        if self._kinds() >= self._usual:
            self._given = True
            done.append(self._solution())
        return done

    def finish(self) -> list[Solution[At]]:
        """End the moment; its solution, unless it was given already."""
        done = [self._solution()] if self._at and not self._given else []
        self.reset()
        return done

    def reset(self) -> None:
        """Forget an unfinished moment, because its rest will not come."""
        self._at = []
        self._rmc = self._gga = None
        self._given = False

    def _kinds(self) -> frozenset[type[Sentence]]:
        return frozenset(type(one) for one in (self._rmc, self._gga) if one is not None)

    def _solution(self) -> Solution[At]:
        rmc, gga = self._rmc, self._gga
        fixed = all(one.valid and one.position is not None for one in (rmc, gga) if one is not None)
        places = [one.position for one in (rmc, gga) if one is not None and one.position is not None]
        agree = fixed and _apart(places[0], places[-1]) <= APART_MAX
        return Solution(
            at=self._at[0],
            position=places[0] if agree else None,
            speed_knots=rmc.speed_knots if agree and rmc is not None else None,
            satellites=None if gga is None else (gga.satellites or 0) if gga.valid else 0,
            hdop=gga.hdop if agree and gga is not None else None,
        )


def _apart(one: Position, other: Position) -> int:
    return max(abs(one.latitude - other.latitude), abs(one.longitude - other.longitude))
