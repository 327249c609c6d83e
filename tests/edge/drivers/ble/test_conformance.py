"""Recorded adverts (../shared/data/real/ble) against what the makers-independent parsers said of them.

Every difference stands in DIFFERENCES with its reason; a reason that no longer holds fails, too.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from edge.drivers.ble.filter import AdvertFilter

pytestmark = pytest.mark.conformance

STANDARD_GRAVITY = 9.80665
#: Theirs → ours, where names differ: a switch and a number must not share one point.
OUR_NAMES = {
    "carbon_dioxide": "co2",
    "voltage_ruuvi": "battery",
    "switch power": "power_on",
    "switch battery": "battery_low",
    "switch moisture": "moisture_detected",
}
#: (file, test, which of the cases of that test): why we differ, and what we say.
DIFFERENCES: dict[tuple[str, str, int], tuple[str, str]] = {
    ("bthome-ble", "test_downgrade_detected_flag_v1", 1): (
        "a plain advert although a key is known is refused; theirs repeats what the encrypted one before said",
        "not encrypted, although a bindkey",
    ),
    ("sensorpush-ble", "test_ht_w_raw", 0): ("the recording lacks the raw bytes that the case was about", "nothing"),
    ("thermopro-ble", "test_tp357_raw", 0): ("the recording lacks the raw bytes that the case was about", "nothing"),
    ("thermopro-ble", "test_tp960r", 1): (
        "three pieces of data at once, so that none is known to be the newest; theirs repeats earlier values",
        "nothing",
    ),
    ("thermopro-ble", "test_tp357s_invalid_values", 1): (
        "the advert says that it has no temperature and humidity; theirs repeats earlier values",
        "battery",
    ),
    ("thermopro-ble", "test_tp972s_both_probes_23byte", 0): (
        "two pieces of data at once; theirs repeats earlier values",
        "nothing",
    ),
    ("thermopro-ble", "test_tp972s_probe1_13byte_probe2_23byte", 0): (
        "only one probe is in this advert; theirs repeats what the other said earlier",
        "battery_probe_1",
    ),
}


def cases(folder: Path, name: str) -> list[tuple[int, dict[str, Any]]]:
    seen: dict[str, int] = {}
    found = []
    for case in json.loads((folder / "real" / "ble" / f"{name}.json").read_text())["cases"]:
        nth = seen.get(case["test"], 0)
        seen[case["test"]] = nth + 1
        found.append((nth, case))
    return found


def expected(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """Their words in ours; what is derived (iaqs, the sum of accelerations) or no number is left out."""
    found: dict[str, Any] = {}
    for key, value in case["expected"]["values"].items():
        point = key.replace("@", "_")
        if point in ("packet_id", "text", "raw", "iaqs", "acceleration_total") or point.startswith("signal_strength"):
            continue
        if name == "ruuvitag-ble" and point == "voltage":
            point, value = "battery", value / 1000
        if name == "ruuvitag-ble" and point.startswith("acceleration_") and value is not None:
            value = pytest.approx(value / STANDARD_GRAVITY, abs=0.01)
        if name == "ruuvitag-ble" and point == "illuminance":
            value = pytest.approx(value, abs=0.5)  # theirs is rounded to whole lux
        if name == "ruuvitag-ble" and point in ("temperature", "humidity"):
            value = pytest.approx(value, abs=0.0051)  # theirs is rounded to 0.01
        found[OUR_NAMES.get(point, point)] = None if value == "error" else value
    for key, value in case["expected"]["binary"].items():
        found[OUR_NAMES.get(f"switch {key}", key)] = None if value is None else int(value)
    return found


def said(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    unasked = {"rssi", "button", "dimmer"}  # events are numbers of ours; theirs are words
    if name == "ruuvitag-ble":
        unasked |= {"tx_power"}  # which theirs does not tell
    return {one["point"]: one["value"] for one in answer["observations"] if one["point"] not in unasked}


@pytest.mark.parametrize("name", ["bthome-ble", "ruuvitag-ble", "govee-ble", "sensorpush-ble", "thermopro-ble"])
def test_recorded_adverts(shared_data: Path, name: str) -> None:
    family = name.removesuffix("-ble")
    ours = family in ("bthome", "ruuvitag")
    if not ours and importlib.util.find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"the parser {name} is not installed: pip install {name}")
    decode, compared = AdvertFilter().decode, 0
    for nth, case in cases(shared_data, name):
        line = {**case["adv"], "bindkey": case.get("bindkey"), "format": None if ours else family}
        answer = decode(json.dumps(line))
        told = DIFFERENCES.get((name, case["test"], nth))
        if told is not None:
            why, ours_says = told
            assert ours_says in json.dumps(answer), (case["test"], why, answer)
            assert "error" in answer or said(name, answer) != expected(name, case), f"{case['test']}: no longer differs"
            continue
        if not expected(name, case) and "nothing that its parser understands" in answer.get("error", ""):
            continue  # theirs says nothing but the signal strength, too
        assert "error" not in answer, (case["test"], answer)
        assert said(name, answer) == expected(name, case), (case["test"], answer)
        events = {key: word for key, word in case["expected"]["events"].items() if key == "button"}
        assert {key: answer["info"].get(key) for key in events} == events
        compared += 1
    assert compared >= 5
