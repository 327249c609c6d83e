"""Our excursions beside the vendor's alarms, probe by probe: every alarm and every excursion in exactly one class.

An excursion of ours runs from the first reading out of range to the first one back; the vendor counts readings and
raises its alarm at the third or fourth one in a row, as set per probe. So an excursion of 45 min has three readings,
and the vendor's delay of three readings is the site's work alarm, of four its critical one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection

from cloud.evidence.excursions import find
from cloud.evidence.model import Excursion
from cloud.evidence.statistics import Course, Window
from cloud.telemetry.query import readings
from tests.journeys.alarm_file import LIMIT_LEADS_MS, Alarm, Side, limits
from tests.journeys.saveris import PROBES, STEP_MS
from tests.journeys.site_rule import CRITICAL_S, WORK_S, limits_over_time, sides_of
from wire.observation import Quality

#: Classes of alarms, by the words of the document.
AT_45 = "at the third reading in a row, ours lasted 45 min or more"
AT_60 = "at the fourth reading in a row, ours lasted 60 min or more"
EARLY = "at the first reading, ours lasted 45 min or more"
SHORT = "at the first reading, ours lasted less than 45 min"
LATE = "after the fourth reading"
REPEATED = "again in an excursion that had its alarm"
NO_ROW = "at no instant of a row"
NO_EXCURSION = "without an excursion of ours"
ALARM_CLASSES = (AT_45, AT_60, EARLY, SHORT, LATE, REPEATED, NO_ROW, NO_EXCURSION)
#: Classes of excursions of 45 min or more.
CONFIRMED = "with an alarm"
STILL_OPEN = "without, an earlier alarm had not ended yet"
UNDER_60 = "without, shorter than 60 min"
OVER_60 = "without, 60 min or longer"
UNKNOWN_LIMIT = "without, the limit then is not known"
EXCURSION_CLASSES = (CONFIRMED, STILL_OPEN, UNDER_60, OVER_60, UNKNOWN_LIMIT)

Key = tuple[str, str, int]  # (probe, direction, from_ms)


class Found(NamedTuple):
    """An alarm inside an excursion of ours: of which probe, and at its how manieth reading."""

    probe: str
    excursion: Excursion
    nth: int

    @property
    def key(self) -> Key:
        """What names the excursion."""
        return self.probe, self.excursion.direction, self.excursion.from_ms


def excursions(
    conn: Connection, gateway: str, channels: Mapping[str, str], alarms: Sequence[Alarm], window: tuple[int, int]
) -> dict[str, list[Excursion]]:
    """Each probe's excursions by the work rule, short ones too, from the readings stored in the cloud."""
    known = limits(alarms)
    found = {}
    for probe, channel in channels.items():
        rows = [row for row in readings(conn, gateway, channel, *window) if row.quality is Quality.OK]
        values = [value for row in rows if (value := row.value_float) is not None]
        course = Course([row.observed_ms for row in rows], values)
        all_rules = find(
            course,
            Window(*window, log_interval_ms=STEP_MS, gap_limit_ms=2 * STEP_MS),
            limits_over_time(sides_of(known, [probe])),
            kind="storage",
            measurement="Temperature",
        )
        found[probe] = [one for one in all_rules if one.rule.startswith("work")]
    return found


def compare(
    found: Mapping[str, Sequence[Excursion]], alarms: Sequence[Alarm], recoveries: Sequence[Alarm]
) -> Counter[str]:
    """How many alarms and excursions are in each class; alarms and recoveries: all of the file."""
    counts: Counter[str] = Counter(dict.fromkeys(ALARM_CLASSES + EXCURSION_CLASSES, 0))
    alarmed: set[Key] = set()
    for alarm in alarms:
        inside = list(_inside(alarm, found))
        fresh = [one for one in inside if one.key not in alarmed]
        if fresh:
            # Both chambers read the same: the alarm is of the probe that was due for one.
            chosen = min(fresh, key=lambda one: (one.nth not in (3, 4), one.nth))
            alarmed.add(chosen.key)
            counts[_alarm_class(chosen)] += 1
        else:
            counts[REPEATED if inside else NO_EXCURSION if alarm.at_ms else NO_ROW] += 1
    history = _History(alarms, recoveries)
    for probe in PROBES:
        for one in found[probe]:
            if one.triggered:
                has_alarm = (probe, one.direction, one.from_ms) in alarmed
                counts[CONFIRMED if has_alarm else _silent_class(probe, one, history)] += 1
    return counts


def _inside(alarm: Alarm, found: Mapping[str, Sequence[Excursion]]) -> Iterator[Found]:
    for probe, at_ms in alarm.candidates:
        for one in found[probe]:
            if one.direction == alarm.direction and one.from_ms <= at_ms < one.to_ms:
                yield Found(probe, one, (at_ms - one.from_ms) // STEP_MS + 1)


def _alarm_class(found: Found) -> str:
    lasted_s = _lasted_s(found.excursion)
    if found.nth == 3 and lasted_s >= WORK_S:
        return AT_45
    if found.nth == 4 and lasted_s >= CRITICAL_S:
        return AT_60
    if found.nth > 4:
        return LATE
    return EARLY if lasted_s >= WORK_S else SHORT


def _silent_class(probe: str, one: Excursion, history: _History) -> str:
    side = (probe, one.direction)
    if not history.knows_limit(side, one.from_ms):
        return UNKNOWN_LIMIT
    if history.has_open_alarm(side, one.from_ms):
        return STILL_OPEN
    return UNDER_60 if _lasted_s(one) < CRITICAL_S else OVER_60


class _History:
    """What the file tells of each side: when its limit is known, and when an alarm was open."""

    def __init__(self, alarms: Sequence[Alarm], recoveries: Sequence[Alarm]) -> None:
        self._raised: dict[Side, list[tuple[int, Decimal]]] = defaultdict(list)
        self._ended: dict[str, list[int]] = defaultdict(list)
        for alarm in alarms:
            if len(alarm.candidates) == 1:
                probe, at_ms = alarm.candidates[0]
                self._raised[probe, alarm.direction].append((at_ms, alarm.limit))
        for recovery in recoveries:
            for probe, at_ms in recovery.candidates:
                self._ended[probe].append(at_ms)

    def knows_limit(self, side: Side, at_ms: int) -> bool:
        """Whether the alarms before and after name the same limit, or one is just being raised."""
        raised = self._raised[side]
        after = bisect_left(raised, at_ms, key=lambda one: one[0])
        if after == len(raised):
            return False
        soon = raised[after][0] - at_ms <= LIMIT_LEADS_MS
        return soon or (after > 0 and raised[after - 1][1] == raised[after][1])

    def has_open_alarm(self, side: Side, at_ms: int) -> bool:
        """Whether an alarm raised before had not ended yet."""
        last_ms = max((raised_ms for raised_ms, _ in self._raised[side] if raised_ms < at_ms), default=None)
        return last_ms is not None and not any(last_ms < ended_ms <= at_ms for ended_ms in self._ended[side[0]])


def _lasted_s(one: Excursion) -> int:
    return (one.to_ms - one.from_ms) // 1000
