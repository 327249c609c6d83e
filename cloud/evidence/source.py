"""Where evidence takes its readings from: telemetry, with what the stays of one lot share fetched once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from sqlalchemy import Connection

from cloud.evidence.statistics import Span, merged
from cloud.telemetry.query import ReadingRow, readings


class ReadingsOnce:
    """Readings at one place for one lot: the stays of its parts overlap, and what they share is fetched once.

    Invariant: `_held` has every reading of its channel in the span it names, in order of time.
    """

    def __init__(self, conn: Connection, spans: Iterable[Span]) -> None:
        """spans: all stays that will be asked for; asking in order of their start is what saves the work."""
        self._conn = conn
        self._spans = merged(spans)
        self._held: dict[tuple[str, str], tuple[Span, list[ReadingRow]]] = {}

    def between(self, gateway: str, channel: str, from_ms: int, to_ms: int) -> list[ReadingRow]:
        """The readings of a channel in [from_ms, to_ms), in order of time."""
        (begin, end), rows = self._held.get((gateway, channel), ((0, 0), []))
        if not (begin <= from_ms and to_ms <= end):
            begin = from_ms
            end = max([to_ms, *(stop for start, stop in self._spans if start <= to_ms and from_ms <= stop)])
            rows = readings(self._conn, gateway, channel, begin, end)
            self._held[gateway, channel] = (begin, end), rows
        first = bisect_left(rows, from_ms, key=_observed_ms)
        return rows[first : bisect_left(rows, to_ms, lo=first, key=_observed_ms)]


def _observed_ms(row: ReadingRow) -> int:
    return row.observed_ms
