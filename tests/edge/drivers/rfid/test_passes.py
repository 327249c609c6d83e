"""Reads → passes: the promises of passes.py, each held against a plain account of the same reads."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.drivers.rfid.passes import Collapser, Pass
from edge.drivers.rfid.scan import aged, scan_of
from standards.gs1 import epc
from wire.observation import ClockState, Stamp

BOOT = b"b" * 16
WALL_MS = 1_790_000_000_000
Reads = list[tuple[int, str, int | None, int | None]]  # ms, EPC, antenna, dBm
FIRST_1 = [(1, at) for at in range(0, 900, 30)]
THEN_2 = [(2, at) for at in range(600, 1500, 30)]
FIRST_2 = [(2, at) for _, at in FIRST_1]
THEN_1 = [(1, at) for _, at in THEN_2]


def stamp(at_ms: int) -> Stamp:
    return Stamp(WALL_MS + at_ms, at_ms, BOOT, ClockState.SYNCED)


def collapse(
    reads: Reads,
    *,
    dwell_ms: int,
    longest_ms: int = 10**9,
    **sides: tuple[int, ...],
) -> list[Pass]:
    collapser = Collapser(dwell_ms=dwell_ms, longest_ms=longest_ms, **sides)
    passes = []
    for at_ms, tag, antenna, rssi_dbm in reads:
        passes += collapser.due(at_ms)
        collapser.add(tag, stamp(at_ms), antenna, rssi_dbm)
    return passes + collapser.end_all()


def plain_passes(times_ms: list[int], dwell_ms: int) -> list[list[int]]:
    """The same, without cleverness: cut where the pause is longer than the dwell."""
    groups: list[list[int]] = []
    for at_ms in times_ms:
        if not groups or at_ms - groups[-1][-1] > dwell_ms:
            groups.append([])
        groups[-1].append(at_ms)
    return groups


_READS = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from("ABC"), st.sampled_from([None, 1, 2, 3]), st.none() | st.integers(-90, -20)
    ),
    max_size=60,
).map(lambda steps: [(sum(s[0] for s in steps[: at + 1]), *step[1:]) for at, step in enumerate(steps)])


@given(_READS, st.integers(1, 1000))
def test_every_read_is_in_exactly_one_pass(reads: Reads, dwell_ms: int) -> None:
    passes = collapse(reads, dwell_ms=dwell_ms)
    for tag in "ABC":
        own = [read for read in reads if read[1] == tag]
        found = sorted((one for one in passes if one.epc == tag), key=lambda one: one.first_ms)
        plain = plain_passes([read[0] for read in own], dwell_ms)
        assert [(one.first_ms, one.last.monotonic_ms, one.count) for one in found] == [
            (group[0], group[-1], len(group)) for group in plain
        ]
        for one in found:
            within = [read for read in own if one.first_ms <= read[0] <= one.last.monotonic_ms]
            strengths = [(read[3], read[2]) for read in within if read[3] is not None]
            assert one.rssi_dbm == max((rssi for rssi, _ in strengths), default=None)
            assert not strengths or (one.rssi_dbm, one.antenna) in strengths


@given(_READS, st.integers(1, 500), st.integers(1, 2000))
def test_longest_splits_but_loses_nothing(reads: Reads, dwell_ms: int, longest_ms: int) -> None:
    passes = collapse(reads, dwell_ms=dwell_ms, longest_ms=longest_ms)
    assert Counter(read[1] for read in reads) == sum((Counter({one.epc: one.count}) for one in passes), Counter())
    for one in passes:
        assert 0 <= one.last.monotonic_ms - one.first_ms <= longest_ms
    for tag in "ABC":
        own = sorted((one for one in passes if one.epc == tag), key=lambda one: one.first_ms)
        assert all(one.last.monotonic_ms <= after.first_ms for one, after in pairwise(own))


@given(_READS, st.integers(1, 500))
def test_a_pass_is_told_once_it_is_over(reads: Reads, dwell_ms: int) -> None:
    collapser = Collapser(dwell_ms=dwell_ms, longest_ms=10**9)
    for at_ms, tag, antenna, rssi_dbm in reads:
        collapser.add(tag, stamp(at_ms), antenna, rssi_dbm)
        due_ms = collapser.next_due_ms()
        assert due_ms is not None
    now_ms = reads[-1][0] if reads else 0
    while (due_ms := collapser.next_due_ms()) is not None:
        now_ms = max(now_ms, due_ms)
        assert collapser.due(now_ms)  # never woken for nothing
    assert now_ms <= (reads[-1][0] + dwell_ms + 1 if reads else 0)
    assert collapser.going_on == 0
    assert collapser.due(10**9) == []


def test_memory_is_bounded() -> None:
    collapser = Collapser(dwell_ms=10**6, longest_ms=10**9, tags_max=100)
    told = []
    for number in range(10_000):
        collapser.add(f"{number:024X}", stamp(number), 1, -50)
        assert collapser.going_on <= 100
        told += collapser.due(number)
    told += collapser.end_all()
    assert [one.epc for one in told] == [f"{number:024X}" for number in range(10_000)]
    assert sys.getsizeof(collapser._by_last) < 50_000


def test_time_may_stand_still() -> None:
    reads: Reads = [(5, "A", 1, -50), (5, "A", 1, -50), (3, "A", 2, -40)]
    (one,) = collapse(reads, dwell_ms=1)
    assert (one.first_ms, one.last.monotonic_ms, one.count, one.antenna) == (5, 5, 3, 2)


def test_reads_added_up_by_the_reader_count_as_many() -> None:
    collapser = Collapser(dwell_ms=1, longest_ms=10)
    collapser.add("A", stamp(1), 1, -50, count=7)
    collapser.add("A", stamp(2), 1, -50, count=3)
    assert [one.count for one in collapser.due(100)] == [10]


def test_burst_of_45_s_and_15_s_off_is_one_visit_within_the_dwell() -> None:
    times = [minute * 60_000 + at for minute in range(4) for at in range(0, 45_000, 500)]
    reads: Reads = [(at, "A", 1, -50) for at in times]
    assert len(collapse(reads, dwell_ms=20_000)) == 1
    assert len(collapse(reads, dwell_ms=10_000)) == 4


def walk(*antennas: tuple[int, int]) -> Reads:
    """Reads at (antenna, ms)."""
    return [(at_ms, "A", antenna, -50) for antenna, at_ms in sorted(antennas, key=lambda one: one[1])]


@pytest.mark.parametrize(
    ("reads", "direction"),
    [
        (walk(*FIRST_1, *THEN_2), "in"),
        (walk(*FIRST_2, *THEN_1), "out"),
        (walk((2, 0), *FIRST_1, *THEN_2, (1, 1510)), "in"),  # stray reads at both ends don't turn it
        (walk(*FIRST_1, *((2, at) for at in range(300, 600, 30))), ""),  # comes to the door, and goes back
        (walk(*FIRST_1), ""),
        (walk(*((3, at) for _, at in FIRST_1), (2, 901)), ""),
        (walk((1, 0), (2, 10)), ""),
    ],
)
def test_direction(reads: Reads, direction: str) -> None:
    (one,) = collapse(reads, dwell_ms=1000, outside=(1,), inside=(2,))
    assert one.direction == direction


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 5000)), min_size=1, max_size=40))
def test_backwards_is_the_other_direction(reads: list[tuple[int, int]]) -> None:
    end_ms = max(at for _, at in reads)
    (forth,) = collapse(walk(*reads), dwell_ms=10_000, outside=(1,), inside=(2,))
    (back,) = collapse(walk(*((one, end_ms - at) for one, at in reads)), dwell_ms=10_000, outside=(1,), inside=(2,))
    assert back.direction == {"in": "out", "out": "in", "": ""}[forth.direction]


def test_scan_of_a_pass() -> None:
    one = Pass(epc="AB", first_ms=400, last=stamp(1000), count=3, antenna=2, rssi_dbm=-41, direction="in")
    scan = scan_of("door-1", "pass", one)
    assert (scan.channel, scan.code, scan.symbology, scan.stamp) == ("door-1/in", "AB", "epc", stamp(1000))
    assert (scan.antenna, scan.rssi_dbm, scan.count) == (2, -41, 3)
    assert (scan.first_seen_ms, scan.last_seen_ms) == (WALL_MS + 400, WALL_MS + 1000)


def test_pass_before_any_wall_clock_was_set_has_no_negative_time() -> None:
    last = Stamp(50, 1000, BOOT, ClockState.UNSYNCED)
    assert scan_of("d", "pass", Pass("AB", 400, last, 1, None, None, "")).first_seen_ms == 0


def test_age_stays_within_what_the_gateway_saw() -> None:
    now, before = stamp(1000), stamp(700)
    assert aged(now, before, 200) == stamp(800)
    assert aged(now, before, 10**15) == stamp(700)
    assert aged(now, before, -5) is now
    stepped = Stamp(now.observed_at_ms + 50_000, 1000, BOOT, ClockState.SYNCED)
    assert aged(stepped, before, 200) is stepped
    assert aged(now, Stamp(before.observed_at_ms, 700, BOOT, ClockState.UNSYNCED), 200) is now


# The real logs. The expected numbers were counted by SQL (a window over each tag's reads, a pass at every gap above the
# dwell): another way over the same file.


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("name", "experiment", "reads", "tags", "passes"),
    [  # passes: by dwell in ms
        ("impinj_r420_Test9-9.csv", "", 4018, 6, {1_000: 51, 5_000: 39, 15_000: 17}),
        ("impinj_Fingerprint1-9_head1500.csv", "", 1499, 1, {1_000: 9, 5_000: 4, 15_000: 4}),
        ("detego_dataset_walking_part.csv", "9", 2386, 60, {1_000: 72, 5_000: 60, 15_000: 60}),
        ("detego_dataset_walking_part.csv", "10", 2614, 61, {1_000: 65, 5_000: 61, 15_000: 61}),
    ],
)
def test_passes_of_real_logs(
    shared_data: Path, name: str, experiment: str, reads: int, tags: int, passes: dict[int, int]
) -> None:
    recorded = sorted(_recorded(shared_data / "real" / "rfid" / name, experiment), key=lambda read: read[0])
    assert (len(recorded), len({read[1] for read in recorded})) == (reads, tags)
    for dwell_ms, expected in passes.items():
        found = collapse(recorded, dwell_ms=dwell_ms)
        assert len(found) == expected
        assert sum(one.count for one in found) == reads


def _recorded(path: Path, experiment: str = "") -> Reads:
    """(ms since the first read, EPC or serial, antenna, dBm) of each line, in any of the three export formats."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("experiment_nr", "") == experiment]
    found: Reads = []
    for row in rows:
        if "milliseconds" in row:
            found.append((int(row["milliseconds"]), row["serial"], None, int(row["rssi"])))
        elif "antenna_port" in row:
            at_ms = int(row["first_seen_timestamp"]) // 1000
            found.append((at_ms, row["epc"], int(row["antenna_port"]), int(row["peak_rssi"])))
        else:
            tag = row["epc"].removeprefix("b'").removesuffix("'").upper()
            found.append((round(float(row["timestamp"]) * 1000), tag, int(row["antenna"]), int(row["rssi"])))
    start_ms = min(read[0] for read in found)
    return [(read[0] - start_ms, *read[1:]) for read in found]


@pytest.mark.conformance
def test_epcs_of_real_logs(shared_data: Path) -> None:
    """Six tags of shop goods; epcpy 0.1.8 gives the same URIs."""
    folder = shared_data / "real" / "rfid"
    names = ("impinj_r420_Test9-9.csv", "impinj_Fingerprint1-9_head1500.csv")
    tags = {read[1] for name in names for read in _recorded(folder / name)}
    assert {tag: epc.decode_hex(tag).uri for tag in tags} == {
        "303400EDA43FA256D1431845": "urn:epc:id:sgtin:0015209.065161.98000115781",
        "303402A74C066D56D141A781": "urn:epc:id:sgtin:0043475.006581.98000021377",
        "30340476F45A56161E78C49C": "urn:epc:id:sgtin:0073149.092504.95000511644",
        "30340BD96046EC1320FCAA2A": "urn:epc:id:sgtin:0194136.072624.82157808170",
        "30340BDCA807C90E6F7D0E9D": "urn:epc:id:sgtin:0194346.007972.62000008861",
        "303435FC8803D056D15B963F": "urn:epc:id:sgtin:0884514.003905.98001720895",
    }
