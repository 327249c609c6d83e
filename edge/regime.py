"""What the wall clock did during a boot, and what has to be added to it once the time is known. Pure.

Within a boot, wall time is monotonic time plus an offset. A regime is a stretch of monotonic time with one offset and
one state. The course of a boot is its regimes, oldest first, from the first look at the clock on; the last one is the
present. CLOCK_MONOTONIC stands still while a machine sleeps: a gateway does not sleep, and one that did would see its
wall clock jump, which is a new regime like any other step.

Invariants (each has a test of its name in tests/edge/test_regime.py):

1. corrected_times_are_right         Whatever was stepped and synced in whatever order, the believed time of a look plus
                                     the newest correction over it is true to what the correction says, and to 1 s when
                                     the source is.
2. nothing_is_declared_twice         The same truth declares nothing new; a better one does.
3. the_course_is_bounded             At most REGIMES_MAX regimes; when there are more, those that cost least are joined,
                                     and the uncertainty says so.

A synchronised clock can be wrong, too: the newest source that is synchronised is believed. What an older one claimed
is corrected when the two differ by more than JUMP_MS and what a crystal gains in the time between them. So a step while
the kernel says synchronised corrects the rows before it, and a clock that only drifted leaves them alone.
"""

from __future__ import annotations

import math

import msgspec

from wire.observation import ClockState
from wire.pack import Correction

Course = tuple["Regime", ...]

MERGE_MS = 500  # offsets within this are one regime: half of the second that corrected times are right to
SPREAD_STEP_MS = 50  # spreads are rounded up to this, so that a slow change is written a few times, not at every look
JUMP_MS = 1000  # a claim that was off by more is taken back
DRIFT_PPM = 100  # a crystal in a warm box; without a source nothing else moves a clock
PIECES_MAX = 16  # of one correction that follows a drift
REGIMES_MAX = 128  # a clock stepped every minute for two hours; the file stays below 32 KiB


class Regime(msgspec.Struct, frozen=True):
    """Wall = monotonic + offset, from one moment of a boot on.

    offset_ms: at the first look; later looks differed by at most `spread_ms`. source, uncertainty_ms: who set the
    clock and how well, while it is SYNCED. settled_ms: the monotonic time at which its truth was known, None while it
    isn't; shift_ms: what has to be added to it, as known then.
    """

    from_monotonic_ms: int
    offset_ms: int
    state: ClockState
    source: str = ""
    uncertainty_ms: int = 0
    spread_ms: int = 0
    settled_ms: int | None = None
    shift_ms: int = 0


def follow(course: Course, seen: Regime) -> Course:
    """The course with one more look at the clock, later than all before; the same object when nothing changed."""
    last = course[-1] if course else None
    if last is None or (last.state, last.source) != (seen.state, seen.source):
        return _bounded((*course, seen))
    away_ms = abs(seen.offset_ms - last.offset_ms)
    if away_ms > MERGE_MS:
        return _bounded((*course, seen))
    spread_ms = math.ceil(away_ms / SPREAD_STEP_MS) * SPREAD_STEP_MS if away_ms > 2 else 0
    if spread_ms <= last.spread_ms:
        return course
    return (*course[:-1], msgspec.structs.replace(last, spread_ms=spread_ms))


def settle(course: Course, boot_id: bytes) -> tuple[Course, list[Correction]]:
    """Compare all that came before with the present, when that is SYNCED: the course settled, and what to declare."""
    truth = course[-1]
    if truth.state is not ClockState.SYNCED:
        return course, []
    ends = [following.from_monotonic_ms - 1 for following in course[1:]]
    settled, declared = [], []
    for regime, end_ms in zip(course[:-1], ends, strict=True):
        after, corrections = _settle(regime, end_ms, truth, boot_id)
        settled.append(after)
        declared += corrections
    if settled == list(course[:-1]):
        return course, declared
    return (*settled, truth), declared


def _settle(regime: Regime, end_ms: int, truth: Regime, boot_id: bytes) -> tuple[Regime, list[Correction]]:
    shift_ms = truth.offset_ms - regime.offset_ms
    now_ms = truth.from_monotonic_ms
    if regime.settled_ms is None and regime.state is ClockState.SYNCED:
        regime = msgspec.structs.replace(regime, settled_ms=end_ms)  # as it claimed
    after = msgspec.structs.replace(regime, settled_ms=now_ms, shift_ms=shift_ms)
    known_ms = regime.from_monotonic_ms
    if regime.settled_ms is not None:
        known_ms = regime.settled_ms
        allowed_ms = JUMP_MS + regime.uncertainty_ms + drift_ms(now_ms - known_ms)
        if abs(shift_ms - regime.shift_ms) <= allowed_ms:
            return regime, []
    elif regime.state is ClockState.HOLDOVER:
        if abs(shift_ms) <= MERGE_MS:
            return msgspec.structs.replace(regime, settled_ms=now_ms), []
        if abs(shift_ms) <= drift_ms(now_ms - known_ms):
            return after, _along_a_drift(regime, end_ms, truth, boot_id)
    uncertainty_ms = truth.uncertainty_ms + regime.spread_ms + drift_ms(now_ms - known_ms)
    whole = Correction(boot_id, regime.from_monotonic_ms, end_ms, shift_ms, uncertainty_ms, truth.source)
    return after, [whole]


def _along_a_drift(regime: Regime, end_ms: int, truth: Regime, boot_id: bytes) -> list[Correction]:
    """Right when the source was lost, off by the whole shift when it came back: steps along the line between."""
    begin_ms, length_ms = regime.from_monotonic_ms, end_ms + 1 - regime.from_monotonic_ms
    shift_ms = truth.offset_ms - regime.offset_ms
    pieces = min(PIECES_MAX, math.ceil(abs(shift_ms) / MERGE_MS))
    edges = [begin_ms + length_ms * at // pieces for at in range(pieces + 1)]
    half_ms = math.ceil(abs(shift_ms) / pieces / 2)
    uncertainty_ms = truth.uncertainty_ms + regime.spread_ms + half_ms
    return [
        Correction(
            boot_id,
            edges[at],
            edges[at + 1] - 1,
            round(shift_ms * (at + 0.5) / pieces),
            uncertainty_ms,
            truth.source,
        )
        for at in range(pieces)
    ]


def drift_ms(monotonic_ms: int) -> int:
    """What a clock without a source may gain or lose in this time."""
    return monotonic_ms * DRIFT_PPM // 1_000_000


def _bounded(course: Course) -> Course:
    """Join neighbours until the bound holds: settled ones first, then those whose offsets are nearest."""
    regimes = list(course)
    while len(regimes) > REGIMES_MAX:
        at = min(range(len(regimes) - 2), key=lambda at: _cost(regimes[at], regimes[at + 1]))
        regimes[at : at + 2] = [_joined(regimes[at], regimes[at + 1])]
    return tuple(regimes)


def _cost(one: Regime, other: Regime) -> tuple[bool, int]:
    settled = one.settled_ms is not None and other.settled_ms is not None
    return not settled, abs(one.offset_ms - other.offset_ms)


def _joined(one: Regime, other: Regime) -> Regime:
    ends = [regime.settled_ms for regime in (one, other) if regime.settled_ms is not None]
    return msgspec.structs.replace(
        one,
        state=max(one.state, other.state),
        spread_ms=max(one.spread_ms, abs(other.offset_ms - one.offset_ms) + other.spread_ms),
        settled_ms=min(ends) if len(ends) == 2 else None,
    )
