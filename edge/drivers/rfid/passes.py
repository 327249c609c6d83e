"""Tag reads → passes: what a portal saw, one per tag and visit. Pure; both RFID drivers share it.

A tag in a reader's field is read many times a second. Its reads are one pass until it has not been read for `dwell_ms`,
or the pass has lasted for `longest_ms`: a tag that stays is told of again and again, so that a crash costs little.

Kept, each with a test of its name:
1. every_read_is_in_exactly_one_pass  The counts of the passes add up to the reads.
2. a_pass_is_told_once_it_is_over     At most `dwell_ms` after its last read, if `due` is asked then.
3. memory_is_bounded                  At most TAGS_MAX passes are open, each of fixed size. One more ends the pass that
                                      was read least recently, early: it is told, not lost.
4. time_may_stand_still               Reads of the same moment, or a little out of order, neither split nor stretch.

Times are monotonic milliseconds; wall time comes in with `Stamp`, as believed when the read arrived.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Literal

import msgspec

from wire.observation import Stamp

TAGS_MAX = 10_000  # a pallet portal sees some hundreds; 10,000 open passes hold about 10 MB
LEAD_MS = 50  # a direction must show by at least this much…
LEAD_SHARE = 0.1  # …and by this share of the pass

Direction = Literal["", "in", "out"]


class Pass(msgspec.Struct, frozen=True, gc=False):
    """One visit of one tag. last: the stamp of its last read; antenna and rssi_dbm: of the strongest read."""

    epc: str
    first_ms: int
    last: Stamp
    count: int
    antenna: int | None
    rssi_dbm: int | None
    direction: Direction


class _Open(msgspec.Struct, gc=False):
    first_ms: int
    last: Stamp
    count: int
    antenna: int | None
    rssi_dbm: int | None
    outside_reads: int = 0
    outside_sum_ms: int = 0  # of the times since first_ms, weighted by reads
    inside_reads: int = 0
    inside_sum_ms: int = 0


class Collapser:
    """The passes that are going on. Feed it reads in the order of their arrival."""

    def __init__(
        self,
        *,
        dwell_ms: int,
        longest_ms: int,
        outside: Collection[int] = (),
        inside: Collection[int] = (),
        tags_max: int = TAGS_MAX,
    ) -> None:
        """outside, inside: the antennas on either side of a door; without them no pass has a direction."""
        self._dwell_ms = dwell_ms
        self._longest_ms = longest_ms
        self._outside = frozenset(outside)
        self._inside = frozenset(inside)
        self._tags_max = tags_max
        self._by_last: OrderedDict[str, _Open] = OrderedDict()  # least recently read first
        self._by_first: dict[str, _Open] = {}  # longest going on first
        self._over: list[Pass] = []

    @property
    def going_on(self) -> int:
        """How many passes are open."""
        return len(self._by_last)

    def add(self, epc: str, stamp: Stamp, antenna: int | None, rssi_dbm: int | None, count: int = 1) -> None:
        """Take a read, or `count` of them that the reader has added up. A pass that it ends is told by `due`."""
        at_ms = stamp.monotonic_ms
        going = self._by_last.get(epc)
        if going is not None and (
            at_ms - going.last.monotonic_ms > self._dwell_ms or at_ms - going.first_ms > self._longest_ms
        ):
            self._end(epc)
            going = None
        if going is None:
            if len(self._by_last) >= self._tags_max:
                self._end(next(iter(self._by_last)))
            going = self._by_last[epc] = self._by_first[epc] = _Open(at_ms, stamp, count, antenna, rssi_dbm)
        else:
            self._by_last.move_to_end(epc)
            going.count += count
            if at_ms >= going.last.monotonic_ms:
                going.last = stamp
            if rssi_dbm is not None and (going.rssi_dbm is None or rssi_dbm > going.rssi_dbm):
                going.rssi_dbm, going.antenna = rssi_dbm, antenna
        if antenna in self._outside:
            going.outside_reads += count
            going.outside_sum_ms += count * (at_ms - going.first_ms)
        elif antenna in self._inside:
            going.inside_reads += count
            going.inside_sum_ms += count * (at_ms - going.first_ms)

    def due(self, now_ms: int) -> list[Pass]:
        """The passes that are over by now, in the order in which they ended; each is told once."""
        while self._by_last:
            epc, going = next(iter(self._by_last.items()))
            if now_ms - going.last.monotonic_ms <= self._dwell_ms:
                break
            self._end(epc)
        while self._by_first:
            epc, going = next(iter(self._by_first.items()))
            if now_ms - going.first_ms <= self._longest_ms:
                break
            self._end(epc)
        over, self._over = self._over, []
        return over

    def next_due_ms(self) -> int | None:
        """When `due` will have something, if nothing more is read; None: never."""
        if self._over:
            return self._over[0].last.monotonic_ms
        if not self._by_last:
            return None
        last_ms = next(iter(self._by_last.values())).last.monotonic_ms
        first_ms = next(iter(self._by_first.values())).first_ms
        return min(last_ms + self._dwell_ms, first_ms + self._longest_ms) + 1

    def end_all(self) -> list[Pass]:
        """End every pass now: no more reads will come."""
        for epc in list(self._by_last):
            self._end(epc)
        over, self._over = self._over, []
        return over

    def _end(self, epc: str) -> None:
        going = self._by_last.pop(epc)
        del self._by_first[epc]
        self._over.append(
            Pass(
                epc,
                going.first_ms,
                going.last,
                going.count,
                going.antenna,
                going.rssi_dbm,
                _direction(going),
            )
        )


def _direction(going: _Open) -> Direction:
    """Which side saw the tag earlier, on average: one stray read at the wrong end doesn't turn it.

    None when only one side saw it, or both did at about the same time (it came and went back).
    """
    if not going.outside_reads or not going.inside_reads:
        return ""
    lead_ms = going.inside_sum_ms / going.inside_reads - going.outside_sum_ms / going.outside_reads
    needed_ms = max(LEAD_MS, LEAD_SHARE * (going.last.monotonic_ms - going.first_ms))
    if abs(lead_ms) < needed_ms:
        return ""
    return "in" if lead_ms > 0 else "out"
