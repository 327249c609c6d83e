"""The nouns of evidence: what a lot page, a frozen version and the command line show. Plain data, JSON both ways."""

from __future__ import annotations

import msgspec


class Gap(msgspec.Struct, frozen=True):
    """A silence longer than allowed: a fact, never bridged. from_ms/to_ms: the readings (or stay edges) around it.

    cause: `lost` (declared, `reason` says why in the gateway's words) · `sensor_error` · `stale` (device silent) ·
    `thinned` (declared, but more is missing than was left out) · `not_running` (the gateway was started anew in it) ·
    `no_reading_yet` · `unknown`
    """

    from_ms: int
    to_ms: int
    cause: str
    reason: str = ""


class Declared(msgspec.Struct, frozen=True):
    """What the gateway has signed of readings that will not come. kind: `thinned` (some were kept) or `lost`.

    left_out: how many readings of this series, None where the gateway could not tell; reason: in the gateway's words.
    The span is the gateway's, and may begin before the stay and end after it.
    """

    kind: str
    from_ms: int
    to_ms: int
    left_out: int | None
    reason: str


class Excursion(msgspec.Struct, frozen=True):
    """One go beyond a rule's threshold. triggered: it lasted for the rule's duration. open: it had not ended."""

    rule: str
    severity: str
    direction: str
    threshold: float
    from_ms: int
    to_ms: int
    extreme: float
    triggered: bool
    open: bool


class TimeShift(msgspec.Struct, frozen=True):
    """How many readings were moved by the same correction of their gateway's clock. source: ntp, gps, operator."""

    offset_s: float
    uncertainty_s: float
    source: str
    count: int


class SeriesEvidence(msgspec.Struct, frozen=True):
    """One series over one stay. Statistics are over readings of quality OK in [from, to); None when there are none.

    mean: time-weighted; each reading stands until the next one, at most one log interval before a gap. Where readings
    were thinned it is a mean of those kept, extremes among them, and no more than near; min and max are exact there,
    and the time between kept readings counts as covered (docs/adr/0012).

    unsynced: readings that count although nobody ever set the clock that stamped them; they were really observed not
    before `not_before_ms` and not after `not_after_ms`, as far as that is known. misplaced: those that cannot have been
    observed when they say; future: those from after their own receipt. Neither of the two counts in anything.
    corrected: by which corrections readings were moved to their time. late: received long after they were observed.
    """

    gateway: str
    channel: str
    sensor: str
    measurement: str
    unit: str
    log_interval_s: int
    count: int
    min: float | None
    max: float | None
    mean: float | None
    coverage: float
    sensor_errors: int
    gaps: list[Gap]
    excursions: list[Excursion]
    unsynced: int = 0
    corrected: list[TimeShift] = []
    not_before_ms: int | None = None
    not_after_ms: int | None = None
    misplaced: int = 0
    future: int = 0
    late: int = 0
    declared: list[Declared] = []

    @property
    def thinned(self) -> bool:
        """Whether readings were left out by thinning, so that the mean is not exact."""
        return any(one.kind == "thinned" for one in self.declared)


class Reason(msgspec.Struct, frozen=True):
    """Why a verdict is what it is: a code for the catalogue, with what its sentence needs."""

    code: str
    params: dict[str, str | float | int] = {}


class Stay(msgspec.Struct, frozen=True):
    """The lot at a place, [from, to); to_ms is None while it is still there, until_ms is where evidence ends then.

    Where we don't answer for the cold (custody False) no evidence is asked for: verdict `not_assessed`, no series, and
    an open stay's evidence ends where it begins. Codes of verdicts and reasons: evidence/verdict.py.
    """

    place: str  # GLN
    place_name: str
    place_name_en: str
    kind: str
    custody: bool
    from_ms: int
    to_ms: int | None
    until_ms: int
    series: list[SeriesEvidence]
    verdict: str
    reasons: list[Reason]


class LotEvidence(msgspec.Struct, frozen=True):
    """Everything the verdict on a lot rests on. verdict: pass, pass_with_remarks, fail, insufficient_data."""

    gtin: str
    lot: str
    product_name: str
    product_name_en: str
    profile: str
    profile_version: int
    simulated: bool
    stays: list[Stay]
    verdict: str
    reasons: list[Reason]
