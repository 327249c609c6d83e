"""The site's rule as limits of ours: a work alarm after 45 minutes out of range, a critical one after 60.

The limits come from the alarms file (alarm_file.py); a value on the limit is still in range: alarms end there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloud.evidence.excursions import Limits
from cloud.registry.profile import Profile, Rule
from tests.journeys.alarm_file import Limit, Side

WORK_S, CRITICAL_S = 45 * 60, 60 * 60
DIRECTIONS = ("above", "below")

Sides = Mapping[str, Sequence[Limit]]  # "above" and "below" → the limits by time


def sides_of(limits: Mapping[Side, Sequence[Limit]], probes: Iterable[str]) -> dict[str, list[Limit]]:
    """The limits of a room: whatever was last set for any of its probes."""
    named = list(probes)
    return {way: sorted(one for probe in named for one in limits.get((probe, way), ())) for way in DIRECTIONS}


def changes(*sides: Sides) -> list[int]:
    """Every instant at which one of these limits changes."""
    return sorted({limit.from_ms for one in sides for limits in one.values() for limit in limits})


def limit_at(sides: Sides, direction: str, at_ms: int) -> Limit | None:
    """The limit in force at an instant, None before any was known."""
    in_force = [limit for limit in sides.get(direction, ()) if limit.from_ms <= at_ms]
    return in_force[-1] if in_force else None


def rules_at(sides: Sides, at_ms: int, *, places: Sequence[str] = ()) -> list[Rule]:
    """The rules in force at an instant, for these kinds of place (none: all)."""
    rules = []
    for direction in DIRECTIONS:
        limit = limit_at(sides, direction, at_ms)
        for name, duration_s, severity in (("work", WORK_S, "warning"), ("critical", CRITICAL_S, "critical")):
            if limit is not None:
                rules.append(
                    Rule(
                        name=" ".join([name, direction, *places]),
                        direction=direction,
                        threshold=float(limit.value),
                        duration_s=duration_s,
                        severity=severity,
                        inclusive=False,
                        places=list(places),
                    )
                )
    return rules


def limits_over_time(sides: Sides) -> Limits:
    """The limits of one probe as evidence takes them; before the first one is known, nothing is out of range."""
    versions = [(0, _profile(1, []))]
    versions += [(at_ms, _profile(number, rules_at(sides, at_ms))) for number, at_ms in enumerate(changes(sides), 2)]
    return Limits(versions)


def _profile(version: int, rules: list[Rule]) -> Profile:
    return Profile("site", version, "Quy định của kho", "The site's rule", "the vendor's alarms file", rules=rules)
