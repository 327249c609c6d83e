"""Which readings something on record refers to: lots' stays, frozen evidence, holds. These are never removed.

What is needed is a span of time of a series. Spans are wider than what evidence reads, by MARGIN or more: evidence
looks at what lies before and after a stay, and clocks are corrected.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, func, select

from cloud.db.tables import event, evidence_version, hold, sensor_binding
from cloud.evidence.lot import known_lots, presences
from cloud.evidence.model import LotEvidence
from cloud.registry.query import bindings
from cloud.retention.holds import Hold, listed
from wire.observation import INT64_MAX

MARGIN_MS = 86_400_000
MARGIN_INTERVALS = 200  # of a binding's log interval: twice the greatest gap that a profile allows
FOREVER_MS = INT64_MAX // 4  # a bound that margins can be added to

Series = tuple[str, str]  # gateway, channel
Span = tuple[int, int]  # [from_ms, to_ms)


class Needed:
    """The spans of each series, and those of all series."""

    def __init__(self, spans: Iterable[tuple[Series | None, Span]]) -> None:
        found: dict[Series | None, list[Span]] = {}
        for series, span in spans:
            found.setdefault(series, []).append(span)
        self._spans = {series: _merged(ones) for series, ones in found.items()}

    def touches(self, series: Series, from_ms: int, to_ms: int) -> bool:
        """Whether a reading of the series in [from_ms, to_ms], both inclusive, is needed."""
        return any(_overlaps(self._spans.get(one, []), from_ms, to_ms) for one in (series, None))


def needed(conn: Connection, now_ms: int) -> Needed:
    """What is needed as of now."""
    return Needed([*_of_lots(conn, now_ms), *_of_versions(conn), *_of_holds(conn, now_ms)])


def state(conn: Connection) -> tuple[object, ...]:
    """Changes whenever `needed` may: new events, versions, holds, releases; bindings, which are corrected in place."""
    counts = [conn.scalar(select(func.count()).select_from(table)) for table in (event, evidence_version, hold)]
    released = conn.scalar(select(func.count(hold.c.release_leaf_index)))
    bound = conn.execute(select(sensor_binding).order_by(sensor_binding.c.id))
    return (*counts, released, *map(tuple, bound))


def _of_lots(conn: Connection, now_ms: int) -> Iterable[tuple[Series, Span]]:
    for gtin, lot in known_lots(conn):
        yield from _of_lot(conn, gtin, lot, now_ms)


def _of_lot(conn: Connection, gtin: str, lot: str, now_ms: int) -> Iterable[tuple[Series, Span]]:
    for one in presences(conn, gtin, lot, now_ms):
        yield from _of_place(conn, one.place, one.from_ms, FOREVER_MS if one.to_ms is None else one.to_ms)


def _of_place(conn: Connection, place: str, from_ms: int, to_ms: int) -> Iterable[tuple[Series, Span]]:
    for bound in bindings(conn, place, from_ms, to_ms):
        margin_ms = max(MARGIN_MS, round(1000 * MARGIN_INTERVALS * bound.log_interval_s))
        yield (bound.gateway, bound.channel), (from_ms - margin_ms, to_ms + margin_ms)


def _of_versions(conn: Connection) -> Iterable[tuple[Series, Span]]:
    """Decisions name a version, so that theirs are among these."""
    for body in conn.execution_options(stream_results=True).scalars(select(evidence_version.c.body)):
        for stay in msgspec.json.decode(body, type=LotEvidence).stays:
            for one in stay.series:
                yield (one.gateway, one.channel), (stay.from_ms - MARGIN_MS, stay.until_ms + MARGIN_MS)


def _of_holds(conn: Connection, now_ms: int) -> Iterable[tuple[Series | None, Span]]:
    for held in listed(conn):
        if held.release is None:
            yield from _of_hold(conn, held.hold, now_ms)


def _of_hold(conn: Connection, one: Hold, now_ms: int) -> Iterable[tuple[Series | None, Span]]:
    from_ms = -FOREVER_MS if one.from_ms is None else one.from_ms
    to_ms = FOREVER_MS if one.to_ms is None else one.to_ms
    if one.kind == "lot":
        yield from _of_lot(conn, one.gtin, one.lot, now_ms)
    elif one.kind == "place":
        yield from _of_place(conn, one.place, from_ms, to_ms)
    elif one.kind == "series":
        yield (one.gateway, one.channel), (from_ms, to_ms)
    else:
        yield None, (from_ms, to_ms)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _overlaps(spans: list[Span], from_ms: int, to_ms: int) -> bool:
    at = bisect_left(spans, (to_ms + 1,))
    return at > 0 and spans[at - 1][1] > from_ms
