"""A 1-wire bus as the kernel shows it: a folder per sensor, whose file takes as long to read as the sensor measures.

    FOLDER/28-0316a2795bff/w1_slave     a named pipe: reading it waits for the measurement, as in sysfs

Whoever reads it with a plain `open` blocks in the kernel, which is the point.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from edge.drivers.onewire.codec import POWER_ON, SIXTEENTH_EXPONENT, encode_slave
from firmware_sim.devices.log import DeviceLog, Value
from firmware_sim.links import Link

LOOK_S = 0.005  # a pipe has no event for "somebody opened it to read"


class Sensor(NamedTuple):
    """One thermometer. channel: as the gateway names it, with the gateway before it.

    sixteenths: of a degree, at an instant (ms); None: it has lost its power, and says 85 °C.
    """

    channel: str
    sixteenths: Callable[[int], int | None]


class OneWireBus:
    """`async with bus:` makes the sensors appear, by id. texts: what a sensor's file says instead, if anything."""

    def __init__(
        self,
        folder: Path,
        sensors: Mapping[str, Sensor],
        *,
        name: str,
        link: Link,
        log: DeviceLog,
        now_ms: Callable[[], float],
        measure_s: float = 0.75,
    ) -> None:
        self.texts: dict[str, str] = {}
        self.measure_s = measure_s
        self._folder = folder
        self._sensors = dict(sensors)
        self._name = name
        self._link = link
        self._log = log
        self._now_ms = now_ms
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plug(plugged=False)

    async def serve(self) -> None:
        """Measure for whoever reads, one sensor at a time, until cancelled."""
        while True:
            for sensor in self._sensors:
                await self._serve_one(sensor)
            await asyncio.sleep(LOOK_S)

    async def _serve_one(self, sensor: str) -> None:
        if self._link.faults.hang:
            return
        path = self._path(sensor)
        pipe = _open_for(path)
        if pipe is None:
            return
        fresh = path.with_name("fresh")
        os.mkfifo(fresh)
        fresh.replace(path)  # whoever reads next waits for a measurement of its own
        try:
            await asyncio.sleep(self.measure_s)
            await self._answer(sensor, pipe)
        finally:
            os.close(pipe)

    async def _answer(self, sensor: str, pipe: int) -> None:
        at_ms = int(self._now_ms())
        raw = self._sensors[sensor].sixteenths(at_ms)
        text = self.texts.get(sensor) or encode_slave(POWER_ON * 16 if raw is None else raw)
        out, intact = await self._link.outward(text.encode())
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, out)
        if not intact:
            self._log.damaged(self._name, at_ms)
        elif sensor not in self.texts:
            mantissa = None if raw is None else raw * 625
            self._log.values([Value(sensor, self._sensors[sensor].channel, mantissa, SIXTEENTH_EXPONENT)], at_ms)

    def _path(self, sensor: str) -> Path:
        return self._folder / sensor / "w1_slave"

    async def _plug(self, plugged: bool) -> None:
        for sensor in self._sensors:
            path = self._path(sensor)
            if plugged:
                path.parent.mkdir(exist_ok=True)
                if not path.exists():
                    os.mkfifo(path)
            elif path.exists():
                waiting = _open_for(path)  # lets a reader go that waits for a sensor which is no more
                shutil.rmtree(path.parent)
                if waiting is not None:
                    os.close(waiting)


def _open_for(path: Path) -> int | None:
    """The pipe, open to write, if somebody waits to read it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENOENT}:
            return None
        raise
