"""The weather inside cold rooms, trucks and halls: seeded physics in simulated time.

Each place has air and a mass (goods, walls) that holds it back; heat comes through the walls, through open doors and
from defrosting, cold from a compressor with a thermostat. Used by the simulated probes (devices/probe.py).

Invariant: the temperature at an instant depends on scenario, seed and origin only, never on when or how often it is
asked: all places are integrated together on one fixed grid, and asked instants are interpolated in it.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Sequence

from firmware_sim.place import AMBIENT, Ambient, Defrost, Door, Place, Spell
from firmware_sim.scenario import Scenario

STEP_S = 10  # the fastest rate allowed is 30/h: 12 steps per time constant keep Euler's method stable and close
STEP_MS = STEP_S * 1000
STEP_H = STEP_S / 3600
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HOTTEST_HOUR = 14.0
WANDER_H = 6  # how fast weather changes: one seeded knot every so many hours
HUMIDITY_PER_C = 1.5  # air warmed above its set point dries by so many percent per kelvin
WORKDAY_H = (6.0, 20.0)  # doors open at random in working hours only


class World:
    """The air of every place of a scenario. origin_ms: UTC milliseconds of the start."""

    def __init__(self, scenario: Scenario, seed: int, origin_ms: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self._origin_ms = origin_ms
        self._places = {place.name: _Space(place, seed, origin_ms, scenario.utc_offset_h) for place in scenario.place}
        self._steps = 0

    def air_c(self, place: str, at_ms: float) -> float:
        """Air temperature of a place (or `ambient`) at an instant; before the start it is that of the start."""
        if place == AMBIENT:
            return self._ambient_c(at_ms)
        position = max(0.0, (at_ms - self._origin_ms) / STEP_MS)
        index = int(position)
        self._integrate(index + 1)
        trace = self._places[place].trace
        return trace[index] + (trace[index + 1] - trace[index]) * (position - index)

    def humidity_percent(self, place: str, at_ms: float) -> float:
        """Relative humidity of a place's air, 5–99 %."""
        space = self._places[place].place
        weather = 2.0 * _wander(self._seed, f"humidity {place}", at_ms)
        warmer_c = self.air_c(place, at_ms) - space.set_c
        return min(99.0, max(5.0, space.humidity_percent - HUMIDITY_PER_C * warmer_c + weather))

    def door_open(self, place: str, at_ms: int) -> bool:
        """Whether a place's door is open; one without a door is closed."""
        return self._places[place].door_open(at_ms)

    def defrosting(self, place: str, at_ms: int) -> bool:
        """Whether a place's evaporator is being defrosted."""
        return self._places[place].defrosting(at_ms)

    def _integrate(self, steps: int) -> None:
        while self._steps < steps:
            at_ms = self._origin_ms + self._steps * STEP_MS
            outside = {name: space.air_c for name, space in self._places.items()}
            outside[AMBIENT] = self._ambient_c(at_ms)
            for space in self._places.values():
                space.step(at_ms, outside)
            self._steps += 1

    def _ambient_c(self, at_ms: float) -> float:
        ambient: Ambient = self._scenario.ambient
        hour = (at_ms / HOUR_MS + self._scenario.utc_offset_h) % 24
        day_wave = math.cos((hour - HOTTEST_HOUR) * math.tau / 24)
        return ambient.mean_c + ambient.swing_c * day_wave + ambient.wander_c * _wander(self._seed, AMBIENT, at_ms)


class _Space:
    """One place's state; `trace` holds its air temperature at every step so far."""

    def __init__(self, place: Place, seed: int, origin_ms: int, utc_offset_h: float) -> None:
        self.place = place
        self.air_c = place.start_c
        self.trace = array("d", [place.start_c])
        self._mass_c = place.start_c
        self._cooling = False
        self._origin_ms = origin_ms
        self._doors = None if place.door is None else _Doors(place.name, place.door, seed, origin_ms, utc_offset_h)

    def step(self, at_ms: int, outside: dict[str, float]) -> None:
        place, since_ms = self.place, at_ms - self._origin_ms
        defrosting = place.defrost is not None and _defrosting(place.defrost, since_ms)
        self._thermostat(can_run=not defrosting and self._powered(since_ms))
        change = place.leak_per_h * (outside[AMBIENT] - self.air_c)
        change += place.air_to_mass_per_h * (self._mass_c - self.air_c)
        if place.door is not None and self._doors is not None and self._doors.are_open(at_ms):
            change += place.door.exchange_per_h * (outside[place.door.outside] - self.air_c)
        if place.defrost is not None and defrosting:
            change += place.defrost.heat_c_per_h
        if self._cooling:
            change -= place.cooling_c_per_h
        self._mass_c += place.mass_to_air_per_h * (self.air_c - self._mass_c) * STEP_H
        self.air_c += change * STEP_H
        self.trace.append(self.air_c)

    def door_open(self, at_ms: int) -> bool:
        return self._doors is not None and self._doors.are_open(at_ms)

    def defrosting(self, at_ms: int) -> bool:
        return self.place.defrost is not None and _defrosting(self.place.defrost, at_ms - self._origin_ms)

    def _powered(self, since_ms: int) -> bool:
        running = not self.place.running or _inside(self.place.running, since_ms)
        return running and not _inside(self.place.failures, since_ms)

    def _thermostat(self, *, can_run: bool) -> None:
        if self.air_c > self.place.set_c + self.place.hysteresis_c:
            self._cooling = True
        elif self.air_c < self.place.set_c - self.place.hysteresis_c:
            self._cooling = False
        self._cooling = self._cooling and can_run


class _Doors:
    """When a door is open: as the scenario says, and at seeded random moments of each working day."""

    def __init__(self, name: str, door: Door, seed: int, origin_ms: int, utc_offset_h: float) -> None:
        self._name, self._door, self._seed = name, door, seed
        self._origin_ms = origin_ms
        self._shift_ms = utc_offset_h * HOUR_MS
        self._day, self._random = -1, [(0.0, 0.0)]

    def are_open(self, at_ms: int) -> bool:
        if _inside(self._door.openings, at_ms - self._origin_ms):
            return True
        if not self._door.random_per_day:
            return False
        day, time_ms = divmod(at_ms + self._shift_ms, DAY_MS)
        if day != self._day:
            self._day, self._random = int(day), self._openings_of(int(day))
        return any(begin <= time_ms < end for begin, end in self._random)

    def _openings_of(self, day: int) -> list[tuple[float, float]]:
        rng = random.Random(f"{self._seed} door {self._name} {day}")  # noqa: S311 - physics, not secrets
        begins = [rng.uniform(*WORKDAY_H) * HOUR_MS for _ in range(round(self._door.random_per_day))]
        return [(at, at + rng.uniform(0.5, 1.5) * self._door.random_minutes * 60_000) for at in sorted(begins)]


def _defrosting(defrost: Defrost, since_ms: int) -> bool:
    into_ms = since_ms - defrost.first
    return into_ms >= 0 and into_ms % (defrost.every_h * HOUR_MS) < defrost.minutes * 60_000


def _inside(spells: Sequence[Spell], since_ms: int) -> bool:
    return any(spell.begins <= since_ms < spell.ends for spell in spells)


def _wander(seed: int, what: str, at_ms: float) -> float:
    """A slow seeded curve between −1 and 1: one knot every WANDER_H hours, smoothly joined."""
    knot, into = divmod(at_ms / HOUR_MS / WANDER_H, 1)
    before, after = (2 * chance(f"{seed} {what} {int(knot) + step}") - 1 for step in (0, 1))
    smooth = into * into * (3 - 2 * into)
    return before + (after - before) * smooth


def chance(text: str) -> float:
    """A number in [0, 1) that belongs to this text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest()) / 2**56
