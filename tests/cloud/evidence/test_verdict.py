"""The verdict table: what decides, what is only remarked, and that missing evidence never passes."""

from __future__ import annotations

from itertools import product

import pytest

from cloud.evidence.model import Excursion, Gap, Reason, SeriesEvidence, Stay, TimeShift
from cloud.evidence.verdict import lot_verdict, measurements_for, stay_verdict
from cloud.registry.profile import Profile, Rule

WARM = Rule("warm", "above", 8.0, 600, "critical")
PROFILE = Profile("chilled", 1, "Hàng mát", "Chilled", "test", 2.0, 8.0, [WARM])


def excursion(*, severity: str = "critical", triggered: bool = True) -> Excursion:
    return Excursion("warm", severity, "above", 8.0, 0, 900_000, 9.5, triggered, False)


def series(
    *, count: int = 10, measurement: str = "Temperature", excursions: list[Excursion] | None = None, **changes: object
) -> SeriesEvidence:
    given: dict[str, object] = {
        "gateway": "gw-1",
        "channel": "room-1/air",
        "sensor": "T1",
        "measurement": measurement,
        "unit": "CEL",
        "log_interval_s": 60,
        "count": count,
        "min": 4.0,
        "max": 5.0,
        "mean": 4.5,
        "coverage": 1.0,
        "sensor_errors": 0,
        "gaps": [],
        "excursions": excursions or [],
        **changes,
    }
    return SeriesEvidence(**given)  # type: ignore[arg-type]


def judge(
    *found: SeriesEvidence,
    coverage: float = 1.0,
    spoken_for: float | None = None,
    profile: Profile | None = PROFILE,
    custody: bool = True,
) -> tuple[str, list[str]]:
    verdict, reasons = stay_verdict(
        profile,
        kind="storage",
        custody=custody,
        series=found,
        coverage={"Temperature": coverage},
        spoken_for={"Temperature": coverage if spoken_for is None else spoken_for},
    )
    return verdict, [reason.code for reason in reasons]


@pytest.mark.parametrize(
    ("found", "coverage", "expected"),
    [
        ([series()], 1.0, ("pass", [])),
        ([series()], 0.9, ("pass", [])),
        ([series()], 0.899, ("insufficient_data", ["coverage_low"])),
        ([], 0.0, ("insufficient_data", ["no_sensor"])),
        ([series(count=0)], 0.5, ("insufficient_data", ["no_readings"])),
        ([series(count=0)], 1.0, ("pass_with_remarks", ["between_readings"])),
        ([series(measurement="RelativeHumidity")], 1.0, ("insufficient_data", ["no_sensor"])),
        ([series(gaps=[Gap(0, 60_000, "unknown")])], 0.95, ("pass_with_remarks", ["gap"])),
        ([series(sensor_errors=2)], 1.0, ("pass_with_remarks", ["sensor_errors"])),
        ([series(unsynced=3)], 1.0, ("pass_with_remarks", ["clock_unsynced"])),
        ([series(corrected=[TimeShift(86_400, 60, "gps", 9)])], 1.0, ("pass", [])),
        ([series(corrected=[TimeShift(0, 60.001, "ntp", 1)])], 1.0, ("pass_with_remarks", ["clock_uncertain"])),
        ([series(excursions=[excursion()])], 1.0, ("fail", ["critical_excursion"])),
        ([series(excursions=[excursion(triggered=False)])], 1.0, ("pass_with_remarks", ["short_excursion"])),
        ([series(excursions=[excursion(severity="warning")])], 1.0, ("pass_with_remarks", ["warning_excursion"])),
        ([series(excursions=[excursion(severity="warning", triggered=False)])], 1.0, ("pass", [])),
        ([series(excursions=[excursion()])], 0.2, ("fail", ["critical_excursion", "coverage_low"])),
        ([series(), series(count=0)], 1.0, ("pass", [])),
    ],
)
def test_stay_verdicts(found: list[SeriesEvidence], coverage: float, expected: tuple[str, list[str]]) -> None:
    assert judge(*found, coverage=coverage) == expected


def test_uncertain_corrections_are_one_remark_with_the_worst_of_them() -> None:
    shifts = [TimeShift(5, 0.02, "ntp", 7), TimeShift(-5, 90, "gps", 2), TimeShift(9, 7200, "operator", 1)]
    _, reasons = stay_verdict(
        PROFILE,
        kind="storage",
        custody=True,
        series=[series(corrected=shifts)],
        coverage={"Temperature": 1.0},
        spoken_for={"Temperature": 1.0},
    )
    assert reasons == [Reason("clock_uncertain", {"channel": "room-1/air", "count": 3, "longest_s": 7200})]


def test_what_was_thinned_stands_for_no_reading() -> None:
    assert judge(series(count=0), coverage=1.0, spoken_for=0.1) == ("insufficient_data", ["no_readings"])


def test_without_limits_nothing_can_be_judged() -> None:
    assert judge(series(), profile=None) == ("insufficient_data", ["no_profile"])


def test_where_we_do_not_answer_for_the_cold_nothing_is_judged() -> None:
    assert judge(custody=False) == ("not_assessed", ["no_custody"])


def test_what_no_rule_speaks_of_is_not_remarked() -> None:
    damp = series(measurement="RelativeHumidity", gaps=[Gap(0, 60_000, "unknown")], sensor_errors=3)
    assert judge(series(), damp) == ("pass", [])


def test_what_decides_stands_first() -> None:
    found = series(sensor_errors=1, gaps=[Gap(0, 1, "unknown")], excursions=[excursion(triggered=False), excursion()])
    verdict, codes = judge(found)
    assert verdict == "fail"
    assert codes[0] == "critical_excursion"
    assert sorted(codes[1:]) == ["gap", "sensor_errors", "short_excursion"]


def test_missing_evidence_is_never_a_pass() -> None:
    """Every combination of coverage, readings and remarks."""
    for coverage, count, errors, short in product((0.0, 0.5, 0.9, 1.0), (0, 5), (0, 1), (False, True)):
        excursions = [excursion(triggered=False)] if short else []
        verdict, _ = judge(series(count=count, sensor_errors=errors, excursions=excursions), coverage=coverage)
        assert (verdict == "insufficient_data") == (coverage < 0.9)
        assert count > 0 or verdict != "pass"


def test_every_measurement_a_rule_speaks_of_must_be_measured() -> None:
    damp = Rule("damp", "above", 95.0, 600, "warning", measurement="RelativeHumidity", unit="P1", places=["storage"])
    both = Profile("chilled", 1, "", "", "", 2.0, 8.0, [WARM, damp])
    assert measurements_for(both, "storage") == ["RelativeHumidity", "Temperature"]
    assert measurements_for(both, "vehicle") == ["Temperature"]
    verdict, codes = judge(series(), profile=both)
    assert (verdict, codes) == ("insufficient_data", ["no_sensor"])


def stay(verdict: str, *reasons: Reason, custody: bool = True, place: str = "8930000000019") -> Stay:
    return Stay(place, "Kho", "Store", "storage", custody, 0, 10, 10, [], verdict, list(reasons))


GAP = Reason("gap", {"channel": "a/b", "count": 1, "longest_s": 300})
CRITICAL = Reason("critical_excursion", {"rule": "warm"})
LOW = Reason("coverage_low", {"measurement": "Temperature"})


@pytest.mark.parametrize(
    ("stays", "expected"),
    [
        ([stay("pass"), stay("pass")], "pass"),
        ([stay("pass"), stay("pass_with_remarks", GAP)], "pass_with_remarks"),
        ([stay("pass_with_remarks", GAP), stay("insufficient_data", LOW)], "insufficient_data"),
        ([stay("insufficient_data", LOW), stay("fail", CRITICAL)], "fail"),
        ([stay("pass"), stay("not_assessed", Reason("no_custody"), custody=False)], "pass"),
        ([stay("not_assessed", Reason("no_custody"), custody=False)], "insufficient_data"),
        ([], "insufficient_data"),
    ],
)
def test_a_lot_is_as_good_as_its_worst_stay(stays: list[Stay], expected: str) -> None:
    assert lot_verdict(stays, known_product=True, gtin="0")[0] == expected


def test_an_unknown_product_cannot_pass() -> None:
    verdict, reasons = lot_verdict([stay("pass")], known_product=False, gtin="08930000000019")
    assert verdict == "insufficient_data"
    assert reasons == [Reason("unknown_product", {"gtin": "08930000000019"})]


def test_reasons_of_a_lot_name_the_place_and_begin_with_what_decides() -> None:
    _, reasons = lot_verdict([stay("pass_with_remarks", GAP), stay("fail", CRITICAL)], known_product=True, gtin="0")
    assert [reason.code for reason in reasons] == ["critical_excursion", "gap"]
    assert all(reason.params["place"] == "8930000000019" for reason in reasons)
