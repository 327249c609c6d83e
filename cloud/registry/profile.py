"""Limits of a product group: what counts as too warm or too cold, for how long, and how much data is enough."""

from __future__ import annotations

import msgspec

#: What is measured → the Rec 20 unit in which evidence and the band speak of it.
UNITS = {"Temperature": "CEL", "RelativeHumidity": "P1"}


class Rule(msgspec.Struct, frozen=True):
    """Out of limits when a reading is beyond `threshold` in `direction` for at least `duration_s` in one go.

    threshold: in `unit` (Rec 20). inclusive: whether a reading equal to the threshold is already out.
    severity: `critical` makes the stay fail, `warning` is a remark. places: kinds of place it holds for, empty = all.
    """

    name: str
    direction: str  # "above" or "below"
    threshold: float
    duration_s: int
    severity: str  # "critical" or "warning"
    inclusive: bool = True
    measurement: str = "Temperature"
    unit: str = "CEL"
    places: list[str] = []


class Profile(msgspec.Struct, frozen=True):
    """One version of the limits. The chart's band is [low, high] in CEL; either may be None.

    places: kinds of place the band holds for, empty = all.
    min_coverage: the share of a stay that must be covered by readings (0–1), below it the data do not suffice.
    gap_factor: a silence longer than this many log intervals is a gap.
    """

    name: str
    version: int
    title: str
    title_en: str
    source: str
    low: float | None = None
    high: float | None = None
    rules: list[Rule] = []
    min_coverage: float = 0.9
    gap_factor: float = 2.0
    places: list[str] = []

    def band_holds(self, kind: str) -> bool:
        """Whether the band is meant for this kind of place."""
        return not self.places or kind in self.places
