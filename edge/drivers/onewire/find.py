"""Finds 1-wire thermometers: the kernel lists them, and the driver reads each one as it would when configured."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from pathlib import Path

from edge.clock import SystemClock
from edge.commission.finder import Asked, Cause, Finding, Place, Scene
from edge.commission.words import words_of
from edge.drivers.base import BadReply, DeviceUnavailable, DriverContext
from edge.drivers.links import Links
from edge.drivers.onewire.config import BUS, OneWireConfig
from edge.drivers.onewire.driver import OneWireDriver

SENSOR = re.compile(r"(10|22|28|3b|42)-[0-9a-f]{12}")  # as in config.py
SENSORS_MAX = 100  # 75 s: one measures for 0.75 s
KINDS = {"10": "DS18S20", "22": "DS1822", "28": "DS18B20", "3b": "DS1825", "42": "DS28EA00"}

log = logging.getLogger(__name__)


class OneWireFinder:
    """Reads files; whoever reads a sensor at the same time waits for a second at most."""

    def places(self, asked: Asked) -> list[Place]:
        """Every bus."""
        return [Place(f"w1:{bus}", bus, shared=True) for bus in asked.w1_buses]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """Every sensor with its temperature."""
        bus = Path(place.address)
        found = []
        for sensor in await asyncio.to_thread(_sensors, bus):
            scene.say(f"1-wire {sensor}")
            found.append(await _read(bus, sensor))
        return found


async def _read(bus: Path, sensor: str) -> Finding:
    ctx = DriverContext(SystemClock(), log, random.Random(0), Links())  # noqa: S311 - chooses nothing
    driver = OneWireDriver("found", OneWireConfig(sensor=sensor, bus=bus), ctx)
    live, cause, fault = [], None, ""
    try:
        async with driver:
            live = [words_of(each) for each in await driver.poll()]
    except BadReply as error:
        cause, fault = Cause.PROBE_FAULT, str(error)
    except DeviceUnavailable as error:
        cause, fault = Cause.NO_ANSWER, str(error)
    table = {"driver": "onewire", "sensor": sensor} | ({} if bus == BUS else {"bus": str(bus)})
    return Finding(
        where=f"1-wire {sensor}",
        what=f"{KINDS[sensor[:2]]} thermometer, 1-wire",
        certainty="sure",
        table=table,
        live=live,
        channels=[("air", "CEL")],
        cause=cause,
        fault=fault,
    )


def _sensors(bus: Path) -> list[str]:
    try:
        return sorted(each.name for each in bus.iterdir() if SENSOR.fullmatch(each.name))[:SENSORS_MAX]
    except OSError:  # a machine without a bus
        return []


finder = OneWireFinder()
