"""Places of a simulated world as a scenario describes them: cooled spaces, their doors, and the air outside."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

OFFSET = re.compile(r"\+(?:(\d{1,4})h)?(?:(\d{1,4})m)?(?:(\d{1,6})s)?")
AMBIENT = "ambient"

Temperature = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=30)]  # per hour; world.py's step is made for no faster ones


class Offset(int):
    """Milliseconds after the start of the simulation."""


def offset(text: str) -> Offset:
    """Parse "+2h30m". Raises ValueError."""
    found = OFFSET.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no offset such as +2h, +29h55m or +90s")
    hours, minutes, seconds = (int(group or 0) for group in found.groups())
    return Offset(((hours * 60 + minutes) * 60 + seconds) * 1000)


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a scenario: unknown keys are refused."""


class Ambient(Strict, frozen=True):
    """The air outside: a day's wave around a mean, and slow weather on top; °C."""

    mean_c: Temperature
    swing_c: NotNegative
    wander_c: NotNegative = 0.0


class Spell(Strict, frozen=True):
    """A stretch of time."""

    begins: Offset = msgspec.field(name="from")
    ends: Offset = msgspec.field(name="until")


class Defrost(Strict, frozen=True):
    """The evaporator is heated every so often; meanwhile nothing is cooled."""

    every_h: Positive
    minutes: Positive
    heat_c_per_h: NotNegative
    first: Offset


class Door(Strict, frozen=True):
    """Open, it lets in the air of `outside`: `ambient` or another place. Random openings are seeded, by day."""

    exchange_per_h: Rate
    outside: str = AMBIENT
    openings: list[Spell] = []
    random_per_day: Annotated[float, msgspec.Meta(ge=0, le=200)] = 0.0
    random_minutes: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0


class Place(Strict, frozen=True):
    """A cooled space: air, and the goods and walls that make it slow. Rates are per hour, temperatures °C.

    The unit cools while the air is above set_c + hysteresis_c until it is below set_c − hysteresis_c;
    `running` limits it to some spells (a truck's unit is switched on before loading), `failures` stop it.
    """

    name: str
    start_c: Temperature
    set_c: Temperature
    cooling_c_per_h: NotNegative
    leak_per_h: Rate
    hysteresis_c: Positive = 0.8
    air_to_mass_per_h: Rate = 2.0
    mass_to_air_per_h: Rate = 0.05
    humidity_percent: Percent = 80.0
    defrost: Defrost | None = None
    door: Door | None = None
    running: list[Spell] = []
    failures: list[Spell] = []
