"""Which profile fits a Modbus device: each one is read by the driver itself, as it would be when configured."""

from __future__ import annotations

import logging
import random
import termios
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from edge.clock import SystemClock
from edge.commission.words import words_of
from edge.drivers.base import DriverContext, DriverError
from edge.drivers.links import Links
from edge.drivers.modbus.codec import CodecError, profile_names, shipped_profile
from edge.drivers.modbus.config import ModbusConfig, ProfileChoice
from edge.drivers.modbus.driver import ModbusDriver
from wire.observation import Observation, Quality, Reading

TIMEOUT_S = 0.5
#: (unit, part of the point's name) → what is met in stores, trucks, halls and greenhouses.
USUAL = {("CEL", ""): (-45, 65), ("P1", "hum"): (12, 100), ("P1", "moist"): (1, 100)}

log = logging.getLogger(__name__)


class Fit(NamedTuple):
    """A profile that reads whole. rank: higher fits better; broken: points whose probe is broken."""

    profile: str
    title: str
    rank: tuple[int, int, int]
    live: list[str]
    broken: list[str]
    channels: list[tuple[str, str]]


async def best_fits(line: Mapping[str, object]) -> list[Fit]:
    """The profiles that fit a unit on a line or host (keys of a `[[device]]`), the best one first."""
    ctx = DriverContext(SystemClock(), log, random.Random(0), Links())  # noqa: S311 - chooses nothing
    fits = []
    for name in profile_names():
        try:
            profile = shipped_profile(name)
            config = ModbusConfig(profile=ProfileChoice(profile), timeout_s=TIMEOUT_S, **dict[str, Any](line))
            driver = ModbusDriver("found", config, ctx)
            async with driver:
                seen = await driver.poll()
        except (DriverError, CodecError, termios.error):  # the last one: settings that the port does not know
            continue
        if fit := _judge(name, profile.title, seen):
            fits.append(fit)
    return sorted(fits, key=lambda fit: fit.rank, reverse=True)


def _judge(name: str, title: str, seen: list[Observation]) -> Fit | None:
    """None where numbers come that the device cannot measure: then they mean something else."""
    readings = [each for each in seen if isinstance(each, Reading)]
    if not readings or any(each.quality is Quality.OUT_OF_RANGE for each in readings):
        return None
    broken = [each.channel.partition("/")[2] for each in readings if each.quality is Quality.SENSOR_ERROR]
    if len(broken) == len(readings) and len(readings) > 1:
        return None
    usual = sum(_is_usual(each) for each in readings)
    telling = sum(each.mantissa not in (None, 0) for each in readings)
    return Fit(
        profile=name,
        title=title,
        rank=(usual - len(readings), telling, len(readings)),
        live=[words_of(each) for each in readings],
        broken=broken,
        channels=[(each.channel.partition("/")[2], each.unit) for each in readings],
    )


def _is_usual(reading: Reading) -> bool:
    """Whether a number is one that such places have: it tells tenths from hundredths of one and the same register.

    What cannot be judged, and what is broken, counts as usual.
    """
    span = next(
        (span for (unit, word), span in USUAL.items() if unit == reading.unit and word in reading.channel), None
    )
    return span is None or reading.value is None or span[0] <= reading.value <= span[1]


def spare_profiles(name: str, line: Mapping[str, object]) -> dict[str, object]:
    """`line` without what the profile says already."""
    usual = msgspec.structs.asdict(shipped_profile(name).serial)
    return {key: value for key, value in line.items() if usual.get(key) != value}
