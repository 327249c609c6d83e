"""Corrections reach what was stored before them and what comes after, whatever the order; believed times stay."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from random import Random
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from cloud.db.engine import open_engine, sqlite_url, writing
from cloud.db.engine import reading as look
from cloud.db.tables import scan as scan_table
from cloud.db.tables import tail
from cloud.ingest import finding
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.telemetry import corrections, query
from cloud.telemetry.bounds import EARLIEST_MS, Bounds, bounds
from cloud.telemetry.query import ReadingRow
from tests.cloud.field import BOOT, START_MS, Gateway, reading, scan
from wire.observation import ClockState, Observation, Stamp
from wire.pack import ENTRIES_MAX, Correction, Pack, StreamHead

AIR = "room-1/air"
EVER = 2**62
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
UNSYNCED = ClockState.UNSYNCED


def store(engine: Engine, gateway: Gateway, *packs: Pack, received_ms: int = START_MS + DAY_MS) -> None:
    arrivals = [Arrival(gateway.topic, gateway.seal(pack), received_ms) for pack in packs]
    assert record(engine, arrivals).accepted == len(packs)


def rows(engine: Engine, gateway: Gateway, from_ms: int = 0, to_ms: int = EVER) -> list[ReadingRow]:
    with look(engine) as conn:
        return query.readings(conn, gateway.name, AIR, from_ms, to_ms)


def correction(offset_ms: int, from_ms: int = 0, to_ms: int = DAY_MS, boot: bytes = BOOT) -> Correction:
    return Correction(boot, from_ms, to_ms, offset_ms, 20, "ntp")


def minutes(first: int, count: int, wrong_ms: int = 0) -> list[Observation]:
    return [
        reading(at_s=60 * at, mantissa=at, wrong_ms=wrong_ms, clock=UNSYNCED if wrong_ms else ClockState.SYNCED)
        for at in range(first, first + count)
    ]


@pytest.mark.parametrize("wrong_ms", [-DAY_MS, DAY_MS, -START_MS], ids=["-1 day", "+1 day", "1970"])
@pytest.mark.parametrize("correction_first", [False, True])
def test_corrected_times_are_right_also_for_packs_already_here(
    engine: Engine, gateway: Gateway, wrong_ms: int, correction_first: bool
):
    wrong = gateway.pack(1, minutes(0, 10, wrong_ms))
    told = gateway.pack(2, minutes(10, 5), corrections=[correction(-wrong_ms, to_ms=599_999)])
    for pack in (told, wrong) if correction_first else (wrong, told):
        store(engine, gateway, pack)
    found = rows(engine, gateway, START_MS, START_MS + HOUR_MS)
    assert [row.observed_ms for row in found] == [START_MS + 60_000 * at for at in range(15)]
    assert [row.mantissa for row in found] == list(range(15))
    assert [row.believed_ms - row.observed_ms for row in found] == [wrong_ms] * 10 + [0] * 5
    assert [row.correction is not None for row in found] == [True] * 10 + [False] * 5
    assert not any(row.time_unset or row.from_future for row in found)
    assert rows(engine, gateway, 0, START_MS) == rows(engine, gateway, START_MS + HOUR_MS) == []
    with look(engine) as conn:
        (span,) = query.list_series(conn)
    assert (span.first_ms, span.last_ms) == (START_MS, START_MS + 14 * 60_000)


def test_a_block_that_the_edge_of_a_correction_cuts_is_corrected_up_to_the_edge(engine: Engine, gateway: Gateway):
    store(engine, gateway, gateway.pack(1, minutes(0, 10)))
    store(engine, gateway, gateway.pack(2, corrections=[correction(HOUR_MS, 120_000, 300_000)]))
    found = rows(engine, gateway)
    moved = [row.mantissa for row in found if row.correction is not None]
    assert moved == [2, 3, 4, 5]
    assert [row.mantissa for row in rows(engine, gateway, START_MS + HOUR_MS, EVER)] == [2, 3, 4, 5]


def test_of_several_corrections_the_last_one_told_counts_and_they_do_not_add_up(engine: Engine, gateway: Gateway):
    store(engine, gateway, gateway.pack(1, minutes(0, 3, DAY_MS)))
    store(engine, gateway, gateway.pack(3, corrections=[correction(7), correction(-DAY_MS)]))
    store(engine, gateway, gateway.pack(2, corrections=[correction(HOUR_MS)]))
    assert [row.observed_ms for row in rows(engine, gateway)] == [START_MS + 60_000 * at for at in range(3)]


@pytest.mark.parametrize("link_first", [False, True])
def test_a_successor_stream_counts_above_its_predecessor(engine: Engine, gateway: Gateway, link_first: bool):
    store(engine, gateway, gateway.pack(1, minutes(0, 3, DAY_MS)))
    store(engine, gateway, gateway.pack(9, corrections=[correction(HOUR_MS)]))
    for stream in (bytes(15) + b"\x01", b"\xff" * 16):  # below and above the old one, whatever that is
        head = StreamHead(gateway.stream, 9, bytes(32))
        gateway.stream = stream
        packs = [gateway.pack(1, minutes(50, 1), predecessor=head)]
        packs.append(gateway.pack(2, corrections=[correction(-DAY_MS + stream[0], to_ms=500_000)]))
        for pack in packs if link_first else reversed(packs):
            store(engine, gateway, pack)
        assert [row.observed_ms - stream[0] for row in rows(engine, gateway) if row.mantissa in {0, 1, 2}] == [
            START_MS + 60_000 * at for at in range(3)
        ]


def test_gateways_that_share_a_boot_id_do_not_share_corrections(engine: Engine, gateway: Gateway):
    other = Gateway("gw-kho-02")
    with writing(engine) as conn:
        add_gateway(conn, other.public_half, START_MS)
    store(engine, gateway, gateway.pack(1, minutes(0, 3)))
    store(engine, other, other.pack(1, minutes(0, 3), corrections=[correction(HOUR_MS)]))
    first, moved = (START_MS, START_MS + HOUR_MS), (START_MS + HOUR_MS, START_MS + 2 * HOUR_MS)
    assert [row.observed_ms for row in rows(engine, gateway, *first)] == [START_MS + 60_000 * at for at in range(3)]
    assert [row.observed_ms for row in rows(engine, other, *moved)] == [moved[0] + 60_000 * at for at in range(3)]
    assert rows(engine, gateway, *moved) == rows(engine, other, *first) == []


def test_scans_keep_both_times(engine: Engine, gateway: Gateway):
    store(engine, gateway, gateway.pack(1, [scan("CODE", at_s=60, wrong_ms=-DAY_MS, clock=UNSYNCED)]))
    store(engine, gateway, gateway.pack(2, corrections=[correction(DAY_MS)]))
    with look(engine) as conn:
        (row,) = conn.execute(select(scan_table)).all()
    assert (row.observed_ms, row.believed_ms) == (START_MS + 60_000, START_MS + 60_000 - DAY_MS)
    assert (row.boot_id, row.monotonic_ms, row.clock) == (BOOT, 60_000, UNSYNCED)


corrections_ = st.lists(
    st.builds(
        lambda begin, length, offset_ms: correction(offset_ms, begin * 60_000, (begin + length) * 60_000),
        st.integers(0, 12),
        st.integers(0, 8),
        st.sampled_from([-DAY_MS, DAY_MS, HOUR_MS, -90_000, 0]),
    ),
    max_size=3,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(corrections_, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_projection_does_not_depend_on_the_order_of_arrival(
    tmp_path: Path, migrated_file: Path, told: list[list[Correction]], random: Random
):
    gateway = Gateway("gw-kho-01")
    packs = [
        gateway.pack(seq, minutes(3 * (seq - 1), 3, DAY_MS if seq % 2 else 0), corrections=some)
        for seq, some in enumerate(told, start=1)
    ]
    packs[0] = gateway.pack(1, [*minutes(0, 3), scan("A", at_s=200)], corrections=told[0])
    shuffled = list(packs)
    random.shuffle(shuffled)
    seen = []
    for name, order in (("one", packs), ("other", shuffled)):
        engine = open_engine(sqlite_url(Path(shutil.copy(migrated_file, tmp_path / f"{name}.db"))))
        with writing(engine) as conn:
            add_gateway(conn, gateway.public_half, START_MS)
        for pack in order:
            store(engine, gateway, pack)
        with look(engine) as conn:
            spans = conn.execute(select(tail.c.from_ms, tail.c.to_ms, tail.c.future).order_by(tail.c.body)).all()
            scans = conn.execute(select(scan_table.c.observed_ms)).all()
        found = [(row.seq, row.ordinal, row.observed_ms, row.correction) for row in rows(engine, gateway)]
        seen.append((spans, scans, found))
        engine.dispose()
        _check_against_the_rule(found, packs)
        by_seq = {(row[0], row[1]): row for row in found}
        assert len(by_seq) == 3 * len(packs)
    assert seen[0] == seen[1]


def _check_against_the_rule(found: list[tuple[int, int, int, object]], packs: list[Pack]) -> None:
    """wire.md §4.3, said in the plainest way."""
    for seq, ordinal, observed_ms, _ in found:
        (block,) = packs[seq - 1].blocks
        monotonic_ms = block.base_monotonic_ms + sum(block.dt_ms[: ordinal + 1])
        believed_ms = block.base_wall_ms + sum((block.wall_dt_ms or block.dt_ms)[: ordinal + 1])
        offset_ms = 0
        for one in (one for pack in packs for one in pack.corrections):  # the last one that covers it counts
            if one.from_monotonic_ms <= monotonic_ms <= one.to_monotonic_ms:
                offset_ms = one.offset_ms
        assert observed_ms == believed_ms + offset_ms


@given(st.lists(st.tuples(st.integers(1, 600), st.integers(-5000, 5000)), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_within_a_boot_order_is_monotonic_whatever_the_wall_clock_did(
    tmp_path: Path, migrated_file: Path, steps: list[tuple[int, int]]
):
    gateway = Gateway("gw-kho-01")
    engine = open_engine(sqlite_url(Path(shutil.copy(migrated_file, tmp_path / "order.db"))))
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    at_s, wrong_s, observed = 0, 0, []
    for number, (passes_s, step_s) in enumerate(steps):
        at_s, wrong_s = at_s + passes_s, wrong_s + step_s
        observed.append(reading(at_s=at_s, mantissa=number, wrong_ms=1000 * wrong_s, clock=UNSYNCED))
    store(engine, gateway, gateway.pack(1, observed))
    found = rows(engine, gateway)
    assert [row.mantissa for row in found] == list(range(len(steps)))
    assert all(one.monotonic_ms < other.monotonic_ms for one, other in pairwise(found))
    engine.dispose()


def test_the_future_is_judged_by_the_receipt_and_after_correction(engine: Engine, gateway: Gateway):
    ahead = gateway.pack(1, minutes(0, 2, DAY_MS))
    store(engine, gateway, ahead, received_ms=START_MS + 120_000)
    assert all(row.from_future for row in rows(engine, gateway))
    with look(engine) as conn:
        assert [span.channel for span in query.future_series(conn)] == [AIR]
    store(engine, gateway, gateway.pack(2, corrections=[correction(-DAY_MS)]), received_ms=START_MS + 180_000)
    assert not any(row.from_future or row.late for row in rows(engine, gateway))
    with look(engine) as conn:
        assert query.future_series(conn) == []


@pytest.mark.parametrize("order", ["123456", "654321", "416253", "352614"])
def test_of_too_many_corrections_of_a_boot_the_last_ones_count_whatever_the_order(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, order: str
):
    """Rows that lose their correction stand where they were believed again, and their packs are found."""
    monkeypatch.setattr(corrections, "CORRECTIONS_MAX", 3)
    several = [correction(1000 * at, 60_000 * at, 60_000 * at + 999) for at in range(6)]
    observed = [[*minutes(at, 1), scan("A", at_s=60 * at)] for at in range(6)]
    told = [[one] for one in several]
    told[0].append(correction(7, 0, 999))
    for seq in map(int, order):
        store(engine, gateway, gateway.pack(seq, observed[seq - 1], corrections=told[seq - 1]))
    expected = [0, 0, 0, 3000, 4000, 5000]
    assert [row.observed_ms - row.believed_ms for row in rows(engine, gateway)] == expected
    with look(engine) as conn:
        t, c = tail.c, scan_table.c
        assert list(conn.scalars(select(t.from_ms - t.believed_from_ms).order_by(t.from_monotonic_ms))) == expected
        assert list(conn.scalars(select(c.observed_ms - c.believed_ms).order_by(c.monotonic_ms))) == expected
        doubts = finding.newest(conn, 100)
    exceeding = {one.finding.seq for one in doubts if one.finding.kind == finding.CORRECTIONS_EXCEED}
    assert exceeding == {1, 2, 3}


def test_what_a_boot_was_told_before_costs_later_packs_little(engine: Engine, gateway: Gateway):
    """Ingest does this while nobody else can write."""
    boot_blocks = [reading(at_s=at / 10, mantissa=at) for at in range(5000)]  # one block, cut by every edge
    store(engine, gateway, gateway.pack(1, boot_blocks))
    count = 1 + corrections.CORRECTIONS_MAX // ENTRIES_MAX
    for seq in range(2, 2 + count):
        several = [correction(seq, 60 * at, 60 * at + 29) for at in range(ENTRIES_MAX * seq, ENTRIES_MAX * (seq + 1))]
        store(engine, gateway, gateway.pack(seq, corrections=several))
    began_s = process_time()
    for seq in range(2 + count, 5 + count):
        store(engine, gateway, gateway.pack(seq, minutes(seq, 1), corrections=[correction(seq, seq, seq)]))
    assert process_time() - began_s < 9  # a third of a second each; it was quadratic


def test_what_comes_long_after_it_was_observed_is_late(engine: Engine, gateway: Gateway):
    store(engine, gateway, gateway.pack(1, minutes(0, 1)), received_ms=START_MS + HOUR_MS)
    (row,) = rows(engine, gateway)
    assert (row.late, row.received_ms) == (True, START_MS + HOUR_MS)


@pytest.mark.parametrize("received_ms", [START_MS, START_MS + 3 * DAY_MS], ids=["at once", "days later"])
def test_a_wrong_sync_that_was_corrected_is_no_floor_of_a_later_boot(
    engine: Engine, gateway: Gateway, received_ms: int
):
    first, second = b"1" * 16, b"2" * 16
    wrong = Stamp(START_MS + DAY_MS, 600_000, first, ClockState.SYNCED)
    unset = Stamp(START_MS + HOUR_MS, 60_000, second, UNSYNCED)
    row = reading(at_s=3600, monotonic_ms=30_000, boot=second, clock=UNSYNCED)
    store(engine, gateway, gateway.pack(1, minutes(0, 1), sealed=wrong), received_ms=received_ms)
    store(engine, gateway, gateway.pack(2, [row], sealed=unset), received_ms=received_ms + 2 * HOUR_MS)
    told = [correction(-DAY_MS, boot=first)]
    store(engine, gateway, gateway.pack(3, corrections=told, sealed=unset), received_ms=received_ms + 2 * HOUR_MS)
    with look(engine) as conn:
        known = bounds(conn, gateway.name, second)
    assert known.floor_ms == START_MS
    assert known.allow(START_MS + HOUR_MS, 30_000)


def test_a_sync_from_after_its_receipt_is_no_floor(engine: Engine, gateway: Gateway):
    first, second = b"1" * 16, b"2" * 16
    wrong = Stamp(START_MS + DAY_MS, 600_000, first, ClockState.SYNCED)
    unset = Stamp(START_MS + HOUR_MS, 60_000, second, UNSYNCED)
    store(engine, gateway, gateway.pack(1, minutes(0, 1), sealed=wrong), received_ms=START_MS)
    store(engine, gateway, gateway.pack(2, minutes(9, 1), sealed=unset), received_ms=START_MS + HOUR_MS)
    with look(engine) as conn:
        assert bounds(conn, gateway.name, second).floor_ms is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_sync_of_a_boot_counts_in_any_order_of_arrival(
    engine: Engine, gateway: Gateway, order: tuple[int, int]
):
    first, second = b"1" * 16, b"2" * 16
    synced = [
        Stamp(START_MS + DAY_MS, 600_000, first, ClockState.SYNCED),
        Stamp(START_MS + 60_000, 660_000, first, ClockState.SYNCED),
    ]
    packs = [gateway.pack(seq, minutes(seq, 1), sealed=sealed) for seq, sealed in enumerate(synced, start=1)]
    unset = Stamp(START_MS + HOUR_MS, 60_000, second, UNSYNCED)
    for pack in (*(packs[at] for at in order), gateway.pack(3, minutes(9, 1), sealed=unset)):
        store(engine, gateway, pack, received_ms=START_MS + 3 * DAY_MS)
    with look(engine) as conn:
        assert bounds(conn, gateway.name, second).floor_ms == START_MS + 60_000


def test_a_boot_that_never_synced_has_bounds(engine: Engine, gateway: Gateway):
    first, second = b"1" * 16, b"2" * 16
    synced = Stamp(START_MS, 5_000_000, first, ClockState.SYNCED)
    lost = [Stamp(0, at, second, UNSYNCED) for at in (60_000, 600_000)]
    packs = [
        gateway.pack(1, minutes(0, 1), sealed=synced),
        gateway.pack(2, [reading(at_s=30, boot=second, wrong_ms=-START_MS, clock=UNSYNCED)], sealed=lost[0]),
        gateway.pack(3, [reading(at_s=500, boot=second, wrong_ms=-START_MS, clock=UNSYNCED)], sealed=lost[1]),
    ]
    began_ms = START_MS + HOUR_MS
    for pack, received_ms in zip(packs, (START_MS, began_ms + DAY_MS, began_ms + 601_000), strict=True):
        store(engine, gateway, pack, received_ms=received_ms)
    with look(engine) as conn:
        known = bounds(conn, gateway.name, second)
        assert bounds(conn, gateway.name, b"3" * 16) == Bounds()
        assert bounds(conn, gateway.name, first) == Bounds(None, START_MS - 5_000_000)
    assert known == Bounds(START_MS, began_ms + 1000)
    assert known.around(30_000) == (START_MS + 30_000, began_ms + 31_000)
    assert known.allow(began_ms, 30_000)
    assert not known.allow(30_000, 30_000)
    assert not known.allow(began_ms + DAY_MS, 30_000)
    assert not Bounds().allow(EARLIEST_MS - 1, 0)
