"""Passes → observations, and reads → stamps: what both RFID drivers do with what their readers say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from edge.drivers.rfid.passes import Collapser, Pass
from wire.observation import Scan, Stamp

IN, OUT = "in", "out"
ROUNDING_MS = 2  # two clocks in whole milliseconds; more, and somebody set the wall clock

Point = Annotated[
    str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z", description="a name of a-z, 0-9, '.', '_' and '-'")
]
DwellS = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
LongestS = Annotated[float, msgspec.Meta(ge=1, le=86_400)]


class PassKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that both drivers have.

    point: what the channel of a pass is called. dwell_s: a tag that has not been read for so long has gone.
    longest_s: a tag that stays is told of at least this often, so that this is the most a crash can cost.
    """

    point: Point = "pass"
    dwell_s: DwellS = 5.0
    longest_s: LongestS = 300.0

    def pass_problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        if self.longest_s < self.dwell_s:
            yield "longest_s", f"{self.longest_s:g} s is shorter than dwell_s ({self.dwell_s:g} s)"


def collapser(keys: PassKeys, *, outside: Sequence[int] = (), inside: Sequence[int] = ()) -> Collapser:
    """The collapser for a device."""
    return Collapser(
        dwell_ms=round(keys.dwell_s * 1000), longest_ms=round(keys.longest_s * 1000), outside=outside, inside=inside
    )


def scan_of(name: str, point: str, one: Pass) -> Scan:
    """The observation of a pass: stamped with its last read; its direction is the channel's point.

    The first read's wall time is reckoned back from the last one's, so that a clock that was set meanwhile, and the
    correction that tells of it, hold for both.
    """
    last_ms = one.last.observed_at_ms
    first_ms = max(0, last_ms - max(0, one.last.monotonic_ms - one.first_ms))
    return Scan(
        f"{name}/{one.direction or point}",
        one.epc,
        "epc",
        one.last,
        antenna=one.antenna,
        rssi_dbm=one.rssi_dbm,
        count=one.count,
        first_seen_ms=first_ms,
        last_seen_ms=last_ms,
    )


def aged(now: Stamp, before: Stamp, age_ms: int) -> Stamp:
    """The stamp of what happened `age_ms` ago, but after `before`; `now` when the wall clock was set in between."""
    gap_ms = now.monotonic_ms - before.monotonic_ms
    steady = abs(now.observed_at_ms - before.observed_at_ms - gap_ms) <= ROUNDING_MS
    if age_ms <= 0 or gap_ms <= 0 or not steady or now.clock is not before.clock or now.boot_id != before.boot_id:
        return now
    age_ms = min(age_ms, gap_ms)
    return Stamp(now.observed_at_ms - age_ms, now.monotonic_ms - age_ms, now.boot_id, now.clock)
