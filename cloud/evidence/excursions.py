"""Excursions: every go of consecutive readings beyond a rule's threshold. Pure.

An excursion runs from the first reading out to the first reading back in. It never crosses a gap: before one, and at
the end of the window, it lasts as long as its last reading speaks. What it takes to alarm (`triggered`) changes
nothing about what is recorded: short ones are found and kept too. Where limits change during a stay, each reading is
judged by the version in force when it was taken, and a go that lasts across the change stays one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from cloud.evidence.model import Excursion
from cloud.evidence.statistics import Course, Window, stands_until
from cloud.registry.profile import Profile, Rule


@dataclass(frozen=True, slots=True)
class Limits:
    """The profile versions in force over a stay, as (in force from, profile), oldest first; never empty."""

    versions: Sequence[tuple[int, Profile]]

    def at(self, at_ms: int) -> Profile:
        """The version in force at an instant (the oldest one before anything was in force)."""
        index = bisect_right([since for since, _ in self.versions], at_ms)
        return self.versions[max(index - 1, 0)][1]


def rules_for(profile: Profile, kind: str) -> list[Rule]:
    """The rules of a profile that hold at this kind of place."""
    return [rule for rule in profile.rules if not rule.places or kind in rule.places]


def find(course: Course, window: Window, limits: Limits, *, kind: str, measurement: str) -> list[Excursion]:
    """Every excursion of a series at a kind of place, by time, then rule.

    The rules' thresholds are compared with the values as they stand: the caller brings both to one unit.
    """
    pieces = _pieces(course, limits, kind, measurement)
    names = dict.fromkeys(name for _, _, rules in pieces for name in rules)
    ends = stands_until(course, window)
    found = [one for name in names for one in _of_rule(name, course, window, pieces, ends)]
    return sorted(found, key=lambda one: (one.from_ms, one.rule))


#: Readings [first, last) and the rules by name that judge them.
_Piece = tuple[int, int, dict[str, Rule]]


def _pieces(course: Course, limits: Limits, kind: str, measurement: str) -> list[_Piece]:
    cuts = [0, *(bisect_right(course.times, since - 1) for since, _ in limits.versions[1:]), len(course.times)]
    pieces = []
    for index, (_, profile) in enumerate(limits.versions):
        rules = {rule.name: rule for rule in rules_for(profile, kind) if rule.measurement == measurement}
        pieces.append((cuts[index], cuts[index + 1], rules))
    return pieces


def _of_rule(name: str, course: Course, window: Window, pieces: list[_Piece], ends: list[int]) -> list[Excursion]:
    """Excursions of the rule `name`; a version without this rule lets everything in."""
    out = [False] * len(course.times)
    rule_at: list[tuple[int, Rule]] = []
    for first, last, rules in pieces:
        if name in rules and last > first:
            rule_at.append((first, rules[name]))
            _mark(out, course.values, first, last, rules[name])
    found: list[Excursion] = []
    index = 0
    while True:
        try:
            start = out.index(True, index)
        except ValueError:
            return found
        index = _end_of_run(out, course.times, window.gap_limit_ms, start)
        rule = next(rule for first, rule in reversed(rule_at) if first <= start)
        found.append(_excursion(rule, course, window, ends, (start, index)))


def _mark(out: list[bool], values: Sequence[float], first: int, last: int, rule: Rule) -> None:
    limit, piece = rule.threshold, values[first:last]
    if rule.direction == "above":
        flags = [value >= limit for value in piece] if rule.inclusive else [value > limit for value in piece]
    else:
        flags = [value <= limit for value in piece] if rule.inclusive else [value < limit for value in piece]
    out[first:last] = flags


def _end_of_run(out: list[bool], times: Sequence[int], gap_limit_ms: int, start: int) -> int:
    index = start + 1
    while index < len(out) and out[index] and times[index] - times[index - 1] <= gap_limit_ms:
        index += 1
    return index


def _excursion(rule: Rule, course: Course, window: Window, ends: list[int], run: tuple[int, int]) -> Excursion:
    """The run of readings [start, end) as an excursion."""
    start, end = run
    last = end - 1
    at_end = end == len(course.times)
    values = course.values[start:end]
    to_ms = ends[last]  # the next reading when it follows without a gap, else as long as the last one speaks
    return Excursion(
        rule=rule.name,
        severity=rule.severity,
        direction=rule.direction,
        threshold=rule.threshold,
        from_ms=course.times[start],
        to_ms=to_ms,
        extreme=max(values) if rule.direction == "above" else min(values),
        triggered=to_ms - course.times[start] >= rule.duration_s * 1000,
        open=at_end and window.until_ms - course.times[last] <= window.gap_limit_ms,
    )
