"""The evidence of one bound series over one stay: its readings as columns, and what the pure parts make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cloud.evidence.clocks import judge_times
from cloud.evidence.excursions import Limits, find
from cloud.evidence.model import Declared, SeriesEvidence
from cloud.evidence.source import ReadingsOnce
from cloud.evidence.statistics import Course, Span, Window, share, summarise
from cloud.registry.profile import UNITS
from cloud.registry.query import Binding
from cloud.telemetry.declared import THINNED, DeclaredSpan
from cloud.telemetry.query import ReadingRow
from standards.units import UnitError, convert
from wire.observation import Quality

KEPT_REACH_MS = 2 * 3_600_000  # a gateway keeps the first and the last reading of every hour
DEFAULT_GAP_FACTOR = 2.0  # where no limits say otherwise: a silence of more than two log intervals


@dataclass(frozen=True, slots=True)
class Judged:
    """By what a stay is judged: the kind of its place, and the limits in force, None when there are none."""

    kind: str
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A series' evidence, and the spans it covers, from which the coverage of a whole stay is made.

    spoken_for: those that readings speak for, without what was thinned between them.
    """

    evidence: SeriesEvidence
    covered: list[Span]
    spoken_for: list[Span]


def measure(source: ReadingsOnce, binding: Binding, stay: Span, judged: Judged, *, is_open: bool) -> Measured:
    """What a bound series says about a stay, as far as it was bound to the place then."""
    (from_ms, until_ms), limits = stay, judged.limits
    window = _window(binding, stay, limits, is_open=is_open)
    told = source.declared(binding.gateway, binding.channel, window.from_ms, window.until_ms)
    reach_ms = KEPT_REACH_MS if any(one.kind == THINNED for one in told) else 0
    earliest = max(window.from_ms - max(window.gap_limit_ms, reach_ms), binding.valid_from_ms)
    around = source.between(binding.gateway, binding.channel, earliest, window.until_ms + reach_ms)
    rows = [row for row in around if row.observed_ms < window.until_ms]
    unit = UNITS.get(binding.measurement, rows[0].unit if rows else "")
    trusted, clocks = judge_times(source, binding.gateway, rows, window.from_ms)
    after = [row for row in around if row.observed_ms >= window.until_ms]
    kept = [*trusted, *judge_times(source, binding.gateway, after, window.until_ms)[0]]
    course = replace(
        _course(trusted, window, unit),
        started_ms=[row.observed_ms for before, row in pairwise(trusted) if before.boot_id != row.boot_id],
        thinned=thinned_holes(kept, window, told, unit),
        declared=[Declared(one.kind, one.from_ms, one.to_ms, one.left_out, one.reason) for one in told],
    )
    found = summarise(course, window)
    excursions = (
        [] if limits is None else find(course, window, limits, kind=judged.kind, measurement=binding.measurement)
    )
    evidence = SeriesEvidence(
        gateway=binding.gateway,
        channel=binding.channel,
        sensor=binding.sensor,
        measurement=binding.measurement,
        unit=unit,
        log_interval_s=binding.log_interval_s,
        count=found.count,
        min=found.min,
        max=found.max,
        mean=found.mean,
        coverage=share(found.covered, from_ms, until_ms),
        sensor_errors=len(course.error_ms),
        gaps=found.gaps,
        excursions=excursions,
        unsynced=clocks.unsynced,
        corrected=clocks.corrected,
        not_before_ms=clocks.not_before_ms,
        not_after_ms=clocks.not_after_ms,
        misplaced=clocks.misplaced,
        future=clocks.future,
        late=clocks.late,
        declared=list(course.declared),
    )
    spoken_for = summarise(replace(course, thinned=()), window).covered if course.thinned else found.covered
    return Measured(evidence, found.covered, spoken_for)


def thinned_holes(around: Sequence[ReadingRow], window: Window, told: Sequence[DeclaredSpan], unit: str) -> list[Span]:
    """The times between kept readings that were left out by thinning, cut to the window; `around` reaches beyond it.

    around: readings whose time may be relied on, in order of time: no other can say what was left out beside it.
    Both ends must have been kept in one pack, one boot, with a number, and nothing between them that tells of a silent
    or failing device. When all of them together are longer than the readings left out can fill, some are silences that
    thinning left untouched; which ones cannot be told, so none counts.
    """
    limit_ms = window.gap_limit_ms
    seen = [row for row in around if row.quality is not Quality.TEST]
    holes = [
        (before.observed_ms, after.observed_ms)
        for before, after in pairwise(seen)
        if after.observed_ms - before.observed_ms > limit_ms
        and before.thinned
        and after.thinned
        and (before.pack_id, before.boot_id) == (after.pack_id, after.boot_id)
        and number_in(before, unit) is not None
        and number_in(after, unit) is not None
        and before.observed_ms < window.until_ms
        and window.from_ms < after.observed_ms
    ]
    left_out = sum(one.left_out or 0 for one in told if one.kind == THINNED)
    if sum(end - start for start, end in holes) > (left_out + len(holes)) * limit_ms:
        return []
    return [(max(start, window.from_ms), min(end, window.until_ms)) for start, end in holes]


def number_in(row: ReadingRow, unit: str) -> float | None:
    """The number of a reading in `unit`, None where there is none to trust, or none that can be in this unit."""
    if row.quality is not Quality.OK:
        return None
    value = row.value_float
    if value is None or row.unit == unit:
        return value
    try:
        return convert(value, row.unit, unit)
    except UnitError:
        return None


def _window(binding: Binding, stay: Span, limits: Limits | None, *, is_open: bool) -> Window:
    from_ms, until_ms = stay
    ends_ms = until_ms if binding.valid_to_ms is None else min(until_ms, binding.valid_to_ms)
    begins_ms = max(from_ms, binding.valid_from_ms)
    factor = DEFAULT_GAP_FACTOR if limits is None else limits.at(from_ms).gap_factor
    interval_ms = binding.log_interval_s * 1000
    return Window(begins_ms, ends_ms, interval_ms, round(interval_ms * factor), is_open and ends_ms == until_ms)


def _course(rows: list[ReadingRow], window: Window, unit: str) -> Course:
    """Readings as columns.

    A number in a unit that cannot become `unit` is counted with the sensor errors: the channel is bound wrongly.
    """
    times: list[int] = []
    values: list[float] = []
    errors: list[int] = []
    stale: list[int] = []
    carry_ms: int | None = None
    for row in rows:
        value = number_in(row, unit)
        if row.observed_ms < window.from_ms:
            carry_ms = carry_ms if value is None else row.observed_ms
        elif value is not None:
            times.append(row.observed_ms)
            values.append(value)
        elif row.quality is Quality.STALE:
            stale.append(row.observed_ms)
        elif row.quality is not Quality.TEST:
            errors.append(row.observed_ms)
    return Course(times, values, carry_ms, errors, stale)
