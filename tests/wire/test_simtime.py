"""Simulated time: one file, one course of time for all who read it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wire import simtime
from wire.simtime import Segment, SharedSimTime, SimTime, SimTimeError, WallClock

COURSE = SimTime([Segment(100.0, 1_000_000.0, 10.0), Segment(110.0, 1_100_000.0, 1.0)])


@pytest.mark.parametrize(
    ("monotonic_s", "expected_ms"),
    [(100.0, 1_000_000.0), (105.0, 1_050_000.0), (110.0, 1_100_000.0), (111.5, 1_101_500.0), (99.0, 990_000.0)],
)
def test_time_follows_the_segment_in_force(monotonic_s: float, expected_ms: float) -> None:
    assert COURSE.now_ms(monotonic_s) == expected_ms


def test_all_readers_agree_and_see_a_change_of_pace(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    start = time.monotonic()
    simtime.write(path, SimTime([Segment(start, 1e12, 60.0)]))
    one, other = SharedSimTime(path), SharedSimTime(path)
    assert one.boot_id == other.boot_id
    assert len(one.boot_id) == 16
    assert abs(one.now_ms() - other.now_ms()) < 60_000
    simtime.write(path, SimTime([Segment(start, 1e12, 60.0), Segment(start, 2e12, 1.0)]))
    assert one.factor() == other.factor() == 1.0
    assert one.now_ms() >= 2e12
    assert one.boot_id == SharedSimTime(path).boot_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"segments":[]}',
        '{"segments":[{"started_s":"x"}]}',
        '{"segments":[{"started_s":1,"origin_ms":1,"factor":0}]}',
    ],
)
def test_unreadable_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "time.json"
    path.write_text(text)
    with pytest.raises(SimTimeError, match=r"time\.json"):
        SharedSimTime(path)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SimTimeError, match="nowhere"):
        SharedSimTime(tmp_path / "nowhere.json")


def test_a_change_that_comes_too_late_stops_time_and_never_turns_it_back(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    start = time.monotonic()
    fast = Segment(start, 1e12, 1000.0)
    simtime.write(path, SimTime([fast]))
    reader = SharedSimTime(path)
    time.sleep(0.05)
    before = reader.now_ms()
    simtime.write(path, SimTime([fast, Segment(start, 1e12, 100.0)]))
    assert reader.now_ms() == before
    time.sleep(0.02)
    assert reader.now_ms() == before
    assert SharedSimTime(path).now_ms() < before


def test_replacing_leaves_one_file_behind_the_link(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    for factor in (1.0, 2.0, 3.0):
        simtime.write(path, SimTime([Segment(0.0, 0.0, factor)]))
    assert SharedSimTime(path).factor() == 3.0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_gateways_wall_clock_is_wrong_as_the_file_says_and_the_truth_stays(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    start_ms = 1_760_000_000_000
    clocks = {
        "gw-1": [
            WallClock(start_ms, error_ms=-start_ms, synced=False, boot=True),
            WallClock(start_ms + 600_000, error_ms=0, synced=True),
            WallClock(start_ms + 900_000, error_ms=-86_400_000, synced=False),
        ]
    }
    simtime.write(path, SimTime([Segment(time.monotonic(), start_ms, 1.0)], clocks))
    shared = SharedSimTime(path)
    told = [shared.wall_clock("gw-1", start_ms + at_ms) for at_ms in (0, 599_999, 600_000, 900_001)]
    assert [(one.error_ms, one.synced) for one in told] == [
        (-start_ms, False),
        (-start_ms, False),
        (0, True),
        (-86_400_000, False),
    ]
    assert abs(shared.now_ms() - start_ms) < 60_000
    other = shared.wall_clock("gw-2", start_ms + 900_001)
    assert (other.error_ms, other.synced) == (0, True)


def test_a_boot_has_an_id_of_its_own_that_every_process_agrees_on(tmp_path: Path) -> None:
    path = tmp_path / "time.json"
    clocks = {"gw-1": [WallClock(2_000, boot=True), WallClock(3_000, error_ms=5), WallClock(4_000, boot=True)]}
    simtime.write(path, SimTime([Segment(0.0, 1_000.0, 1e-9)], clocks))
    shared = SharedSimTime(path)
    boots = [shared.boot("gw-1", at_ms) for at_ms in (1_500, 2_000, 3_500, 4_000)]
    assert [began for _, began in boots] == [1_000, 2_000, 2_000, 4_000]
    assert len({boot_id for boot_id, _ in boots}) == 3
    assert boots == [SharedSimTime(path).boot("gw-1", at_ms) for at_ms in (1_500, 2_000, 3_500, 4_000)]
    assert boots[0] == shared.boot("gw-2", 9_000)
    assert all(len(boot_id) == 16 for boot_id, _ in boots)
