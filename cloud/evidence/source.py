"""Where evidence takes its readings from: telemetry, with what the stays of one lot share fetched once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection

from cloud.evidence.statistics import Span, merged
from cloud.telemetry.bounds import Bounds, bounds
from cloud.telemetry.declared import DeclaredSpan, LossesOnce
from cloud.telemetry.query import ReadingRow, readings


@dataclass(frozen=True, slots=True)
class _Held:
    """The readings of a channel in [from_ms, to_ms). ascending: their times are in order."""

    from_ms: int
    to_ms: int
    rows: list[ReadingRow]
    ascending: bool


class ReadingsOnce:
    """Readings at one place for one lot: the stays of its parts overlap, and what they share is fetched once.

    Invariant: `_held` has every reading of its channel in the span it names, in telemetry's order: monotonic within a
    boot, so not in order of time where a clock stepped back and nobody corrected it.
    """

    def __init__(self, conn: Connection, spans: Iterable[Span]) -> None:
        """spans: all stays that will be asked for, with what of the time around them will be."""
        self._conn = conn
        self._spans = merged(spans)
        self._held: dict[tuple[str, str], _Held] = {}
        self._bounds: dict[tuple[str, bytes], Bounds] = {}
        self._losses: dict[str, LossesOnce] = {}

    def between(self, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[ReadingRow]:
        """The readings of a channel in [from_ms, to_ms), in telemetry's order."""
        held = self._held.get((gateway, channel))
        if held is None or not (held.from_ms <= from_ms and to_ms <= held.to_ms):
            near = [(start, stop) for start, stop in self._spans if start <= to_ms and from_ms <= stop]
            begin = min([from_ms, *(start for start, _ in near)])
            end = max([to_ms, *(stop for _, stop in near)])
            rows = readings(self._conn, gateway, channel, begin, end)
            ascending = all(one.observed_ms <= next_.observed_ms for one, next_ in pairwise(rows))
            held = self._held[gateway, channel] = _Held(begin, end, rows, ascending)
        rows = held.rows
        if not held.ascending:
            return [row for row in rows if from_ms <= row.observed_ms < to_ms]
        first = bisect_left(rows, from_ms, key=_observed_ms)
        return rows[first : bisect_left(rows, to_ms, lo=first, key=_observed_ms)]

    def bounds(self, gateway: str, boot_id: bytes) -> Bounds:
        """Between what the time of a boot lies that nobody set."""
        if (gateway, boot_id) not in self._bounds:
            self._bounds[gateway, boot_id] = bounds(self._conn, gateway, boot_id)
        return self._bounds[gateway, boot_id]

    def declared(self, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[DeclaredSpan]:
        """What the gateway declared thinned or lost of a channel in [from_ms, to_ms), in order of time."""
        if gateway not in self._losses:
            self._losses[gateway] = LossesOnce(self._conn, gateway)
        return self._losses[gateway].spans(channel, from_ms, to_ms)


def _observed_ms(row: ReadingRow) -> int:
    return row.observed_ms
