"""Scenario files: what is wrong is refused with file, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.place import offset
from firmware_sim.scenario import MAX_SCENARIO_BYTES, ScenarioError, find, load

GOOD = """
name = "small"
title = "nhỏ"
title_en = "small"
duration = "+1h"
ambient = { mean_c = 28, swing_c = 4 }
[[place]]
name = "room"
start_c = -20
set_c = -20
cooling_c_per_h = 14
leak_per_h = 0.06
[[gateway]]
name = "gw"
[[bus]]
name = "line"
[[device]]
kind = "modbus-rtu"
name = "probe"
gateway = "gw"
bus = "line"
unit_id = 1
profile = "pt100"
interval_s = 60
points = { air = { source = "world", place = "room", measurement = "temperature" } }
[[device]]
kind = "scanner"
name = "scanner"
gateway = "gw"
[[scan]]
at = "+10m"
scanner = "scanner"
codes = ["X"]
[[fault]]
link = "line"
from = "+10m"
until = "+20m"
faults = { hang = true }
"""


def read(folder: Path, text: str) -> object:
    path = folder / "s.toml"
    path.write_text(text)
    return load(path)


def test_a_good_scenario_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("leak_per_h", "leek_per_h", r"leek_per_h.*\$\.place\[0\]|missing required field `leak_per_h`"),
        ("interval_s = 60", "interval_s = 60\ncolour = 1", r"unknown field `colour`.*\$\.device\[0\]"),
        ("hang = true", "bang = true", r"unknown field `bang`.*\$\.fault\[0\]\.faults"),
        ("unit_id = 1", 'unit_id = "1"', r"Expected `int`, got `str`.*\$\.device\[0\]\.unit_id"),
        ("unit_id = 1", "unit_id = 248", r"unit_id"),
        ("interval_s = 60", "interval_s = 0", r"interval_s"),
        ('kind = "scanner"', 'kind = "scaner"', r"scaner.*\$\.device\[1\]"),
        ('"+10m"\nscanner', '"10m"\nscanner', r"no offset such as \+2h.*\$\.scan\[0\]\.at"),
        ('"+10m"\nscanner', "10\nscanner", r"offset.*\$\.scan\[0\]\.at"),
        ('scanner = "scanner"', 'scanner = "scan"', r"\$\.scan\[0\]\.scanner: no scanner 'scan'"),
        ('bus = "line"', 'bus = "lime"', r"\$\.device\[0\] \(probe\): bus: no bus 'lime'"),
        ('gateway = "gw"\nbus', 'gateway = "gv"\nbus', r"no gateway 'gv'"),
        ('profile = "pt100"', 'profile = "pt101"', r"no profile 'pt101', known are .*pt100"),
        ("points = { air", "points = { air2", r"pt100 has exactly air"),
        ('place = "room"', 'place = "moon"', r"points\.air\.place: no place 'moon'"),
        ('link = "line"', 'link = "lane"', r"\$\.fault\[0\]\.link: no link 'lane', known are line, scanner"),
        ('until = "+20m"', 'until = "+5m"', r"\$\.fault\[0\]: ends before it begins"),
        ('name = "scanner"', 'name = "probe"', r"device 'probe' is there twice"),
        ('name = "scanner"', 'name = "Scanner 1"', r"'Scanner 1/scan' is no name of a channel"),
        ('codes = ["X"]', 'codes = ["X\\r\\nY"]', r"\$\.scan\[0\]\.codes: one of them holds the scanner's own suffix"),
        ("[[gateway]]", "[[gateway", r"s\.toml"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(ScenarioError, match=words):
        read(tmp_path, GOOD.replace(old, new))


def test_two_units_of_one_number_on_a_line_are_refused(tmp_path: Path) -> None:
    start, end = GOOD.index("[[device]]"), GOOD.index('[[device]]\nkind = "scanner"')
    twin = GOOD[start:end].replace('"probe"', '"twin"')
    with pytest.raises(ScenarioError, match="1 is there twice on line"):
        read(tmp_path, GOOD + twin)


def test_two_faults_of_one_link_never_overlap(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="two faults of line"):
        read(tmp_path, GOOD + GOOD[GOOD.index("[[fault]]") :])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a" * (MAX_SCENARIO_BYTES + 1), b"", b"[" * 100_000])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=r"s\.toml"):
        load(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.toml"):
        load(Path("nowhere.toml"))
    with pytest.raises(ScenarioError, match=r"no scenario 'nowhere'.*demo"):
        find("nowhere")


@pytest.mark.parametrize(
    ("text", "ms"), [("+2h", 7_200_000), ("+29h55m", 107_700_000), ("+90s", 90_000), ("+1h1m1s", 3_661_000)]
)
def test_offsets(text: str, ms: int) -> None:
    assert offset(text) == ms


@pytest.mark.parametrize("text", ["", "+", "2h", "+2", "-2h", "+2h ", "+1m2h", "+99999h"])
def test_what_is_no_offset(text: str) -> None:
    with pytest.raises(ValueError, match="no offset"):
        offset(text)
