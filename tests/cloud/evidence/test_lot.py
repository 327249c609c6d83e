"""The evidence of a lot over a real database: from packs and scans to statistics and verdicts."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from sqlalchemy import Engine, select

from cloud.db import tables
from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.events.follower import ScanFollower
from cloud.evidence import versions
from cloud.evidence.clocks import judge_times
from cloud.evidence.lot import known_lots, lot_events, lot_evidence
from cloud.evidence.model import Gap, LotEvidence, SeriesEvidence, TimeShift
from cloud.evidence.source import ReadingsOnce
from cloud.ingest.record import Arrival, record
from cloud.telemetry.query import readings
from tests.cloud.field import BOOT, START_MS, reading, scan
from tests.cloud.journey import CLOSED, DELIVERED, LATER, LOADED, MADE, NOW_MS, STORED, Shape, at, calm, send, travel
from tests.cloud.site import (
    CUSTOMER,
    GTIN,
    HALL,
    REGISTRY,
    ROOM,
    SSCC_2,
    STRANGE_GTIN,
    TRUCK,
    carton,
    pallet,
    register,
)
from wire.observation import ClockState, Quality, Reading, Stamp
from wire.pack import Correction


def evidence_of(engine: Engine, *, now_ms: int = NOW_MS, lot: str = "L1") -> LotEvidence:
    with look(engine) as conn:
        found = lot_evidence(conn, GTIN, lot, now_ms)
    assert found is not None
    return found


def room(evidence: LotEvidence) -> SeriesEvidence:
    [stay] = [one for one in evidence.stays if one.place == ROOM]
    return stay.series[0]


def codes(evidence: LotEvidence) -> list[str]:
    return [reason.code for reason in evidence.reasons]


def test_a_good_journey_passes_and_shows_every_stay(engine: Engine) -> None:
    travel(engine)
    evidence = evidence_of(engine)
    assert [(one.place, one.from_ms, one.to_ms, one.verdict) for one in evidence.stays] == [
        (HALL, at(MADE), at(STORED), "pass"),
        (ROOM, at(STORED), at(LOADED), "pass"),
        (TRUCK, at(LOADED), at(DELIVERED), "pass"),
        (CUSTOMER, at(DELIVERED), None, "not_assessed"),
    ]
    assert (evidence.verdict, evidence.reasons, evidence.simulated) == ("pass", [], False)
    assert (evidence.product_name, evidence.profile, evidence.profile_version) == ("Tôm đông lạnh", "frozen", 1)


def test_numbers_of_a_stay_equal_a_plain_calculation(engine: Engine) -> None:
    travel(engine)
    series = room(evidence_of(engine))
    values = [calm("room-1/air", minute) for minute in range(STORED, LOADED)]
    numbers = [one.value for one in values if one is not None and one.value is not None]
    assert (series.count, series.coverage, series.gaps) == (LOADED - STORED, 1.0, [])
    assert (Decimal(str(series.min)), Decimal(str(series.max))) == (min(numbers), max(numbers))
    mean = sum(map(Fraction, numbers)) / len(numbers)
    assert series.mean == pytest.approx(float(mean), abs=1e-9)


def test_a_warm_hour_fails_the_lot_and_says_where(engine: Engine) -> None:
    def warm(channel: str, minute: int) -> Reading | None:
        hot = channel == "truck/air" and 80 <= minute < 100
        return reading(channel=channel, at_s=60 * minute, mantissa=-1200) if hot else calm(channel, minute)

    travel(engine, warm)
    evidence = evidence_of(engine)
    assert (evidence.verdict, codes(evidence)) == ("fail", ["critical_excursion"])
    assert evidence.reasons[0].params["place"] == TRUCK
    [excursion] = [one for stay in evidence.stays for series in stay.series for one in series.excursions]
    assert (excursion.from_ms, excursion.to_ms, excursion.extreme) == (at(80), at(100), -12.0)


def test_a_short_warm_spell_is_remarked_and_not_hidden(engine: Engine) -> None:
    def opened(channel: str, minute: int) -> Reading | None:
        hot = channel == "room-1/air" and 30 <= minute < 35
        return reading(channel=channel, at_s=60 * minute, mantissa=-1500) if hot else calm(channel, minute)

    travel(engine, opened)
    evidence = evidence_of(engine)
    assert (evidence.verdict, codes(evidence)) == ("pass_with_remarks", ["short_excursion"])


def test_a_silent_probe_is_a_gap_and_a_long_one_is_no_pass(engine: Engine) -> None:
    def silent(channel: str, minute: int) -> Reading | None:
        return None if channel == "room-1/air" and 30 < minute < 36 else calm(channel, minute)

    travel(engine, silent)
    evidence = evidence_of(engine)
    assert room(evidence).gaps == [Gap(at(30), at(36), "unknown")]
    assert (evidence.verdict, codes(evidence)) == ("pass_with_remarks", ["gap"])


def test_missing_readings_can_never_pass(engine: Engine) -> None:
    def half(channel: str, minute: int) -> Reading | None:
        return None if channel == "room-1/air" and 30 < minute < 60 else calm(channel, minute)

    travel(engine, half)
    evidence = evidence_of(engine)
    assert evidence.verdict == "insufficient_data"
    assert codes(evidence) == ["coverage_low", "gap"]


def test_a_broken_probe_is_no_number(engine: Engine) -> None:
    def broken(channel: str, minute: int) -> Reading | None:
        if channel == "room-1/air" and 30 < minute < 36:
            return reading(channel=channel, at_s=60 * minute, mantissa=None, quality=Quality.SENSOR_ERROR)
        return calm(channel, minute)

    travel(engine, broken)
    series = room(evidence_of(engine))
    assert (series.sensor_errors, series.count) == (5, 55)
    assert series.gaps == [Gap(at(30), at(36), "sensor_error")]


def test_readings_made_for_a_test_are_no_evidence(engine: Engine) -> None:
    def tested(channel: str, minute: int) -> Reading | None:
        if channel == "room-1/air":
            return reading(channel=channel, at_s=60 * minute, quality=Quality.TEST)
        return calm(channel, minute)

    travel(engine, tested)
    series = room(evidence_of(engine))
    assert (series.count, series.sensor_errors, series.coverage) == (0, 0, 0.0)


def test_an_unset_clock_is_remarked(engine: Engine) -> None:
    def unset(channel: str, minute: int) -> Reading | None:
        stamp = Stamp(at(minute), 60_000 * minute, BOOT, ClockState.UNSYNCED)
        return Reading(channel, "CEL", -1850, -2, stamp) if channel == "hall/air" else calm(channel, minute)

    travel(engine, unset)
    evidence = evidence_of(engine)
    assert (evidence.verdict, codes(evidence)) == ("pass_with_remarks", ["clock_unsynced"])


DAY_MS = 86_400_000


def room_clock(wrong_ms: int, boot: bytes, clock: ClockState = ClockState.UNSYNCED) -> Shape:
    """The cold room's readings by a clock of its own that is off by `wrong_ms`, in a boot of its own."""

    def shape(channel: str, minute: int) -> Reading | None:
        found = calm(channel, minute)
        if channel != "room-1/air" or found is None:
            return found
        stamp = Stamp(found.stamp.observed_at_ms + wrong_ms, found.stamp.monotonic_ms, boot, clock)
        return msgspec.structs.replace(found, stamp=stamp)

    return shape


@pytest.mark.parametrize("wrong_ms", [-DAY_MS, DAY_MS, -START_MS], ids=["-1 day", "+1 day", "1970"])
def test_a_corrected_clock_gives_the_evidence_that_a_right_one_gives(engine: Engine, wrong_ms: int) -> None:
    boot = b"r" * 16
    store, _ = travel(engine, room_clock(wrong_ms, boot))
    assert evidence_of(engine).verdict == "insufficient_data"
    told = store.pack(2, corrections=[Correction(boot, 0, DAY_MS, -wrong_ms, 20, "ntp")])
    assert record(engine, [Arrival(store.topic, store.seal(told), NOW_MS)]).accepted == 1
    evidence = evidence_of(engine)
    assert (evidence.verdict, evidence.reasons) == ("pass", [])
    series = room(evidence)
    assert series.corrected == [TimeShift(-wrong_ms / 1000, 0.02, "ntp", LOADED - STORED)]
    assert (series.count, series.coverage, series.unsynced) == (LOADED - STORED, 1.0, 0)


def test_readings_from_the_future_stay_out_of_evidence_for_good(engine: Engine) -> None:
    store, _ = travel(engine, room_clock(DAY_MS, b"r" * 16, ClockState.SYNCED))
    waiting = [
        scan(carton("L2"), at_s=60 * 20, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=60 * 21, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=60 * 25, channel="door/scan"),
    ]
    send(engine, store, 2, [*waiting])
    ScanFollower(engine, lambda: NOW_MS).run_once()
    later = evidence_of(engine, now_ms=NOW_MS + 2 * DAY_MS, lot="L2")  # their time has come, and it is still not true
    series = room(later)
    assert (series.count, series.coverage, series.future) == (0, 0.0, LATER)
    assert later.verdict == "insufficient_data"


def test_readings_from_the_future_are_remarked_where_they_claim_to_be(engine: Engine) -> None:
    store, _ = travel(engine)
    ahead = [reading(channel="truck-2/air", at_s=60 * minute) for minute in range(LATER + 10, LATER + 20)]
    send(engine, store, 2, [*ahead])
    with look(engine) as conn:
        source = ReadingsOnce(conn, [(at(0), at(2 * LATER))])
        rows = source.between("gw-kho-01", "truck-2/air", at(0), at(2 * LATER))
        trusted, clocks = judge_times(source, "gw-kho-01", rows, at(0))
    assert (len(rows), trusted, clocks.future) == (10, [], 10)


def test_an_unset_clock_that_cannot_be_true_is_left_out_and_one_that_may_be_is_bounded(engine: Engine) -> None:
    store, _ = travel(engine)
    boot = b"u" * 16
    sealed = Stamp(at(50), 600_000, boot, ClockState.UNSYNCED)
    rows = [
        Reading("room-1/air", "CEL", -1850, -2, Stamp(when, 1000 * order, boot, ClockState.UNSYNCED))
        for order, when in enumerate([at(-5 * 1440), at(40), at(41)])
    ]
    envelope = store.seal(store.pack(2, rows, sealed=sealed))
    assert record(engine, [Arrival(store.topic, envelope, at(45))]).accepted == 1
    with look(engine) as conn:
        source = ReadingsOnce(conn, [(0, NOW_MS)])
        found = source.between("gw-kho-01", "room-1/air", 0, NOW_MS)
        trusted, clocks = judge_times(source, "gw-kho-01", found, 0)
    assert (len(found) - len(trusted), clocks.misplaced, clocks.unsynced) == (2, 2, 1)
    assert (clocks.not_before_ms, clocks.not_after_ms) == (at(1) + 1000, at(35) + 1000)
    assert [row.observed_ms for row in trusted] == sorted(row.observed_ms for row in trusted)


def test_an_event_whose_time_was_corrected_after_its_capture_is_remarked(engine: Engine) -> None:
    store, _ = travel(engine)
    told = store.pack(2, corrections=[Correction(BOOT, 60_000 * CLOSED, 60_000 * CLOSED, -90_000, 20, "ntp")])
    assert record(engine, [Arrival(store.topic, store.seal(told), NOW_MS)]).accepted == 1
    evidence = evidence_of(engine)
    (remark,) = [one for one in evidence.reasons if one.code == "event_time_moved"]
    assert remark.params == {"count": 1, "longest_s": 90}
    assert evidence.verdict == "pass_with_remarks"


def test_times_that_a_correction_only_guesses_are_remarked(engine: Engine) -> None:
    store, _ = travel(engine)
    told = store.pack(2, corrections=[Correction(BOOT, 0, DAY_MS, 0, 7_200_000, "operator")])
    assert record(engine, [Arrival(store.topic, store.seal(told), NOW_MS)]).accepted == 1
    evidence = evidence_of(engine)
    assert (evidence.verdict, sorted(set(codes(evidence)))) == (
        "pass_with_remarks",
        ["clock_uncertain", "event_time_uncertain"],
    )
    (remark,) = [one for one in evidence.reasons if one.code == "event_time_uncertain"]
    assert remark.params["longest_s"] == 7200


def test_other_units_are_converted_and_impossible_ones_counted_as_errors(engine: Engine) -> None:
    def foreign(channel: str, minute: int) -> Reading | None:
        if channel == "room-1/air":
            return reading(channel=channel, at_s=60 * minute, mantissa=-4, exponent=0, unit="FAH")
        if channel == "truck/air":
            return reading(channel=channel, at_s=60 * minute, unit="P1")
        return calm(channel, minute)

    travel(engine, foreign)
    evidence = evidence_of(engine)
    assert (room(evidence).min, room(evidence).max, room(evidence).unit) == (-20.0, -20.0, "CEL")
    [truck] = [stay.series[0] for stay in evidence.stays if stay.place == TRUCK]
    assert (truck.count, truck.sensor_errors) == (0, DELIVERED - LOADED)


def test_a_simulated_gateway_marks_the_lot(engine: Engine) -> None:
    travel(engine, simulated=True)
    evidence = evidence_of(engine)
    assert (evidence.simulated, evidence.verdict) == (True, "pass")


def test_late_readings_complete_the_evidence(engine: Engine) -> None:
    def late(channel: str, minute: int) -> Reading | None:
        return None if channel == "room-1/air" and minute >= 30 else calm(channel, minute)

    store, _ = travel(engine, late)
    assert evidence_of(engine).verdict == "insufficient_data"
    rest = [one for minute in range(30, LATER) if (one := calm("room-1/air", minute)) is not None]
    send(engine, store, 2, [*rest])
    assert evidence_of(engine).verdict == "pass"


def test_a_stay_that_goes_on_ends_where_evidence_ends(engine: Engine) -> None:
    travel(engine)
    evidence = evidence_of(engine, now_ms=at(40))
    last = evidence.stays[-1]
    assert (last.place, last.to_ms, last.until_ms, last.verdict) == (ROOM, None, at(40), "pass")
    assert last.series[0].count == 40 - STORED


def test_silence_at_the_end_of_a_running_stay_is_not_yet_read(engine: Engine) -> None:
    travel(engine, lambda channel, minute: calm(channel, minute) if minute < 60 else None)
    evidence = evidence_of(engine, now_ms=at(66))
    assert room(evidence).gaps == [Gap(at(59), at(66), "no_reading_yet")]


def test_the_future_is_not_known(engine: Engine) -> None:
    travel(engine)
    with look(engine) as conn:
        assert lot_evidence(conn, GTIN, "L1", at(0)) is None


@pytest.mark.parametrize(("gtin", "lot"), [(GTIN, "L9"), (STRANGE_GTIN, "L1"), ("1", "L1"), (GTIN, ""), ("x", "\n")])
def test_a_lot_nobody_spoke_of_is_none(engine: Engine, gtin: str, lot: str) -> None:
    travel(engine)
    with look(engine) as conn:
        assert lot_evidence(conn, gtin, lot, NOW_MS) is None
        assert lot_events(conn, gtin, lot, NOW_MS) == []


def test_a_replaced_probe_hands_over_to_the_next_one(engine: Engine) -> None:
    travel(engine, lambda channel, minute: None if channel == "room-1/air" and minute >= 40 else calm(channel, minute))
    bound = f"""
[[sensor_binding]]
gateway = "gw-xe-01"
channel = "truck/air"
place = "{ROOM}"
measurement = "Temperature"
sensor = "T-spare"
log_interval_s = 60
valid_from = {_toml(40)}
valid_to = {_toml(LOADED)}
"""
    with writing(engine) as conn:
        conn.execute(tables.sensor_binding.delete())
    register(engine, REGISTRY + bound)
    with writing(engine) as conn:  # the first probe ended where the second began
        room_1 = tables.sensor_binding.c.channel == "room-1/air"
        conn.execute(tables.sensor_binding.update().where(room_1).values(valid_to_ms=at(40)))
    [stay] = [one for one in evidence_of(engine).stays if one.place == ROOM]
    assert [(one.sensor, one.count, one.gaps) for one in stay.series] == [("T-room", 30, []), ("T-spare", 30, [])]
    assert (stay.verdict, stay.series[0].coverage) == ("pass", 0.5)


def test_limits_in_force_when_it_was_measured_apply(engine: Engine) -> None:
    stricter = REGISTRY.replace("version = 1", "version = 2").replace("threshold = -15.0", "threshold = -30.0")
    stricter = stricter.replace(
        "high = -18.0\nvalid_from = 2025-01-01T00:00:00Z", f"high = -18.0\nvalid_from = {_toml(100)}"
    )
    travel(engine)
    register(engine, stricter)
    evidence = evidence_of(engine)
    assert (evidence.verdict, codes(evidence)) == ("fail", ["critical_excursion"])
    assert evidence.reasons[0].params["from_ms"] == at(100)


def test_limits_in_another_unit_are_converted(engine: Engine) -> None:
    travel(engine, lambda channel, minute: reading(channel=channel, at_s=60 * minute, mantissa=-1800))
    fahrenheit = REGISTRY.replace("version = 1", "version = 2").replace(
        "threshold = -15.0", 'threshold = -0.4\nunit = "FAH"'
    )
    register(engine, fahrenheit)
    [excursion] = room(evidence_of(engine)).excursions
    assert (excursion.threshold, excursion.extreme, excursion.triggered) == (-18.0, -18.0, True)


def test_a_new_name_is_no_new_evidence(engine: Engine) -> None:
    travel(engine)
    before = evidence_of(engine)
    register(engine, REGISTRY.replace("Tôm đông lạnh", "Tôm sú đông lạnh").replace("Kho lạnh 1", "Kho lạnh A"))
    after = evidence_of(engine)
    assert after != before
    assert versions.still_holds(before, after)


def test_without_limits_or_product_nothing_passes(engine: Engine) -> None:
    travel(engine)
    with writing(engine) as conn:
        conn.execute(tables.profile.update().values(valid_from_ms=NOW_MS * 2))
    assert set(codes(evidence_of(engine))) == {"no_profile"}
    with writing(engine) as conn:
        conn.execute(tables.product.delete())
    assert codes(evidence_of(engine))[0] == "unknown_product"


def test_events_of_a_lot_are_its_own(engine: Engine) -> None:
    store, _ = travel(engine)
    send(engine, store, 2, [scan(carton("L2"), at_s=6000, channel="packing/scan")])
    send(engine, store, 3, [scan(pallet(SSCC_2), at_s=6001, channel="packing/scan")])
    with look(engine) as conn:
        steps = [one.event.biz_step for one in lot_events(conn, GTIN, "L1", NOW_MS)]
        assert known_lots(conn) == [(GTIN, "L1")]
    assert steps == ["commissioning", "packing", "storing", "loading", "receiving"]
    assert CLOSED < STORED


def test_pallets_of_one_lot_are_judged_each_by_its_own_stay(engine: Engine) -> None:
    def warm_late(channel: str, minute: int) -> Reading | None:
        hot = channel == "room-1/air" and 90 <= minute < 110  # the first pallet is in the truck by then
        return reading(channel=channel, at_s=60 * minute, mantissa=-1000) if hot else calm(channel, minute)

    store, _ = travel(engine, warm_late)
    second = [
        scan(carton("L1"), at_s=60 * 20, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=60 * 21, channel="packing/scan"),
        scan(pallet(SSCC_2), at_s=60 * 25, channel="door/scan"),
    ]
    send(engine, store, 2, [*second])
    ScanFollower(engine, lambda: NOW_MS).run_once()
    evidence = evidence_of(engine)
    stays = [one for one in evidence.stays if one.place == ROOM]
    assert [(one.from_ms, one.to_ms, one.verdict, one.series[0].count) for one in stays] == [
        (at(STORED), at(LOADED), "pass", LOADED - STORED),
        (at(25), None, "fail", LATER - 25),
    ]
    assert evidence.verdict == "fail"


def test_shared_readings_equal_those_asked_for_one_by_one(engine: Engine) -> None:
    travel(engine)
    rng = random.Random(20261122)
    spans = sorted((at(start), at(start + rng.randrange(1, 60))) for start in rng.sample(range(90), 20))
    with look(engine) as conn:
        source = ReadingsOnce(conn, spans)
        for start, end in spans:
            begin = start - 120_000
            expected = readings(conn, "gw-kho-01", "room-1/air", begin, end)
            assert source.between("gw-kho-01", "room-1/air", begin, end) == expected


def test_a_frozen_version_is_made_once_for_the_same_content(engine: Engine) -> None:
    store, _ = travel(engine)
    before = evidence_of(engine)
    with writing(engine) as conn:
        assert versions.freeze(conn, before, NOW_MS) == 1
        assert versions.freeze(conn, evidence_of_later(engine, before), NOW_MS + 1) == 1
    send(engine, store, 2, [reading(channel="room-1/air", at_s=60 * 20 + 1, mantissa=-1810)])
    with writing(engine) as conn:
        after = lot_evidence(conn, GTIN, "L1", NOW_MS)
        assert after is not None
        assert not versions.still_holds(before, after)
        assert versions.freeze(conn, after, NOW_MS + 2) == 2
        first = versions.read(conn, GTIN, "L1", 1)
        assert first is not None
        assert first.evidence == before
        assert versions.read(conn, GTIN, "L1", 3) is None
        refs = conn.scalars(select(tables.leaf.c.ref).where(tables.leaf.c.kind == "evidence")).all()
    assert refs == [f"{GTIN}/L1/1", f"{GTIN}/L1/2"]


def evidence_of_later(engine: Engine, before: LotEvidence) -> LotEvidence:
    """Looked at an hour later, a delivered lot is the same to the last number."""
    later = evidence_of(engine, now_ms=NOW_MS + 3_600_000)
    assert later == before
    return later


def test_a_running_stay_holds_while_it_is_judged_alike(engine: Engine) -> None:
    travel(engine)
    frozen, later, moved = (evidence_of(engine, now_ms=at(minute)) for minute in (30, 60, 80))
    assert versions.still_holds(frozen, later)
    assert not versions.still_holds(frozen, moved)


def _toml(minute: int) -> str:
    return datetime.fromtimestamp((START_MS + minute * 60_000) / 1000, UTC).isoformat()
