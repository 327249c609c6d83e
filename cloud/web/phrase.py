"""Sentences made from evidence: the verdict, reasons, rules, limits. Pure; nothing is said that isn't data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from cloud.evidence.model import Excursion, LotEvidence, Reason, SeriesEvidence, Stay, TimeShift
from cloud.evidence.statistics import merged
from cloud.registry.profile import Profile, Rule
from cloud.web import formats
from cloud.web.wording import Wording

TEMPERATURE = "Temperature"
SHIFTS_SHOWN = 3  # corrections told one by one; the API has all
_SHOWN = {  # how a reason's parameters are written, by their names
    "threshold": "quantity",
    "extreme": "quantity",
    "duration_s": "span",
    "longest_s": "span",
    "coverage": "percent",
    "min_coverage": "percent",
    "from_ms": "instant",
    "count": "count",
    "measurement": "measurement",
}


def verdict_sentence(evidence: LotEvidence, profile: Profile | None, words: Wording) -> str:
    """What the evidence says about a lot: how much was watched, how cold it was, what is wrong or missing."""
    language = words.language
    custody = [stay for stay in evidence.stays if stay.custody]
    watched = [(stay, one) for stay in custody for one in stay.series if one.measurement == TEMPERATURE]
    parts = [words(f"sentence.lead.{evidence.verdict}")]
    if not custody:
        return parts[0]
    lasted = sum(end - start for start, end in merged((stay.from_ms, stay.until_ms) for stay in custody))
    parts.append(
        words(
            "sentence.watched",
            coverage=formats.percent(_coverage(custody), language),
            duration=formats.span(lasted, language),
            stays=words.counted("sentence.stays", len(custody)),
        )
    )
    limited = [one for stay, one in watched if profile is not None and profile.band_holds(stay.kind)]
    told = limited or [one for _, one in watched]
    low = min((one.min for one in told if one.min is not None), default=None)
    high = max((one.max for one in told if one.max is not None), default=None)
    if low is not None and high is not None:
        unit = next(one.unit for _, one in watched if one.count)
        allowed = words("sentence.allowed", limits=limits(profile, words)) if limits(profile, words) else ""
        shown = {"low": formats.number(low, language, exact=True), "high": formats.quantity(high, unit, language)}
        parts.append(words("sentence.range", **shown) + allowed)
    parts += _excursion_parts([one for _, one in watched], words)
    parts.append(_gap_part([one for _, one in watched], words))
    parts += _declared_parts([one for _, one in watched], words)
    return f"{parts[0]} {'; '.join(parts[1:])}."


def _coverage(custody: list[Stay]) -> float:
    """The share of the time in our custody that readings speak for, by each stay's best temperature series."""
    total = sum(stay.until_ms - stay.from_ms for stay in custody)
    best = (
        max((one.coverage for one in stay.series if one.measurement == TEMPERATURE), default=0.0) for stay in custody
    )
    spoken = sum(share * (stay.until_ms - stay.from_ms) for share, stay in zip(best, custody, strict=True))
    return spoken / total if total else 0.0


def _excursion_parts(series: list[SeriesEvidence], words: Wording) -> list[str]:
    parts = []
    found = [(one, each.unit) for each in series for one in goes(each.excursions)]
    for triggered, key in ((True, "sentence.excursions"), (False, "sentence.short_excursions")):
        alike = [(one, unit) for one, unit in found if one.triggered is triggered]
        if alike:
            longest, unit = max(alike, key=lambda pair: pair[0].to_ms - pair[0].from_ms)
            extreme = formats.quantity(longest.extreme, unit, words.language)
            span = formats.span(longest.to_ms - longest.from_ms, words.language)
            parts.append(words.counted(key, len(alike), longest=span, extreme=extreme))
        elif triggered:
            parts.append(words("sentence.no_excursion"))
    return parts


def goes(excursions: Iterable[Excursion]) -> list[Excursion]:
    """What a reader calls an excursion: one per go beyond limits of a series, in order of time.

    Where several rules saw the same go, the one that weighs most stands for it. One that was too short even for a
    warning is none: it stays in the table only.
    """
    kept: list[Excursion] = []
    for one in sorted(excursions, key=_weight):
        counts = one.triggered or one.severity == "critical"
        seen = any(one.direction == k.direction and one.from_ms < k.to_ms and k.from_ms < one.to_ms for k in kept)
        if counts and not seen:
            kept.append(one)
    return sorted(kept, key=lambda one: one.from_ms)


def _weight(one: Excursion) -> tuple[bool, bool, int, int]:
    return not one.triggered, one.severity != "critical", one.from_ms - one.to_ms, one.from_ms


def _gap_part(series: list[SeriesEvidence], words: Wording) -> str:
    found = merged((gap.from_ms, gap.to_ms) for one in series for gap in one.gaps)
    if not found:
        return words("sentence.no_gap")
    longest = formats.span(max(end - start for start, end in found), words.language)
    return words.counted("sentence.gaps", len(found), longest=longest)


def _declared_parts(series: list[SeriesEvidence], words: Wording) -> list[str]:
    """What gateways say will not come, each declaration once although several stays may share it."""
    parts = []
    for kind in ("lost", "thinned"):
        found = {(one.gateway, one.channel, each) for one in series for each in one.declared if each.kind == kind}
        count = sum(each.left_out or 0 for _, _, each in found)
        if count:
            parts.append(words(f"sentence.{kind}", n=formats.number(count, words.language, decimals=0)))
    return parts


def limits(profile: Profile | None, words: Wording) -> str:
    """The band of a profile: 2–8 °C, ≤ −18 °C; empty when there is none."""
    if profile is None or (profile.low is None and profile.high is None):
        return ""

    def shown(value: float) -> str:
        return formats.number(value, words.language, decimals=0 if value == int(value) else 1)

    if profile.low is None or profile.high is None:
        sign, value = ("≤", profile.high) if profile.low is None else ("≥", profile.low)
        assert value is not None
        text = f"{sign} {shown(value)}"
    else:
        joint = " … " if profile.low < 0 else "\u2060–\u2060"  # −20–−18 could be misread; joined, so never broken
        text = f"{shown(profile.low)}{joint}{shown(profile.high)}"
    return f"{text}{formats.NARROW_SPACE}°C"


def rule_sentence(rule: Rule | None, excursion: Excursion, unit: str, words: Wording) -> str:
    """What a rule forbids: above 8 °C for 30 min or longer."""
    unit = unit if rule is None else rule.unit
    threshold = formats.quantity(excursion.threshold, unit, words.language)
    if rule is None:
        return words(f"rule.{excursion.direction}", threshold=threshold)
    if rule.duration_s == 0:
        return words(f"rule.{rule.direction}_at_once", threshold=threshold)
    span = formats.span(rule.duration_s * 1000, words.language)
    return words(f"rule.{rule.direction}_for", threshold=threshold, duration=span)


def measurement(name: str, words: Wording) -> str:
    """What is measured, in words; a name without any stands as it is."""
    key = f"measurement.{name}"
    return words(key) if key in words else name


def reason_sentence(reason: Reason, place_names: Mapping[str, str], words: Wording) -> str:
    """A reason in words; with `place` among its parameters the sentence begins with the place's name."""
    shown = {name: _shown(name, value, reason, words) for name, value in reason.params.items()}
    key = f"reason.{reason.code}"
    if reason.params.get("direction") in ("above", "below"):
        key += f".{reason.params['direction']}"
    sentence = words(key, **shown) if key in words else words("reason.other", code=reason.code)
    place = reason.params.get("place")
    return f"{place_names.get(str(place), str(place))}: {sentence}" if place is not None else sentence


def clock_notes(one: SeriesEvidence, words: Wording) -> list[str]:
    """What there is to say of the clocks behind a series: corrections with offset and source, bounds, lateness."""
    language = words.language
    told = sorted(one.corrected, key=lambda shift: -shift.count)
    notes = [_shift(shift, words) for shift in told[:SHIFTS_SHOWN]]
    if len(told) > SHIFTS_SHOWN:
        notes.append(words.counted("clock.more", len(told) - SHIFTS_SHOWN))
    if one.unsynced and one.not_after_ms is not None:
        not_after = formats.day_and_time(one.not_after_ms, language)
        if one.not_before_ms is None:
            notes.append(words("clock.before", not_after=not_after))
        else:
            not_before = formats.day_and_time(one.not_before_ms, language)
            notes.append(words("clock.between", not_before=not_before, not_after=not_after))
    if one.late:
        notes.append(words.counted("clock.late", one.late))
    return notes


def _shift(shift: TimeShift, words: Wording) -> str:
    key = f"clock.source.{shift.source}"
    source = words(key) if key in words else shift.source
    uncertainty = formats.seconds(shift.uncertainty_s, words.language)
    if shift.offset_s == 0:
        return words.counted("clock.confirmed", shift.count, source=source, uncertainty=uncertainty)
    how = words(
        "clock.by",
        way=words("clock.later" if shift.offset_s > 0 else "clock.earlier"),
        offset=formats.whole_span(shift.offset_s, words.language),
        source=source,
        uncertainty=uncertainty,
    )
    return words.counted("clock.corrected", shift.count, how=how)


def _shown(name: str, value: str | float, reason: Reason, words: Wording) -> str:
    language = words.language
    if isinstance(value, str):
        return measurement(value, words) if _SHOWN.get(name) == "measurement" else value
    forms: dict[str | None, Callable[[], str]] = {
        "quantity": lambda: formats.quantity(value, str(reason.params.get("unit", "")), language),
        "span": lambda: formats.span(round(value * 1000), language),
        "percent": lambda: formats.percent(value, language),
        "instant": lambda: formats.day_and_time(int(value), language),
        "count": lambda: formats.number(value, language, decimals=0),
    }
    form = forms.get(_SHOWN.get(name))
    return form() if form else formats.number(value, language, exact=True)
