"""What the readings of one series say about one window: numbers, how much of it is covered, and its gaps.

Pure. Columns of plain numbers instead of row objects, because a lot page looks at 10 probes × months.

Invariants: only readings of quality OK inside [from, until) count; nothing is interpolated; a reading speaks for the
time until the next one, but before a gap and at the end for one log interval at most. The last reading before the
window may cover the window's start, and only that: it enters neither count, min, max nor mean. Time between two
readings that thinning kept is covered, because readings were taken there and their extremes are known; no reading
speaks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cloud.evidence.model import Declared, Gap

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """[from_ms, until_ms) of one series. gap_limit_ms: a longer silence is a gap. open: time runs on at its end."""

    from_ms: int
    until_ms: int
    log_interval_ms: int
    gap_limit_ms: int
    open: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """The readings of a series inside a window, as columns in order of time.

    carry_ms: the last OK reading before the window, None when there is none. error_ms: when the device answered that
    its probe fails or is out of range. stale_ms: when the gateway noted that the device was silent. started_ms: the
    first readings after the gateway was started anew. thinned: between kept readings, cut to the window, ascending and
    apart. declared: what the gateway says will not come.
    """

    times: Sequence[int]
    values: Sequence[float]
    carry_ms: int | None = None
    error_ms: Sequence[int] = ()
    stale_ms: Sequence[int] = ()
    started_ms: Sequence[int] = ()
    thinned: Sequence[Span] = ()
    declared: Sequence[Declared] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers of one series in one window; min, max and mean are None without a reading.

    covered: the parts of the window that readings speak for, ascending and apart.
    """

    count: int
    min: float | None
    max: float | None
    mean: float | None
    covered: list[Span] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


def summarise(course: Course, window: Window) -> Statistics:
    """Count, extremes, time-weighted mean, covered spans and gaps of a series in a window."""
    if not course.times:
        return Statistics(0, None, None, None, _covered(course, window), _gaps(course, window))
    return Statistics(
        count=len(course.times),
        min=min(course.values),
        max=max(course.values),
        mean=_mean(course, window),
        covered=_covered(course, window),
        gaps=_gaps(course, window),
    )


def share(covered: Sequence[Span], from_ms: int, until_ms: int) -> float:
    """The share (0–1) of [from_ms, until_ms) that lies in the union of `covered`; 0 for an empty window."""
    if until_ms <= from_ms:
        return 0.0
    total, reached = 0, from_ms
    for start, end in sorted(covered):
        start, end = max(start, reached), min(end, until_ms)
        if end > start:
            total += end - start
            reached = end
    return total / (until_ms - from_ms)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same spans in order, those that overlap or touch made one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def stands_until(course: Course, window: Window) -> list[int]:
    """For every reading, the instant until which it speaks: never beyond the window."""
    step, limit = window.log_interval_ms, window.gap_limit_ms
    ends = [b if b - a <= limit else a + step for a, b in pairwise(course.times)]
    if course.times:
        ends.append(min(course.times[-1] + step, window.until_ms))
    return ends


def _mean(course: Course, window: Window) -> float:
    weights = [end - at for at, end in zip(course.times, stands_until(course, window), strict=True)]
    total = sum(weights)
    if total == 0:  # cannot come from a log interval above zero; a mean without weights is still the plain one
        return math.fsum(course.values) / len(course.values)
    mean = math.fsum(map(float.__mul__, course.values, map(float, weights))) / total
    return min(max(mean, min(course.values)), max(course.values))  # rounding must not leave the range


def _carries(course: Course, window: Window) -> bool:
    return course.carry_ms is not None and window.from_ms - course.carry_ms <= window.gap_limit_ms


def _covered(course: Course, window: Window) -> list[Span]:
    spans: list[Span] = []
    if course.carry_ms is not None and _carries(course, window):
        following = course.times[0] if course.times else window.until_ms
        joined = bool(course.times) and following - course.carry_ms <= window.gap_limit_ms
        end = following if joined else min(course.carry_ms + window.log_interval_ms, window.until_ms)
        if end > window.from_ms:
            spans.append((window.from_ms, end))
    for at, end in zip(course.times, stands_until(course, window), strict=True):
        if spans and spans[-1][1] >= at:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((at, end))
    return [span for span in merged([*spans, *course.thinned]) if span[1] > span[0]]


def _gaps(course: Course, window: Window) -> list[Gap]:
    if window.until_ms <= window.from_ms:
        return []
    start = course.carry_ms if course.carry_ms is not None and _carries(course, window) else window.from_ms
    marks = [start, *course.times, window.until_ms]
    thinned = set(course.thinned)
    return [
        _gap(course, window, max(a, window.from_ms), b, at_end=index == len(marks) - 2)
        for index, (a, b) in enumerate(pairwise(marks))
        if b - a > window.gap_limit_ms and b > window.from_ms and (max(a, window.from_ms), b) not in thinned
    ]


def _gap(course: Course, window: Window, from_ms: int, to_ms: int, *, at_end: bool) -> Gap:
    told = {one.kind: one for one in course.declared if one.from_ms < to_ms and from_ms <= one.to_ms}
    if "lost" in told:
        return Gap(from_ms, to_ms, "lost", told["lost"].reason)
    if any(from_ms <= at <= to_ms for at in course.error_ms):
        cause = "sensor_error"
    elif any(from_ms <= at <= to_ms for at in course.stale_ms):
        cause = "stale"
    elif "thinned" in told:
        return Gap(from_ms, to_ms, "thinned", told["thinned"].reason)
    elif any(from_ms < at <= to_ms for at in course.started_ms):
        cause = "not_running"
    elif at_end and window.open:
        cause = "no_reading_yet"
    else:
        cause = "unknown"
    return Gap(from_ms, to_ms, cause)
