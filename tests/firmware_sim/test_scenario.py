"""Scenario files: what is wrong is refused with file, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_sim.devices.modbus import answer
from firmware_sim.machinery import running
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


CONTROLLER = """
[[device]]
kind = "modbus-rtu"
name = "freezer"
gateway = "gw"
bus = "line"
unit_id = 2
profile = "carel-ir33"
interval_s = 60
[device.points]
probe-1 = { source = "world", place = "room", measurement = "temperature" }
probe-2 = { source = "constant", value = -25.5 }
set-point = { source = "constant", value = -20 }
defrost = { source = "state", place = "room", state = "defrost" }
door = { source = "state", place = "room", state = "door" }
door-alarm = { source = "constant", value = 0 }
probe-1-fault = { source = "constant", value = 0 }
probe-2-fault = { source = "constant", value = 0 }
compressor = { source = "constant", value = 1 }
high-alarm = { source = "constant", value = 0 }
low-alarm = { source = "constant", value = 0 }
[[device.ailment]]
kind = "drift"
amount = 2.0
from = "+10m"
until = "+20m"
"""


def test_a_controller_with_flags_and_ailments_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + CONTROLLER)
    with pytest.raises(ScenarioError, match=r"points\.door\.place: no place 'moon'"):
        read(tmp_path, GOOD + CONTROLLER.replace('place = "room", state = "door"', 'place = "moon", state = "door"'))
    with pytest.raises(ScenarioError, match="ailment"):
        read(tmp_path, GOOD + CONTROLLER.replace('"drift"', '"hiccup"'))


def test_two_devices_with_one_unit_id_are_refused_unless_that_is_meant(tmp_path: Path) -> None:
    same = GOOD + CONTROLLER.replace("unit_id = 2", "unit_id = 1")
    with pytest.raises(ScenarioError, match="unit_id: 1 is there twice on line"):
        read(tmp_path, same)
    assert read(tmp_path, same.replace('profile = "carel-ir33"', 'profile = "carel-ir33"\ntwin = true'))


async def test_flags_follow_the_place_and_ailments_their_time(tmp_path: Path) -> None:
    defrost = '[place.defrost]\nevery_h = 8\nminutes = 30\nheat_c_per_h = 6.0\nfirst = "+5m"\n[[gateway]]'
    door = '[place.door]\nexchange_per_h = 1.0\nopenings = [{ from = "+1m", until = "+2m" }]\n'
    path = tmp_path / "s.toml"
    path.write_text((GOOD + CONTROLLER).replace("[[gateway]]", door + defrost, 1))
    origin_ms, minute_ms = 1_700_000_000_000, 60_000
    scenario, now = load(path), [origin_ms]
    async with running(scenario, tmp_path, files=tmp_path, now_ms=lambda: now[0], origin_ms=origin_ms, seed=1) as built:
        (unit,) = built.buses["line"]._units[2]

        def said(function: int, address: int, minutes: float) -> int:
            pdu = bytes([function]) + address.to_bytes(2) + (1).to_bytes(2)
            return int.from_bytes(answer(unit, pdu, origin_ms + int(minutes * minute_ms)).pdu[2:], signed=True)

        assert [said(2, 43, minutes) for minutes in (0.5, 1.5, 2.5)] == [0, 1, 0]
        assert [said(2, 18, minutes) for minutes in (4, 6, 36)] == [0, 1, 0]
        assert [said(4, 412, minutes) for minutes in (9, 19, 21)] == [-255, -252, -255]  # 9 minutes × 2 °C an hour
