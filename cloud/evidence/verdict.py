"""Verdicts with reasons: of a stay, and of a lot. Pure.

    pass                everything asked for was measured, and nothing is to remark
    pass_with_remarks   enough was measured and no critical limit was broken, but a person should look
    fail                a critical rule was broken for its duration: proven, so it stands over missing data
    insufficient_data   what was measured does not suffice: missing evidence can never be a pass
    not_assessed        we don't answer for the cold here (a customer's door ends it); never counts for the lot

Reason codes and their parameters, for the catalogues (a lot's reasons also carry `place`, the GLN, when they come
from a stay):

    insufficient    no_profile · no_sensor {measurement} · no_readings {measurement}
                    coverage_low {measurement, coverage, min_coverage} · unknown_product {gtin} · no_stay
    fail            critical_excursion {rule, channel, direction, threshold, extreme, unit, duration_s, from_ms}
    remarks         warning_excursion, short_excursion {the same} · gap {channel, count, longest_s}
                    sensor_errors {channel, count} · clock_unsynced {channel, count}
                    clock_misplaced, from_future {channel, count}: readings that were left out
                    clock_uncertain {channel, count, longest_s}: corrected, and the correction may be off by so much
                    event_clock_unset, event_from_future {count}, event_time_moved, event_time_uncertain
                    {count, longest_s}: of a lot, not of a stay
                    lost, thinned {channel, count}: readings the gateway declares lost, or left out by thinning
                    lost_uncounted {channel}: the gateway declares a loss and cannot say how much
                    between_readings {measurement}: too short a stay for a reading of its own; the one before it
                    stands for it
    not assessed    no_custody
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cloud.evidence.excursions import rules_for
from cloud.evidence.model import Excursion, Reason, SeriesEvidence, Stay
from cloud.registry.profile import Profile

PASS, REMARKS, FAIL, INSUFFICIENT = "pass", "pass_with_remarks", "fail", "insufficient_data"
NOT_ASSESSED = "not_assessed"

_INSUFFICIENT_CODES = frozenset(
    {"no_profile", "no_sensor", "no_readings", "coverage_low", "unknown_product", "no_stay"}
)
_FAIL_CODES = frozenset({"critical_excursion"})
UNCERTAIN_S = 60  # a correction that may be off by more is remarked: readings come about once a minute
_SEVERITY = (FAIL, INSUFFICIENT, REMARKS, PASS)

Verdict = tuple[str, list[Reason]]


def measurements_for(profile: Profile, kind: str) -> list[str]:
    """What must be measured at a kind of place: whatever a rule speaks of, and temperature when none does."""
    return sorted({rule.measurement for rule in rules_for(profile, kind)}) or ["Temperature"]


def stay_verdict(
    profile: Profile | None,
    *,
    kind: str,
    custody: bool,
    series: Sequence[SeriesEvidence],
    coverage: Mapping[str, float],
    spoken_for: Mapping[str, float],
) -> Verdict:
    """The verdict on one stay.

    profile: the limits in force at the start of the stay, None when there are none.
    coverage: measurement → the share of the stay covered by any of its series (a replaced probe hands over).
    spoken_for: the same without what was thinned between readings: a stay without a reading can rest on that only.
    """
    if not custody:
        return NOT_ASSESSED, [Reason("no_custody")]
    if profile is None:
        return INSUFFICIENT, [Reason("no_profile")]
    asked = measurements_for(profile, kind)
    series = [one for one in series if one.measurement in asked]  # what no rule speaks of is shown, not judged
    reasons = [reason for one in series for reason in _excursion_reasons(one)]
    for measurement in asked:
        shares = coverage.get(measurement, 0.0), spoken_for.get(measurement, 0.0)
        reasons += _missing(profile, measurement, series, *shares)
    reasons += [reason for one in series for reason in _remarks(one)]
    reasons.sort(key=lambda reason: _SEVERITY.index(_weight(reason)))  # stable: what decides comes first
    return (_weight(reasons[0]) if reasons else PASS), reasons


def lot_verdict(stays: Sequence[Stay], *, known_product: bool, gtin: str, remarks: Sequence[Reason] = ()) -> Verdict:
    """The verdict on a lot: the worst of the stays we answer for. remarks: on the lot as a whole."""
    reasons = [*remarks] if known_product else [Reason("unknown_product", {"gtin": gtin}), *remarks]
    assessed = [stay for stay in stays if stay.custody]
    if not assessed:
        reasons.append(Reason("no_stay"))
    for stay in assessed:
        reasons += [_at_place(reason, stay.place) for reason in stay.reasons]
    reasons.sort(key=lambda reason: _SEVERITY.index(_weight(reason)))
    verdicts = [stay.verdict for stay in assessed] + [_weight(reason) for reason in reasons]
    return min(verdicts, key=_SEVERITY.index, default=INSUFFICIENT), reasons


def _weight(reason: Reason) -> str:
    """The verdict that a reason brings about."""
    if reason.code in _FAIL_CODES:
        return FAIL
    return INSUFFICIENT if reason.code in _INSUFFICIENT_CODES else REMARKS


def _at_place(reason: Reason, place: str) -> Reason:
    return msgspec.structs.replace(reason, params={**reason.params, "place": place})


def _missing(
    profile: Profile, measurement: str, series: Sequence[SeriesEvidence], coverage: float, spoken_for: float
) -> list[Reason]:
    measured = [one for one in series if one.measurement == measurement]
    if not measured:
        return [Reason("no_sensor", {"measurement": measurement})]
    unread = not any(one.count for one in measured)
    if unread and spoken_for >= profile.min_coverage:
        return [Reason("between_readings", {"measurement": measurement})]
    if unread:
        return [Reason("no_readings", {"measurement": measurement})]
    if coverage < profile.min_coverage:
        params: dict[str, str | float | int] = {
            "measurement": measurement,
            "coverage": coverage,
            "min_coverage": profile.min_coverage,
        }
        return [Reason("coverage_low", params)]
    return []


def _excursion_reasons(series: SeriesEvidence) -> list[Reason]:
    """Triggered ones count by their severity; a short one is a remark only where a long one would be critical."""
    reasons = []
    for one in series.excursions:
        if one.triggered:
            code = "critical_excursion" if one.severity == "critical" else "warning_excursion"
        elif one.severity == "critical":
            code = "short_excursion"
        else:
            continue
        reasons.append(Reason(code, _excursion_params(one, series)))
    return reasons


def _excursion_params(one: Excursion, series: SeriesEvidence) -> dict[str, str | float | int]:
    return {
        "rule": one.rule,
        "channel": series.channel,
        "direction": one.direction,
        "threshold": one.threshold,
        "extreme": one.extreme,
        "unit": series.unit,
        "duration_s": (one.to_ms - one.from_ms) // 1000,
        "from_ms": one.from_ms,
    }


def _remarks(series: SeriesEvidence) -> list[Reason]:
    reasons = []
    if series.gaps:
        longest_s = max(gap.to_ms - gap.from_ms for gap in series.gaps) // 1000
        count = len(series.gaps)
        reasons.append(Reason("gap", {"channel": series.channel, "count": count, "longest_s": longest_s}))
    if series.sensor_errors:
        reasons.append(Reason("sensor_errors", {"channel": series.channel, "count": series.sensor_errors}))
    reasons += _declared(series)
    if series.unsynced:
        reasons.append(Reason("clock_unsynced", {"channel": series.channel, "count": series.unsynced}))
    uncertain = [shift for shift in series.corrected if shift.uncertainty_s > UNCERTAIN_S]
    if uncertain:
        count = sum(shift.count for shift in uncertain)
        longest_s = round(max(shift.uncertainty_s for shift in uncertain))
        reasons.append(Reason("clock_uncertain", {"channel": series.channel, "count": count, "longest_s": longest_s}))
    if series.misplaced:
        reasons.append(Reason("clock_misplaced", {"channel": series.channel, "count": series.misplaced}))
    if series.future:
        reasons.append(Reason("from_future", {"channel": series.channel, "count": series.future}))
    return reasons


def _declared(series: SeriesEvidence) -> list[Reason]:
    """Readings that will not come: said by the gateway, so never passed over in silence."""
    reasons = []
    for kind in ("lost", "thinned"):
        counts = [one.left_out for one in series.declared if one.kind == kind]
        known = sum(count for count in counts if count is not None)
        if known:
            reasons.append(Reason(kind, {"channel": series.channel, "count": known}))
        if None in counts:
            reasons.append(Reason("lost_uncounted", {"channel": series.channel}))
    return reasons
