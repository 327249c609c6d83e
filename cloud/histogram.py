"""How values are spread: a count for each bound. What parts of the cloud measure themselves with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """Counts values by ascending upper bounds, and their sum. One thread observes, any may read."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = list(bounds)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self._sum += value

    def cumulative(self) -> tuple[list[int], float]:
        """How many values were not above each bound, and in the end how many there were; and their sum."""
        return list(accumulate(self._counts)), self._sum
