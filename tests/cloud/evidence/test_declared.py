"""What a gateway declares thinned or lost, on the evidence of a lot: shown, counted, and never passed over."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from sqlalchemy import Engine

from cloud.evidence import versions
from cloud.evidence.model import Declared, Gap, LotEvidence, SeriesEvidence
from cloud.ingest.record import Arrival, record
from tests.cloud.evidence.test_lot import codes, evidence_of, room
from tests.cloud.field import BOOT, Gateway, reading
from tests.cloud.journey import LATER, NOW_MS, STORED, Shape, at, calm, travel
from wire.envelope import envelope_hash
from wire.observation import ClockState, Quality, Reading, Stamp
from wire.pack import CarriedFrom, Loss, Pack, build_blocks

CHANNEL = "room-1/air"
THIN_FROM, THIN_TO = 20, 50  # minutes whose readings are thinned or lost
KEPT = (20, 33, 41, 50)
WHY = "disk pressure on the gateway"


def _but(*minutes: int, shape: Shape = calm) -> Shape:
    """The readings of the journey without these minutes of the room."""
    return lambda channel, minute: None if channel == CHANNEL and minute in minutes else shape(channel, minute)


def _original(gateway: Gateway, shape: Shape = calm) -> bytes:
    """The pack 2 that was thinned: the room's readings of these minutes."""
    return gateway.envelope(2, [one for minute in range(THIN_FROM, THIN_TO + 1) if (one := shape(CHANNEL, minute))])


def _thinned(gateway: Gateway, kept: Sequence[Reading], *, left_out: int, original: bytes) -> Pack:
    """The pack 3 that declares pack 2 thinned and carries what was kept of it."""
    digest = envelope_hash(original)
    counts = [(CHANNEL, left_out)]
    loss = Loss(gateway.stream, 2, 2, digest, "thinned", WHY, counts, at(THIN_FROM), at(THIN_TO))
    blocks = [msgspec.structs.replace(block, thinned=True) for block in build_blocks(kept)]
    made = gateway.pack(3, kept, losses=[loss])
    carried = [CarriedFrom(gateway.stream, 2, digest, 0, len(kept))]
    return msgspec.structs.replace(made, blocks=blocks, carried_from=carried)


def _arrive(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    record(engine, [Arrival(gateway.topic, one, NOW_MS) for one in envelopes])


def _without(minutes: Sequence[int]) -> list[Reading]:
    return [one for minute in minutes if (one := calm(CHANNEL, minute))]


def _thin(engine: Engine, *, left_out: int = 27, kept: Sequence[Reading] | None = None) -> Gateway:
    """A journey whose room was thinned in these minutes."""
    store, _ = travel(engine, _but(*range(THIN_FROM, THIN_TO + 1)))
    kept = _without(KEPT) if kept is None else kept
    _arrive(engine, store, store.seal(_thinned(store, kept, left_out=left_out, original=_original(store))))
    return store


@pytest.fixture
def thinned(engine: Engine) -> LotEvidence:
    """The evidence of a lot whose room was thinned."""
    _thin(engine)
    return evidence_of(engine)


def test_thinned_span_is_covered_and_no_gap(thinned: LotEvidence) -> None:
    series = room(thinned)
    assert series.gaps == []
    assert series.coverage == 1.0
    assert series.declared == [Declared("thinned", at(THIN_FROM), at(THIN_TO), 27, WHY)]
    assert series.thinned


def test_thinned_span_is_a_remark_and_never_silently_a_pass(thinned: LotEvidence) -> None:
    assert thinned.verdict == "pass_with_remarks"
    (reason,) = thinned.reasons
    assert (reason.code, reason.params["count"], reason.params["channel"]) == ("thinned", 27, CHANNEL)


def test_no_reading_speaks_for_what_was_left_out(thinned: LotEvidence) -> None:
    series = room(thinned)
    spoken = [minute for minute in range(STORED, 70) if minute not in range(THIN_FROM, THIN_TO + 1) or minute in KEPT]
    values = [float(one.value) for minute in spoken if (one := calm(CHANNEL, minute)) and one.value is not None]
    assert series.mean == pytest.approx(sum(values) / len(values), abs=1e-9), "each kept one weighs one interval"


def test_whole_pack_that_comes_nevertheless_ends_the_matter(engine: Engine) -> None:
    store = _thin(engine)
    _arrive(engine, store, _original(store))
    evidence = evidence_of(engine)
    assert (evidence.verdict, evidence.reasons) == ("pass", [])
    assert room(evidence).count == 60
    assert room(evidence).declared == []


def test_silence_inside_a_thinned_span_stays_a_gap(engine: Engine) -> None:
    """Both sides of a silence are kept; had only 3 readings been left out, they could not fill half an hour."""
    _thin(engine, left_out=3)
    series = room(evidence_of(engine))
    assert [(gap.cause, gap.reason) for gap in series.gaps] == [("thinned", WHY)] * 3
    assert series.coverage < 0.6


def test_silent_device_inside_a_thinned_span_stays_a_gap(engine: Engine) -> None:
    stale = reading(channel=CHANNEL, at_s=60 * 36, mantissa=None, quality=Quality.STALE)
    kept = sorted([*_without(KEPT), stale], key=lambda one: one.stamp.monotonic_ms)
    _thin(engine, kept=kept)
    series = room(evidence_of(engine))
    assert [(gap.from_ms, gap.to_ms, gap.cause) for gap in series.gaps] == [(at(33), at(41), "stale")]


def test_gateway_that_was_off_inside_a_thinned_span_stays_a_gap(engine: Engine) -> None:
    def after(one: Reading) -> Reading:
        stamp = msgspec.structs.replace(one.stamp, boot_id=b"b" * 16)
        return msgspec.structs.replace(one, stamp=stamp)

    first, last = _without(KEPT[:2]), [after(one) for one in _without(KEPT[2:])]
    _thin(engine, kept=[*first, *last])
    series = room(evidence_of(engine))
    assert [(gap.from_ms, gap.to_ms) for gap in series.gaps] == [(at(33), at(41))]


def test_thinned_span_that_crosses_the_edges_of_a_stay_covers_them(engine: Engine) -> None:
    """Kept readings before the arrival and after the departure bound what was left out inside."""
    shape = _but(*range(LATER))
    store, _ = travel(engine, shape)
    kept = _without((1, 40, 100))
    original = store.envelope(2, _without(range(1, 101)))
    _arrive(engine, store, store.seal(_thinned(store, kept, left_out=97, original=original)))
    series = room(evidence_of(engine))
    assert (series.gaps, series.coverage, series.count) == ([], 1.0, 1)


def test_readings_that_cannot_be_from_their_time_cover_nothing_between_them(engine: Engine) -> None:
    """A boot that nobody set, and that began after the stay: what it kept of itself speaks for no time of the stay."""
    store, _ = travel(engine, _but(*range(LATER)))
    boot, unset = b"u" * 16, ClockState.UNSYNCED

    def by_wrong_clock(minute: int) -> Reading:
        stamp = Stamp(at(minute), 60_000 * minute, boot, unset)
        return Reading(CHANNEL, "CEL", -1850, -2, stamp)

    kept = [by_wrong_clock(minute) for minute in (1, 100)]
    original = store.envelope(2, [by_wrong_clock(minute) for minute in range(1, 101)])
    thinned = _thinned(store, kept, left_out=98, original=original)
    thinned = msgspec.structs.replace(thinned, sealed=Stamp(at(101), 60_000 * 101, boot, unset))
    known = store.pack(5, [reading(channel="other/air")], sealed=Stamp(at(300), 60_000 * 300, BOOT, ClockState.SYNCED))
    record(engine, [Arrival(store.topic, store.seal(one), at(500)) for one in (thinned, known)])
    evidence = evidence_of(engine)
    series = room(evidence)
    assert (series.count, series.coverage) == (0, 0.0)
    assert (evidence.verdict, codes(evidence)[0]) == ("insufficient_data", "no_readings")


def test_stay_between_two_kept_readings_is_covered_and_has_none_of_its_own(engine: Engine) -> None:
    store, _ = travel(engine, _but(*range(LATER)))
    kept = _without((1, 100))
    original = store.envelope(2, _without(range(1, 101)))
    _arrive(engine, store, store.seal(_thinned(store, kept, left_out=98, original=original)))
    evidence = evidence_of(engine)
    assert (room(evidence).count, room(evidence).coverage) == (0, 1.0)
    assert (evidence.verdict, codes(evidence)[0]) == ("insufficient_data", "no_readings")


def _lose(engine: Engine, counts: list[tuple[str, int]]) -> Gateway:
    store, _ = travel(engine, _but(*range(THIN_FROM, THIN_TO + 1)))
    digest = envelope_hash(_original(store))
    loss = Loss(store.stream, 2, 2, digest, "lost", "memory card failed", counts, at(THIN_FROM), at(THIN_TO))
    _arrive(engine, store, store.seal(store.pack(3, [reading(channel="other/air")], losses=[loss])))
    return store


def test_lost_span_is_a_gap_with_its_cause(engine: Engine) -> None:
    _lose(engine, [(CHANNEL, 31)])
    evidence = evidence_of(engine)
    series = room(evidence)
    assert series.gaps == [Gap(at(19), at(51), "lost", "memory card failed")]
    assert series.declared == [Declared("lost", at(THIN_FROM), at(THIN_TO), 31, "memory card failed")]
    assert series.coverage == pytest.approx(29 / 60)
    assert codes(evidence) == ["coverage_low", "gap", "lost"]
    assert evidence.verdict == "insufficient_data"


def test_loss_nobody_could_count_concerns_every_channel(engine: Engine) -> None:
    _lose(engine, [])
    evidence = evidence_of(engine)
    assert [gap.cause for gap in room(evidence).gaps] == ["lost"]
    assert codes(evidence) == ["coverage_low", "gap", "lost_uncounted"]


def test_loss_of_another_channel_says_nothing_here(engine: Engine) -> None:
    _lose(engine, [("other/air", 9)])
    series = room(evidence_of(engine))
    assert [gap.cause for gap in series.gaps] == ["unknown"]
    assert series.declared == []


def test_gateway_that_was_off_is_the_cause_of_a_gap(engine: Engine) -> None:
    def rebooted(channel: str, minute: int) -> Reading | None:
        found = calm(channel, minute)
        if found is None or minute < THIN_TO:
            return found
        stamp = msgspec.structs.replace(found.stamp, boot_id=b"b" * 16)
        return msgspec.structs.replace(found, stamp=stamp)

    travel(engine, _but(*range(THIN_FROM, THIN_TO), shape=rebooted))
    assert [gap.cause for gap in room(evidence_of(engine)).gaps] == ["not_running"]


def test_new_cause_of_an_old_gap_changes_no_decision(thinned: LotEvidence) -> None:
    def told(cause: str, gap_to: int) -> LotEvidence:
        def one(series: SeriesEvidence) -> SeriesEvidence:
            return msgspec.structs.replace(series, gaps=[Gap(at(1), at(gap_to), cause)])

        stays = [
            msgspec.structs.replace(stay, series=[one(series) for series in stay.series]) for stay in thinned.stays
        ]
        return msgspec.structs.replace(thinned, stays=stays)

    assert versions.still_holds(told("unknown", 9), told("not_running", 9))
    assert not versions.still_holds(told("unknown", 9), told("unknown", 8))
