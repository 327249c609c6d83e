"""Packs as InfluxDB line protocol: one line per reading, text alone. Pure.

    coldproof_reading,channel=room-1/air,gateway=gw-kho-01,quality=ok,unit=CEL value=-18.37 1760000000000

A reading without a number has the field `no_value=1i` instead. Times are milliseconds, corrected as far as the course
of the boot that is given knows. What nobody can place in time is held back: rows of a clock that was never set and of
which no correction speaks, and rows that claim to be from after their receipt.

Of a number the float nearest to it is written, of which a mantissa of more than 53 bits loses the end: a mirror is for
curves; the record has the decimal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

import msgspec

from cloud.telemetry.corrections import FUTURE_MS
from cloud.telemetry.declared import OrdinalRange, is_among
from cloud.telemetry.wall import wall_times
from wire.columns import Block, Run
from wire.course import NOTHING, Course
from wire.observation import ClockState, Quality
from wire.pack import Pack

MEASUREMENT = "coldproof_reading"
_SPECIAL = re.compile(r"([,= ])")
# Line protocol has no way to write a line break in a tag, and readers differ about a backslash.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\\u0085\u2028\u2029]")
_QUALITY_NAMES = tuple(quality.name.lower() for quality in Quality)
_NO_VALUE = "no_value=1i"
_UNSYNCED = int(ClockState.UNSYNCED)


class Lines(msgspec.Struct, frozen=True):
    """What became of a pack's readings: lines, and how many were held back for want of a time."""

    lines: list[str]
    held_back: int


def tag_value(text: str) -> str:
    """A tag's value, escaped; what cannot be written becomes `_`, and so does an empty one, which is not allowed."""
    return _SPECIAL.sub(r"\\\1", _UNWRITABLE.sub("_", text)) or "_"


def lines_of(
    pack: Pack,
    courses: Mapping[bytes, Course],
    *,
    received_ms: int,
    without: Sequence[OrdinalRange] | None = None,
    unset_of: Collection[bytes] | None = None,
) -> Lines:
    """The readings of a pack. courses: by boot. without: ordinals that count for nothing, being copies.

    unset_of: only rows of these boots whose clock was never set (those that were held back before a correction came).
    """
    lines: list[str] = []
    held_back = ordinal = 0
    for block in pack.blocks:
        rows = len(block.values)
        if unset_of is None or (block.boot_id in unset_of and any(code == _UNSYNCED for _, code in block.clock)):
            course = courses.get(block.boot_id, NOTHING)
            only_unset = unset_of is not None
            found = list(_rows(pack.gateway, block, course, received_ms, only_unset=only_unset))
            kept = [line for at, line in enumerate(found, start=ordinal) if line and not is_among(at, without)]
            held_back += found.count(None)
            lines += kept
        ordinal += rows
    return Lines(lines, held_back)


def _rows(gateway: str, block: Block, course: Course, received_ms: int, *, only_unset: bool) -> Iterator[str | None]:
    """A line per row; None for one that is held back, nothing ("") for one that is not asked for."""
    latest_ms = received_ms + FUTURE_MS
    qualities = _unrun(block.quality, len(block.values))
    clocks = _unrun(block.clock, len(block.values))
    heads = _heads(gateway, block.channel, block.unit)
    for time_ms, corrected, clock, quality, field in zip(
        *_times(block, course), clocks, qualities, _fields(block), strict=True
    ):
        if only_unset and clock != _UNSYNCED:
            yield ""
        elif time_ms > latest_ms or (clock == _UNSYNCED and not corrected):
            yield None
        else:
            yield f"{heads[quality]} {field} {time_ms}"


def _times(block: Block, course: Course) -> tuple[list[int], list[bool]]:
    """When each row was, and whether somebody corrected it."""
    walls = wall_times(block)
    if not course.stretches:
        return walls, [False] * len(walls)
    monotonic = accumulate(block.dt_ms[1:], initial=block.base_monotonic_ms)
    holds = [course.at(at) for at in monotonic]
    times = [wall if one is None else wall + one.offset_ms for wall, one in zip(walls, holds, strict=True)]
    return times, [one is not None for one in holds]


@lru_cache(maxsize=4_096)
def _heads(gateway: str, channel: str, unit: str) -> list[str]:
    """The beginning of a series' lines, by quality."""
    tags = f"channel={tag_value(channel)},gateway={tag_value(gateway)}"
    return [f"{MEASUREMENT},{tags},quality={name},unit={tag_value(unit)}" for name in _QUALITY_NAMES]


def _fields(block: Block) -> list[str]:
    """What each row says."""
    scale = 10 ** abs(block.exponent)
    if block.exponent < 0:
        return [_NO_VALUE if value is None else f"value={value / scale!r}" for value in block.values]
    return [_NO_VALUE if value is None else f"value={float(value * scale)!r}" for value in block.values]


def _unrun(runs: list[Run], rows: int) -> list[int]:
    return [code for length, code in runs for _ in range(length)] if runs else [0] * rows
