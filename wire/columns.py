"""The columns of a pack: the readings of one channel as lists of numbers, losslessly. See docs/wire.md §3.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec

from wire.observation import (
    INT64_MAX,
    MAX_EXPONENT,
    MAX_TIME_MS,
    MIN_EXPONENT,
    ClockState,
    Quality,
    Reading,
    Stamp,
    is_channel,
    is_unit_code,
)
from wire.rule import require, require_stamp

Run = tuple[int, int]  # (how many rows, code): run-length coding of a column that rarely changes


class Block(msgspec.Struct, frozen=True, array_like=True):
    """The readings of one channel and unit within one boot, in monotonic order, as columns of n rows.

    base_*: the clocks at row 0. dt_ms[i]: monotonic time from row i-1 to row i (dt_ms[0] is 0).
    values[i]: the number × 10^-exponent, None where there was none.
    wall_dt_ms: like dt_ms for the wall clock, empty when it advanced exactly as the monotonic one.
    quality, clock: runs over the rows; empty means all OK and all SYNCED.
    """

    channel: str
    unit: str
    exponent: int
    boot_id: bytes
    base_monotonic_ms: int
    base_wall_ms: int
    dt_ms: list[int]
    values: list[int | None]
    wall_dt_ms: list[int] = []
    quality: list[Run] = []
    clock: list[Run] = []
    thinned: bool = False


def build_blocks(readings: Iterable[Reading]) -> list[Block]:
    """Group readings into blocks, one per (channel, unit, exponent, boot), rows in monotonic order.

    The sort is stable: readings of one channel with equal monotonic time keep their order of acceptance.
    """
    groups: dict[tuple[str, str, int, bytes], list[Reading]] = {}
    for reading in readings:
        key = (reading.channel, reading.unit, reading.exponent, reading.stamp.boot_id)
        groups.setdefault(key, []).append(reading)
    return [_block(rows) for rows in groups.values()]


def expand(block: Block) -> Iterator[Reading]:
    """The readings of a block, in row order."""
    qualities, clocks = _unrun(block.quality), _unrun(block.clock)
    monotonic, wall = block.base_monotonic_ms, block.base_wall_ms
    wall_steps = block.wall_dt_ms or block.dt_ms
    for step, wall_step, mantissa in zip(block.dt_ms, wall_steps, block.values, strict=True):
        monotonic += step
        wall += wall_step
        stamp = Stamp(wall, monotonic, block.boot_id, ClockState(next(clocks, 0)))
        quality = Quality(next(qualities, 0))
        yield Reading(block.channel, block.unit, mantissa, block.exponent, stamp, quality)


def check_block(block: Block, where: str) -> None:
    """Hold a block against every rule it can break by itself. Raises WireError `invalid`."""
    rows = len(block.values)
    require(rows > 0, where, "has no rows")
    require(is_channel(block.channel), where, f"{block.channel[:80]!r} is not a channel (device/point)")
    require(is_unit_code(block.unit), where, f"{block.unit[:8]!r} is not a Rec 20 code")
    require(MIN_EXPONENT <= block.exponent <= MAX_EXPONENT, where, "exponent out of range")
    _check_times(block, where)
    numbers = [value for value in block.values if value is not None]
    if numbers:
        require(min(numbers) >= -INT64_MAX and max(numbers) <= INT64_MAX, where, "value beyond 63 bits and sign")
    _check_runs(block.quality, rows, max(Quality), f"{where}.quality")
    _check_runs(block.clock, rows, max(ClockState), f"{where}.clock")


def _block(rows: list[Reading]) -> Block:
    rows = sorted(rows, key=lambda reading: reading.stamp.monotonic_ms)
    first = rows[0]
    monotonic = [row.stamp.monotonic_ms for row in rows]
    wall = [row.stamp.observed_at_ms for row in rows]
    dt, wall_dt = _deltas(monotonic), _deltas(wall)
    return Block(
        channel=first.channel,
        unit=first.unit,
        exponent=first.exponent,
        boot_id=first.stamp.boot_id,
        base_monotonic_ms=monotonic[0],
        base_wall_ms=wall[0],
        dt_ms=dt,
        values=[row.mantissa for row in rows],
        wall_dt_ms=[] if wall_dt == dt else wall_dt,
        quality=_run([row.quality for row in rows]),
        clock=_run([row.stamp.clock for row in rows]),
    )


def _deltas(times: list[int]) -> list[int]:
    return [0, *(later - earlier for earlier, later in pairwise(times))]


def _run(codes: list[Quality] | list[ClockState]) -> list[Run]:
    if not any(codes):
        return []
    runs: list[Run] = []
    for code in codes:
        if runs and runs[-1][1] == code:
            runs[-1] = (runs[-1][0] + 1, int(code))
        else:
            runs.append((1, int(code)))
    return runs


def _unrun(runs: list[Run]) -> Iterator[int]:
    for length, code in runs:
        for _ in range(length):
            yield code


def _check_times(block: Block, where: str) -> None:
    rows = len(block.values)
    require(len(block.dt_ms) == rows, where, f"{len(block.dt_ms)} times for {rows} values")
    require(block.dt_ms[0] == 0 and min(block.dt_ms) >= 0, where, "monotonic time runs backwards")
    require(len(block.wall_dt_ms) in {0, rows}, where, f"{len(block.wall_dt_ms)} wall times for {rows} values")
    require(not block.wall_dt_ms or block.wall_dt_ms[0] == 0, where, "wall_dt_ms[0] is not 0")
    require_stamp(Stamp(block.base_wall_ms, block.base_monotonic_ms, block.boot_id, ClockState.SYNCED), where)
    require(block.base_monotonic_ms + sum(block.dt_ms) <= MAX_TIME_MS, where, "monotonic time out of range")
    wall = block.base_wall_ms
    for step in block.wall_dt_ms or block.dt_ms:
        wall += step
        require(0 <= wall <= MAX_TIME_MS, where, "wall time out of range")


def _check_runs(runs: list[Run], rows: int, highest: int, where: str) -> None:
    if not runs:
        return
    require(len(runs) <= rows, where, "more runs than rows")
    require(all(length > 0 for length, _ in runs), where, "empty run")
    require(sum(length for length, _ in runs) == rows, where, f"runs do not cover {rows} rows")
    require(all(0 <= code <= highest for _, code in runs), where, "unknown code")
