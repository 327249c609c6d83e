"""Simulated time: one file, one course of time for all who read it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from wire import simtime
from wire.simtime import Segment, SharedSimTime, SimTime, SimTimeError

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
