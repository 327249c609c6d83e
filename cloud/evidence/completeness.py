"""How complete the readings of a series are: how many its log interval lets expect, came, were declared, are missing.

Per hour: expected are the log intervals during which the series was bound and its gateway known here. What came is
counted by observed time. What then lacks was declared lost, thinned, or is missing, in this order, each at most as much
as gateways declared for that time. A device's clock runs beside the hours: of an hour that lacks one reading, which the
hour before or after has too many, none is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from math import ceil, floor

import msgspec
from sqlalchemy import Connection

from cloud.registry import query as registry
from cloud.registry.query import Binding
from cloud.telemetry.declared import LOST, DeclaredSpan, LossesOnce
from cloud.telemetry.envelope import envelope
from cloud.telemetry.query import LATE_MS
from wire.observation import INT64_MAX

HOUR_MS = 3_600_000


class Cell(msgspec.Struct, frozen=True):
    """An hour or a day. came + lost + thinned + missing may differ from expected by what came too much.

    expected None: nothing was bound then, or it has not passed yet. lost: declared, or all that lacks where a gateway
    could not count.
    """

    from_ms: int
    expected: int | None
    came: int
    lost: int = 0
    thinned: int = 0
    missing: int = 0


class Completeness(msgspec.Struct, frozen=True):
    """A series in a period. share: of what was expected, how much did not lack; None where nothing was expected.

    sensor, place, measurement, log_interval_s: of its newest binding in the period. cells: by hour.
    """

    gateway: str
    channel: str
    sensor: str
    place: str
    measurement: str
    log_interval_s: int
    from_ms: int
    to_ms: int
    expected: int
    came: int
    lost: int
    thinned: int
    missing: int
    share: float | None
    cells: list[Cell]


def of_series(
    conn: Connection,
    gateway: str,
    channel: str,
    period: tuple[int, int],
    now_ms: int,
    *,
    losses: LossesOnce | None = None,
) -> Completeness | None:
    """The completeness of a channel in [from, to), which must be whole hours; None when it was never bound then.

    What is younger than a quarter of an hour is not expected yet: it may wait at the gateway for its pack.
    losses: of the gateway, from whoever asks of several of its series.
    """
    from_ms, to_ms = period
    bound = [one for one in registry.bindings_of_channel(conn, gateway, channel) if _overlaps(one, from_ms, to_ms)]
    if not bound:
        return None
    cells = judge(
        range(from_ms, to_ms, HOUR_MS),
        _expected(bound, max(from_ms, _known_since(conn, gateway)), min(to_ms, now_ms - LATE_MS)),
        counts_by_hour(conn, gateway, channel, from_ms, to_ms),
        (losses or LossesOnce(conn, gateway)).spans(channel, from_ms, to_ms),
    )
    expected = sum(one.expected or 0 for one in cells)
    lacking = sum(one.lost + one.thinned + one.missing for one in cells)
    newest = bound[-1]
    return Completeness(
        gateway=gateway,
        channel=channel,
        sensor=newest.sensor,
        place=newest.place,
        measurement=newest.measurement,
        log_interval_s=newest.log_interval_s,
        from_ms=from_ms,
        to_ms=to_ms,
        expected=expected,
        came=sum(one.came for one in cells),
        lost=sum(one.lost for one in cells),
        thinned=sum(one.thinned for one in cells),
        missing=sum(one.missing for one in cells),
        share=(expected - lacking) / expected if expected else None,
        cells=cells,
    )


def counts_by_hour(conn: Connection, gateway: str, channel: str, from_ms: int, to_ms: int) -> dict[int, int]:
    """How many readings of a channel were observed in each hour of [from_ms, to_ms), by its start."""
    counts: dict[int, int] = {}
    for one in envelope(conn, gateway, channel, from_ms, to_ms, buckets=(to_ms - from_ms) // HOUR_MS):
        for bucket in one.buckets:
            counts[bucket.from_ms] = counts.get(bucket.from_ms, 0) + bucket.count + bucket.others
    return counts


def judge(
    hours: Sequence[int], expected: Mapping[int, float], counts: Mapping[int, int], declared: Sequence[DeclaredSpan]
) -> list[Cell]:
    """A cell per hour. expected, counts: by start of the hour; of an hour that is not expected nothing lacks."""
    due = {hour: floor(expected[hour] + 1e-9) for hour in hours if hour in expected}
    lacks = {hour: _lacks(hour, due, counts) for hour in due}
    lost = _explain(lacks, [one for one in declared if one.kind == LOST])
    thinned = _explain(lacks, [one for one in declared if one.kind != LOST])
    return [
        Cell(
            from_ms=hour,
            expected=due.get(hour),
            came=counts.get(hour, 0),
            lost=lost.get(hour, 0),
            thinned=thinned.get(hour, 0),
            missing=lacks.get(hour, 0),
        )
        for hour in hours
    ]


def by_day(cells: Iterable[Cell], day_of: Mapping[int, int]) -> list[Cell]:
    """The same by day. day_of: start of an hour → start of its day, for the reader decides where a day begins."""
    days = []
    for day_ms, hours in groupby(cells, key=lambda one: day_of[one.from_ms]):
        these = list(hours)
        due = [one.expected for one in these if one.expected is not None]
        days.append(
            Cell(
                from_ms=day_ms,
                expected=sum(due) if due else None,
                came=sum(one.came for one in these),
                lost=sum(one.lost for one in these),
                thinned=sum(one.thinned for one in these),
                missing=sum(one.missing for one in these),
            )
        )
    return days


def _known_since(conn: Connection, gateway: str) -> int:
    """Since when the gateway could deliver at all; of one the registry doesn't know nothing is accepted."""
    entry = registry.gateway(conn, gateway)
    return 0 if entry is None else entry.added_ms


def _overlaps(one: Binding, from_ms: int, to_ms: int) -> bool:
    return one.valid_from_ms < to_ms and (one.valid_to_ms is None or one.valid_to_ms > from_ms)


def _expected(bound: Sequence[Binding], from_ms: int, until_ms: int) -> dict[int, float]:
    """How many readings each hour lets expect, up to `until_ms`; hours in which nothing was bound are not there."""
    found: dict[int, float] = {}
    for one in bound:
        start = max(from_ms, one.valid_from_ms)
        end = until_ms if one.valid_to_ms is None else min(until_ms, one.valid_to_ms)
        for hour in range(start - start % HOUR_MS, end, HOUR_MS):
            inside_ms = min(end, hour + HOUR_MS) - max(start, hour)
            found[hour] = found.get(hour, 0.0) + inside_ms / 1000 / one.log_interval_s
    return found


def _lacks(hour: int, due: Mapping[int, int], counts: Mapping[int, int]) -> int:
    lacks = max(0, due[hour] - counts.get(hour, 0))
    beside = (hour - HOUR_MS, hour + HOUR_MS)
    return 0 if lacks == 1 and any(counts.get(one, 0) > due.get(one, INT64_MAX) for one in beside) else lacks


def _explain(lacks: dict[int, int], declared: Iterable[DeclaredSpan]) -> dict[int, int]:
    """Take from what lacks as much as was declared for its time; what was taken, by hour.

    A declaration that reaches beyond the hours explains as much as falls to them; an uncounted one all there is.
    """
    taken: dict[int, int] = {}
    if not lacks:
        return taken
    first_ms, last_ms = min(lacks), max(lacks) + HOUR_MS
    for one in declared:
        start, end = max(first_ms, one.from_ms), min(last_ms, max(one.to_ms, one.from_ms + 1))
        if start >= end:
            continue
        share = (end - start) / max(1, one.to_ms - one.from_ms)
        left = INT64_MAX if one.left_out is None else ceil(one.left_out * min(1.0, share) - 1e-9)
        for hour in range(start - start % HOUR_MS, end, HOUR_MS):
            part = min(left, lacks.get(hour, 0))
            if part:
                lacks[hour] -= part
                taken[hour] = taken.get(hour, 0) + part
                left -= part
    return taken
