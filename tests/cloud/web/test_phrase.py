"""Sentences say what the evidence says, no more, and in both languages."""

from __future__ import annotations

import msgspec
import pytest

from cloud.evidence.model import Excursion, Gap, LotEvidence, Reason, SeriesEvidence, Stay
from cloud.registry.profile import Profile, Rule
from cloud.web import phrase
from cloud.web.wording import wording

START_MS = 1_760_000_000_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
VI, EN = wording("vi"), wording("en")
RULE = Rule("warm", "above", 8.0, 1800, "critical")
PROFILE = Profile("chilled", 1, "Mát", "Chilled", "test", 2.0, 8.0, [RULE])


def excursion(from_min: int, to_min: int, extreme: float, **changed: object) -> Excursion:
    made = Excursion(
        "warm",
        "critical",
        "above",
        8.0,
        START_MS + from_min * MINUTE_MS,
        START_MS + to_min * MINUTE_MS,
        extreme,
        True,
        False,
    )
    return msgspec.structs.replace(made, **changed)


def evidence(
    *, excursions: list[Excursion], gaps: list[Gap], verdict: str = "fail", coverage: float = 0.992
) -> LotEvidence:
    one = SeriesEvidence(
        "gw-kho-01", "room-1/air", "S1", "Temperature", "CEL", 60, 100, 2.1, 9.6, 5.0, coverage, 0, gaps, excursions
    )
    until_ms = START_MS + 43 * HOUR_MS + 20 * MINUTE_MS
    stay = Stay("893", "Kho", "Store", "storage", True, START_MS, until_ms, until_ms, [one], verdict, [])
    return LotEvidence("1", "L", "Sầu riêng", "Durian", "chilled", 1, False, [stay], verdict, [])


def plain(sentence: str) -> str:
    for space in ("\u00a0", "\u202f"):
        sentence = sentence.replace(space, " ")
    return sentence.replace("\u2060", "")


def test_verdict_sentence_tells_everything_that_counts() -> None:
    gap = Gap(START_MS + 6 * HOUR_MS, START_MS + 6 * HOUR_MS + 12 * MINUTE_MS, "unknown")
    made = evidence(excursions=[excursion(60, 84, 9.6)], gaps=[gap])
    assert plain(phrase.verdict_sentence(made, PROFILE, EN)) == (
        "The lot is not compliant. Watched for 99.2 % of 43 h 20 min (1 stay); temperature from 2.1 to 9.6 °C "
        "(allowed 2–8 °C); 1 excursion of 24 min (up to 9.6 °C); 1 data gap of 12 min."
    )
    assert plain(phrase.verdict_sentence(made, PROFILE, VI)) == (
        "Lô hàng không đạt. Đã theo dõi 99,2 % thời gian trong 43 giờ 20 phút (1 chặng); nhiệt độ từ 2,1 đến 9,6 °C "
        "(cho phép 2–8 °C); 1 lần vượt ngưỡng, kéo dài 24 phút (đến 9,6 °C); 1 khoảng trống dữ liệu, dài 12 phút."
    )


def test_the_range_is_told_for_the_places_the_limits_hold_for() -> None:
    made = evidence(excursions=[], gaps=[], verdict="pass")
    [room] = made.stays
    hall = msgspec.structs.replace(room, kind="packing", series=[msgspec.structs.replace(room.series[0], max=21.0)])
    both = msgspec.structs.replace(made, stays=[hall, room])
    assert "from 2.1 to 21.0" in plain(phrase.verdict_sentence(both, PROFILE, EN))
    for_rooms = msgspec.structs.replace(PROFILE, places=["storage"])
    assert "from 2.1 to 9.6 °C (allowed 2–8 °C)" in plain(phrase.verdict_sentence(both, for_rooms, EN))


def test_a_clean_lot_is_said_to_be_clean() -> None:
    sentence = phrase.verdict_sentence(evidence(excursions=[], gaps=[], verdict="pass", coverage=1.0), PROFILE, EN)
    assert plain(sentence).startswith("The lot is compliant. Watched for 100 % of")
    assert sentence.endswith("no excursion; no data gap.")


def test_a_lot_nobody_watched_claims_nothing() -> None:
    nothing = msgspec.structs.replace(evidence(excursions=[], gaps=[]), stays=[], verdict="insufficient_data")
    assert phrase.verdict_sentence(nothing, None, EN) == "There is not enough data to assess the lot."


def test_one_go_seen_by_two_rules_is_one_excursion() -> None:
    mild = excursion(50, 100, 9.6, rule="mild", severity="warning", triggered=False)
    assert phrase.goes([mild, excursion(60, 84, 9.6)]) == [excursion(60, 84, 9.6)]


def test_too_short_for_a_warning_is_no_excursion_and_short_for_a_critical_rule_is_a_short_one() -> None:
    assert phrase.goes([excursion(1, 2, 8.1, severity="warning", triggered=False)]) == []
    made = evidence(excursions=[excursion(1, 3, 8.1, triggered=False)], gaps=[])
    assert "no excursion; 1 short excursion of 2 min (up to 8.1 °C)" in plain(
        phrase.verdict_sentence(made, PROFILE, EN)
    )


@pytest.mark.parametrize(
    ("low", "high", "written"),
    [(2.0, 8.0, "2–8 °C"), (None, -18.0, "≤ −18 °C"), (0.5, None, "≥ 0,5 °C"), (-22.0, -18.0, "−22 … −18 °C")],
)
def test_limits_are_written_so_that_no_sign_is_misread(low: float | None, high: float | None, written: str) -> None:
    assert plain(phrase.limits(msgspec.structs.replace(PROFILE, low=low, high=high), VI)) == written


def test_no_limits_give_no_words() -> None:
    assert phrase.limits(None, VI) == phrase.limits(msgspec.structs.replace(PROFILE, low=None, high=None), VI) == ""


def test_rules_are_told_with_their_duration() -> None:
    one = excursion(60, 84, 9.6)
    assert plain(phrase.rule_sentence(RULE, one, "CEL", EN)) == "not above 8.0 °C for 30 min or longer"
    at_once = msgspec.structs.replace(RULE, duration_s=0)
    assert plain(phrase.rule_sentence(at_once, one, "CEL", EN)) == "never above 8.0 °C"
    assert plain(phrase.rule_sentence(None, one, "CEL", EN)) == "above 8.0 °C"


def test_reasons_name_place_threshold_and_time() -> None:
    params = {
        "rule": "warm",
        "channel": "truck/air",
        "direction": "above",
        "threshold": 8.0,
        "extreme": 9.6,
        "unit": "CEL",
        "duration_s": 1440,
        "from_ms": START_MS,
        "place": "893",
    }
    sentence = phrase.reason_sentence(Reason("critical_excursion", {**params}), {"893": "Xe lạnh"}, VI)
    assert plain(sentence) == "Xe lạnh: trên 8,0 °C trong 24 phút, từ 09/10/2025 15:53, cao nhất 9,6 °C"


def test_an_unknown_reason_is_shown_rather_than_hidden() -> None:
    assert phrase.reason_sentence(Reason("brand_new", {"x": 1}), {}, EN) == "another finding (brand_new)"
