"""The demonstration's scenario: true codes, a registry that fits, and a story that every seed tells."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from firmware_sim.kinds import ModbusRtu, ModbusTcp, Scanner
from firmware_sim.scenario import BUILT_IN, Scenario, find, load
from firmware_sim.world import HOUR_MS, World
from standards.gs1.check_digit import has_valid_check_digit

ORIGIN_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def demo() -> Scenario:
    return load(find("demo"))


@pytest.fixture(scope="module")
def registry() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads((BUILT_IN / "demo.registry.toml").read_text("utf-8"))


def test_every_key_has_its_check_digit_and_the_countrys_prefix(
    demo: Scenario, registry: dict[str, list[dict[str, Any]]]
) -> None:
    codes = [code for scans in demo.scan for code in scans.codes]
    gtins = {code[2:16] for code in codes if code.startswith("01")}
    ssccs = {code[2:] for code in codes if code.startswith("00")}
    glns = {entry["gln"] for table in ("party", "place") for entry in registry[table]}
    assert len(gtins) == 1
    assert len(ssccs) == 2
    assert all(has_valid_check_digit(key) for key in gtins | ssccs | glns)
    assert all(key[:3] == "893" for key in glns)
    assert all(key[1:4] == "893" for key in gtins | ssccs)
    assert gtins == {entry["gtin"] for entry in registry["product"]}


def test_the_registry_knows_every_device_and_nothing_else(
    demo: Scenario, registry: dict[str, list[dict[str, Any]]]
) -> None:
    scanners = {(d.gateway, f"{d.name}/{d.point}") for d in demo.device if isinstance(d, Scanner)}
    assert {(entry["gateway"], entry["channel"]) for entry in registry["read_point"]} == scanners
    probes = [d for d in demo.device if isinstance(d, ModbusRtu | ModbusTcp)]
    series = {(d.gateway, f"{d.name}/{point}"): d.interval_s for d in probes for point in d.points}
    bound = {(entry["gateway"], entry["channel"]): entry["log_interval_s"] for entry in registry["sensor_binding"]}
    assert bound == series
    places = {entry["gln"] for entry in registry["place"]}
    assert places == {entry["place"] for table in ("read_point", "sensor_binding") for entry in registry[table]}


@pytest.mark.parametrize(("seed", "hour"), [(1, 0), (2, 6), (3, 12), (4, 18)])
def test_every_seed_and_hour_of_day_tells_the_same_story(demo: Scenario, seed: int, hour: int) -> None:
    origin_ms = ORIGIN_MS + hour * HOUR_MS
    world = World(demo, seed, origin_ms)

    def minutes(place: str, first_h: float, last_h: float) -> list[float]:
        span = range(int(first_h * 60), int(last_h * 60))
        return [world.air_c(place, origin_ms + minute * 60_000) for minute in span]

    assert 8 < min(minutes("packing-hall", 2, 3)) <= max(minutes("packing-hall", 2, 3)) < 14.5
    stored = minutes("room-1", 3, 30)
    assert _longest_above(stored, -18.0) < 20  # defrosting and doors: no excursion
    assert max(stored) < -15.2
    driven = minutes("truck-body", 30, 46)
    assert 40 < _longest_above(driven, -18.0) < 60  # loading took too long: a remark …
    assert max(driven) < -15.2  # … and no more
    assert _longest_above(minutes("room-2", 7, 48), -15.0) > 40  # the compressor failed: out
    assert max(minutes("room-2", 7, 20)) < -15.2


def _longest_above(temperatures: list[float], limit_c: float) -> int:
    longest = current = 0
    for temperature in temperatures:
        current = current + 1 if temperature > limit_c else 0
        longest = max(longest, current)
    return longest
