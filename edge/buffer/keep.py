"""Which readings survive thinning: a pure decision over the rows of one series, however they were packed.

Kept are, within what is thinned together:

- of every hour (by the wall clock as believed) and quality: the first, the last, the lowest and the highest number;
- every reading beyond a limit in force, and its neighbours: the edges of the excursion;
- both sides of a gap: of a step longer than GAP_STEPS times the usual one, of a change of quality or clock state, of
  a number that appears or vanishes, and of a step of the wall clock.

So the first and last row of each series always stay, and what was thinned in pieces keeps the edges between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import median_low

import msgspec

from edge.limits import Bounds
from wire.columns import Block, Run

HOUR_MS = 3_600_000
GAP_STEPS = 2  # as in the cloud's evidence: more than two intervals without a reading is a gap
WALL_STEP_MS = 1_000  # a wall clock that was stepped, not one that drifts


class Row(msgspec.Struct, frozen=True, gc=False):
    """One reading, without what all rows of its series share."""

    monotonic_ms: int
    wall_ms: int
    mantissa: int | None
    quality: int
    clock: int


def rows_of(block: Block) -> list[Row]:
    """The rows of a block, in order."""
    count = len(block.values)
    monotonic = accumulate(block.dt_ms, initial=block.base_monotonic_ms)
    wall = accumulate(block.wall_dt_ms or block.dt_ms, initial=block.base_wall_ms)
    next(monotonic), next(wall)  # dt_ms[0] is 0: what follows starts with row 0
    columns = zip(monotonic, wall, block.values, _codes(block.quality, count), _codes(block.clock, count), strict=True)
    return [Row(*row) for row in columns]


def block_of(like: Block, rows: Sequence[Row]) -> Block:
    """A block of the same series with only these rows, marked thinned."""
    monotonic = [row.monotonic_ms for row in rows]
    wall = [row.wall_ms for row in rows]
    dt, wall_dt = _steps(monotonic), _steps(wall)
    return Block(
        channel=like.channel,
        unit=like.unit,
        exponent=like.exponent,
        boot_id=like.boot_id,
        base_monotonic_ms=monotonic[0],
        base_wall_ms=wall[0],
        dt_ms=dt,
        values=[row.mantissa for row in rows],
        wall_dt_ms=[] if wall_dt == dt else wall_dt,
        quality=_runs([row.quality for row in rows]),
        clock=_runs([row.clock for row in rows]),
        thinned=True,
    )


def kept(rows: Sequence[Row], bounds: Bounds) -> set[int]:
    """Indices of the rows that stay; `rows` in monotonic order."""
    keep = _hourly(rows)
    keep |= _edges(rows)
    for at, row in enumerate(rows):
        if row.mantissa is not None and bounds.crossed_by(row.mantissa):
            keep |= {max(0, at - 1), at, min(len(rows) - 1, at + 1)}
    return keep


def _hourly(rows: Sequence[Row]) -> set[int]:
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    lowest: dict[tuple[int, int], tuple[int, int]] = {}
    highest: dict[tuple[int, int], tuple[int, int]] = {}
    for at, row in enumerate(rows):
        key = (row.wall_ms // HOUR_MS, row.quality)
        first.setdefault(key, at)
        last[key] = at
        if row.mantissa is not None:
            lowest[key] = min(lowest.get(key, (row.mantissa, at)), (row.mantissa, at))
            highest[key] = max(highest.get(key, (row.mantissa, -at)), (row.mantissa, -at))
    ends = {*first.values(), *last.values()}
    return ends | {at for _, at in lowest.values()} | {-at for _, at in highest.values()}


def _edges(rows: Sequence[Row]) -> set[int]:
    steps = [after.monotonic_ms - before.monotonic_ms for before, after in pairwise(rows)]
    usual = [step for step in steps if step > 0]  # two readings at one time say nothing about the interval
    longest_ms = GAP_STEPS * median_low(usual) if usual else 0
    edges: set[int] = set()
    for at, (before, after) in enumerate(pairwise(rows)):
        differs = (
            before.quality != after.quality
            or before.clock != after.clock
            or (before.mantissa is None) != (after.mantissa is None)
            or abs(after.wall_ms - before.wall_ms - steps[at]) > WALL_STEP_MS
        )
        if differs or steps[at] > longest_ms:
            edges |= {at, at + 1}
    return edges


def _codes(runs: Sequence[Run], count: int) -> list[int]:
    return [code for length, code in runs for _ in range(length)] if runs else [0] * count


def _steps(times: Sequence[int]) -> list[int]:
    return [0, *(after - before for before, after in pairwise(times))]


def _runs(codes: Sequence[int]) -> list[Run]:
    runs: list[Run] = []
    for code in codes:
        if runs and runs[-1][1] == code:
            runs[-1] = (runs[-1][0] + 1, code)
        else:
            runs.append((1, code))
    return runs if any(codes) else []
