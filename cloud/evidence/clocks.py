"""Which times of readings evidence may rest on, and what there is to say about the clocks that gave them.

corrected     moved by a signed correction of the gateway's clock: counts, and is shown with offset, uncertainty and
              source; more than a minute of uncertainty is a remark, so never a clean pass (verdict.py)
unset         nobody ever set the clock of that boot: counts while its bounds allow the time it says, which is a
              remark, so never a clean pass
misplaced     unset, and cannot have been observed then (before the last known time, or after its receipt): kept out
future        later than its own receipt by more than 5 min: kept out for good, not only until that time has come
late          received long after it was observed: counts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud.evidence.model import TimeShift
from cloud.evidence.source import ReadingsOnce
from cloud.telemetry.query import LATE_MS, ReadingRow
from wire.observation import ClockState


@dataclass(slots=True)
class Clocks:
    """What a window's readings say of their clocks; see SeriesEvidence for the fields."""

    unsynced: int = 0
    corrected: list[TimeShift] = field(default_factory=list)
    not_before_ms: int | None = None
    not_after_ms: int | None = None
    misplaced: int = 0
    future: int = 0
    late: int = 0


def judge_times(
    source: ReadingsOnce, gateway: str, rows: Sequence[ReadingRow], from_ms: int
) -> tuple[list[ReadingRow], Clocks]:
    """The readings whose time may be relied on, in order of time; and what to say of those in [from_ms, …)."""
    trusted: list[ReadingRow] = []
    clocks = Clocks()
    shifts: Counter[tuple[int, int, str]] = Counter()
    floors: list[int | None] = []
    ceilings: list[int | None] = []
    for row in rows:  # of a month of minutes, so what nearly all have in common is told first
        observed_ms = row.observed_ms
        inside = observed_ms >= from_ms
        if inside and observed_ms <= row.received_ms and row.correction is None and row.clock is ClockState.SYNCED:
            clocks.late += row.received_ms > observed_ms + LATE_MS
            trusted.append(row)
            continue
        if row.time_unset:
            bounds = source.bounds(gateway, row.boot_id)
            floor_ms, ceiling_ms = bounds.around(row.monotonic_ms)
            if not bounds.allow(row.observed_ms, row.monotonic_ms):
                clocks.misplaced += inside
                continue
            if inside and row.value_float is not None:
                clocks.unsynced += 1
                floors.append(floor_ms)
                ceilings.append(ceiling_ms)
        if row.from_future:
            clocks.future += inside
            continue
        if inside:
            clocks.late += row.late
            if row.correction is not None:
                shifts[row.correction.offset_ms, row.correction.uncertainty_ms, row.correction.source] += 1
        trusted.append(row)
    clocks.corrected = [
        TimeShift(offset_ms / 1000, uncertainty_ms / 1000, who, count)
        for (offset_ms, uncertainty_ms, who), count in sorted(shifts.items())
    ]
    known = [floor_ms for floor_ms in floors if floor_ms is not None]
    clocks.not_before_ms = min(known) if floors and len(known) == len(floors) else None
    clocks.not_after_ms = max((at for at in ceilings if at is not None), default=None)
    trusted.sort(key=lambda row: row.observed_ms)  # a clock that stepped back uncorrected is not in order of time
    return trusted, clocks
