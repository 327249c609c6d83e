"""The columns of a pack: the readings of one channel as lists of numbers, losslessly. See docs/wire.md §3.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

import msgspec

from wire.observation import (
    BOOT_ID_BYTES,
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
from wire.rule import broken, require, require_time

_QUALITY_MAX, _CLOCK_MAX = max(Quality), max(ClockState)

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
    values = block.values
    if not values:
        raise broken(where, "has no rows")
    if not is_channel(block.channel):
        raise broken(where, f"{block.channel[:80]!r} is not a channel (device/point)")
    if not is_unit_code(block.unit):
        raise broken(where, f"{block.unit[:8]!r} is not a Rec 20 code")
    if not MIN_EXPONENT <= block.exponent <= MAX_EXPONENT:
        raise broken(where, "exponent out of range")
    _check_times(block, where)
    numbers = [value for value in values if value is not None] if None in values else values
    if numbers and not (min(numbers) >= -INT64_MAX and max(numbers) <= INT64_MAX):  # type: ignore[type-var, operator]
        raise broken(where, "value beyond 63 bits and sign")
    if block.quality:
        _check_runs(block.quality, len(values), _QUALITY_MAX, f"{where}.quality")
    if block.clock:
        _check_runs(block.clock, len(values), _CLOCK_MAX, f"{where}.clock")


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
    rows, steps = len(block.values), block.dt_ms
    if len(steps) != rows:
        raise broken(where, f"{len(steps)} times for {rows} values")
    if steps[0] != 0 or min(steps) < 0:
        raise broken(where, "monotonic time runs backwards")
    if len(block.boot_id) != BOOT_ID_BYTES:
        raise broken(f"{where}.boot_id", f"must have {BOOT_ID_BYTES} bytes")
    if block.base_wall_ms < 0 or block.base_wall_ms > MAX_TIME_MS:
        require_time(block.base_wall_ms, f"{where}.observed_at_ms")
    if block.base_monotonic_ms < 0:
        require_time(block.base_monotonic_ms, f"{where}.monotonic_ms")
    took_ms = sum(steps)
    if block.base_monotonic_ms + took_ms > MAX_TIME_MS:
        raise broken(where, "monotonic time out of range")
    if block.wall_dt_ms:
        _check_wall(block, where)
    elif block.base_wall_ms + took_ms > MAX_TIME_MS:  # it ran as the monotonic one did: never backwards
        raise broken(where, "wall time out of range")


def _check_wall(block: Block, where: str) -> None:
    """The wall clock may step back and forth between rows."""
    rows, steps = len(block.values), block.wall_dt_ms
    require(len(steps) == rows, where, f"{len(steps)} wall times for {rows} values")
    require(steps[0] == 0, where, "wall_dt_ms[0] is not 0")
    walls = list(accumulate(steps, initial=block.base_wall_ms))
    require(min(walls) >= 0 and max(walls) <= MAX_TIME_MS, where, "wall time out of range")


def _check_runs(runs: list[Run], rows: int, highest: int, where: str) -> None:
    require(len(runs) <= rows, where, "more runs than rows")
    require(all(length > 0 for length, _ in runs), where, "empty run")
    require(sum(length for length, _ in runs) == rows, where, f"runs do not cover {rows} rows")
    require(all(0 <= code <= highest for _, code in runs), where, "unknown code")
