"""What frozen versions of evidence say of readings, held against the packs of the bundle (docs/bundle.md §7). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from wire.bundle.document import Frozen, FrozenSeries, FrozenStay
from wire.bundle.finding import Finding
from wire.bundle.form import Broken
from wire.bundle.series import Measured, Wanted
from wire.bundle.subject import WINDOWS_MAX, Series, Subject, cut

_Numbers = tuple[int, float | None, float | None]


class Claim(msgspec.Struct, frozen=True):
    """A series at a stay as a version says it. wanted: the windows it may have been computed over.

    A version does not say since when a sensor was bound: it may be the whole stay, or a part of it.
    """

    leaf: int
    place: str
    series: FrozenSeries
    wanted: list[Wanted]


def of_versions(frozen: Iterable[tuple[int, Frozen]], subject: Subject) -> list[Claim]:
    """Everything that versions, each given with its leaf, say of series. Raises Broken for more than WINDOWS_MAX."""
    bound: dict[tuple[str, str, str, str], list[Series]] = {}
    for one in subject.series:
        bound.setdefault((one.place, one.gateway, one.channel, one.measurement), []).append(one)
    claims = [
        Claim(leaf, stay.place_name or stay.place, series, _wanted(leaf, stay, series, bound))
        for leaf, version in frozen
        for stay in version.stays
        for series in stay.series
    ]
    if sum(len(one.wanted) for one in claims) > WINDOWS_MAX:
        raise Broken("evidence versions", f"more than {WINDOWS_MAX} series at stays in all of them")
    return claims


def _wanted(
    leaf: int, stay: FrozenStay, series: FrozenSeries, bound: dict[tuple[str, str, str, str], list[Series]]
) -> list[Wanted]:
    whole = (stay.from_ms, stay.until_ms)
    known = bound.get((stay.place, series.gateway, series.channel, series.measurement), [])
    spans = {whole} | {part for one in known if (part := cut(one, *whole)) is not None}
    return [
        Wanted(series.gateway, series.channel, series.unit, begin, end, below_leaf=leaf) for begin, end in sorted(spans)
    ]


def compared(claims: Sequence[Claim], measured: Sequence[Measured]) -> tuple[list[Finding], list[Finding]]:
    """What is wrong, and what cannot be computed again; measured: in the order of the claims' windows."""
    wrong: list[Finding] = []
    doubtful: list[Finding] = []
    rest = iter(measured)
    for claim in claims:
        found = [_numbers(next(rest)) for _ in claim.wanted]
        what = f"evidence of leaf {claim.leaf}"
        frozen = (claim.series.count, claim.series.min, claim.series.max)
        names: dict[str, str | int] = {"series": f"{claim.series.gateway}/{claim.series.channel}", "place": claim.place}
        left_out = claim.series.misplaced + claim.series.future
        if left_out > 0 and any(_may_be(frozen, left_out, one) for one in found):
            doubtful.append(Finding("not_recomputed", what, names))
        elif left_out > 0 or frozen not in found:
            told: dict[str, str | int] = {"frozen": _told(frozen), "found": _told(found[0])}
            wrong.append(Finding("other_numbers", what, names | told))
    return wrong, doubtful


def _may_be(frozen: _Numbers, left_out: int, found: _Numbers) -> bool:
    """Whether what was frozen can follow from what was found by leaving out so many readings at most."""
    (count, low, high), (all_count, all_low, all_high) = frozen, found
    if not all_count - left_out <= count <= all_count:
        return False
    if low is None or high is None or all_low is None or all_high is None:
        return count == 0 and low is None and high is None
    return count > 0 and all_low <= low <= high <= all_high


def _numbers(one: Measured) -> _Numbers:
    return one.count, one.min, one.max


def _told(numbers: _Numbers) -> str:
    count, low, high = numbers
    return f"{count} ({'–' if low is None else low!r} … {'–' if high is None else high!r})"
