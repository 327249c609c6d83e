"""What a probe measures: the world's air plus its own error, in the steps its register can say."""

from __future__ import annotations

from decimal import Decimal

from firmware_sim.kinds import WorldPoint
from firmware_sim.world import World, chance


class WorldProbe:
    """A source for a device; exponent: of its steps. Same seed and instant, same value, however often asked."""

    def __init__(self, world: World, seen: WorldPoint, exponent: int, seed_text: str) -> None:
        self._world = world
        self._seen = seen
        self._exponent = exponent
        self._seed_text = seed_text

    def __call__(self, at_ms: int) -> Decimal:
        """The measured value at an instant, rounded to the register's step."""
        measure = self._world.air_c if self._seen.measurement == "temperature" else self._world.humidity_percent
        # The sum of three even chances is close to a bell curve, and never wilder than three times `noise`.
        error = sum(chance(f"{self._seed_text} {at_ms} {n}") for n in range(3)) - 1.5
        value = measure(self._seen.place, at_ms) + self._seen.offset + 2 * self._seen.noise * error
        return Decimal(round(value / 10.0**self._exponent)).scaleb(self._exponent)
