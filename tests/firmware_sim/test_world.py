"""The simulated physics: the same however it is asked, and within what cold rooms do."""

from __future__ import annotations

import random

import pytest

from firmware_sim.kinds import Gateway
from firmware_sim.place import Ambient, Defrost, Door, Offset, Place, Spell
from firmware_sim.scenario import Scenario
from firmware_sim.world import HOUR_MS, STEP_MS, World

ORIGIN_MS = 1_795_000_000_000
MINUTE_MS = 60_000


def hours(count: float) -> Offset:
    return Offset(int(count * HOUR_MS))


def room(name: str = "room", **fields: object) -> Place:
    usual: dict[str, object] = {"start_c": -20.0, "set_c": -20.0, "cooling_c_per_h": 14.0, "leak_per_h": 0.06}
    return Place(name, **{**usual, **fields})  # type: ignore[arg-type]


def scenario(*places: Place) -> Scenario:
    return Scenario("t", "t", "t", hours(24), Ambient(28.0, 5.0, 1.0), list(places), [Gateway("gw")], [])


def world(*places: Place, seed: int = 1) -> World:
    return World(scenario(*places), seed, ORIGIN_MS)


def trace(one: World, place: str, first_h: float, last_h: float) -> list[float]:
    span = range(int(first_h * HOUR_MS), int(last_h * HOUR_MS), MINUTE_MS)
    return [one.air_c(place, ORIGIN_MS + after_ms) for after_ms in span]


def full_room() -> Place:
    door = Door(1.5, random_per_day=30)
    return room(defrost=Defrost(8, 18, 6.0, hours(2)), door=door)


def test_the_temperature_does_not_depend_on_when_or_how_often_it_is_asked() -> None:
    rng = random.Random(3)
    instants = [ORIGIN_MS + rng.randrange(12 * HOUR_MS) for _ in range(300)]
    straight, wild = world(full_room()), world(full_room())
    expected = {at_ms: straight.air_c("room", at_ms) for at_ms in sorted(instants)}
    assert {at_ms: wild.air_c("room", at_ms) for at_ms in instants} == expected
    assert [wild.humidity_percent("room", at_ms) for at_ms in instants] == [
        straight.humidity_percent("room", at_ms) for at_ms in instants
    ]


def test_another_seed_is_another_world() -> None:
    assert trace(world(full_room(), seed=1), "room", 0, 10) != trace(world(full_room(), seed=2), "room", 0, 10)


def test_the_thermostat_holds_the_room_within_its_band() -> None:
    temperatures = trace(world(room()), "room", 1, 24)
    assert -21.2 < min(temperatures) < -20.5
    assert -19.5 < max(temperatures) < -18.8


def test_defrosting_warms_for_its_time_and_no_longer() -> None:
    one = world(room(defrost=Defrost(8, 20, 8.0, hours(4))))
    assert max(trace(one, "room", 4, 5)) > max(trace(one, "room", 1, 4)) + 1
    assert max(trace(one, "room", 6, 12)) < -18.8
    assert max(trace(one, "room", 12, 13)) > -18.5  # every eight hours


def test_an_open_door_lets_in_the_air_of_the_place_behind_it() -> None:
    opening = [Spell(hours(2), hours(2.5))]
    cold = room("cold", door=Door(2.0, outside="hall", openings=opening))
    hot = room("hot", door=Door(2.0, openings=opening))
    one = world(room("hall", start_c=10.0, set_c=10.0), cold, hot)
    assert max(trace(one, "cold", 0.5, 2)) < -18.8
    assert -18.5 < max(trace(one, "cold", 2, 2.6)) < max(trace(one, "hot", 2, 2.6)) - 1


def test_a_failed_unit_lets_the_room_warm_towards_the_air_outside_and_its_goods_hold_it_back() -> None:
    failure = [Spell(hours(2), hours(6))]
    one = world(room("full", failures=failure), room("empty", failures=failure, air_to_mass_per_h=0.2))
    full, empty = trace(one, "full", 2, 6), trace(one, "empty", 2, 6)
    assert full[-1] > -19
    assert empty[-1] > full[-1] + 3
    assert max(full + empty) < one.air_c("ambient", ORIGIN_MS)


def test_a_truck_is_warm_until_its_unit_runs_and_then_pulls_down() -> None:
    truck = room("truck", start_c=28.0, cooling_c_per_h=24.0, leak_per_h=0.1, mass_to_air_per_h=0.5)
    one = world(
        Place(**{f: getattr(truck, f) for f in truck.__struct_fields__} | {"running": [Spell(hours(2), hours(20))]})
    )
    assert min(trace(one, "truck", 0, 2)) > 20
    assert max(trace(one, "truck", 12, 20)) < -18


def test_day_is_warmer_than_night() -> None:
    one = world(room())
    day = [one.air_c("ambient", ORIGIN_MS + hour * HOUR_MS) for hour in range(24)]
    assert 6 < max(day) - min(day) < 13


def test_before_the_start_it_is_as_at_the_start() -> None:
    assert world(room()).air_c("room", ORIGIN_MS - 5 * STEP_MS) == -20.0


def test_humidity_stays_a_percentage() -> None:
    one = world(room(start_c=60.0, humidity_percent=100.0))
    assert all(5 <= one.humidity_percent("room", ORIGIN_MS + m * MINUTE_MS) <= 99 for m in range(200))


def test_an_unknown_place_is_an_error() -> None:
    with pytest.raises(KeyError):
        world(room()).air_c("nowhere", ORIGIN_MS)
