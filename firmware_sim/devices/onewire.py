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
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from edge.drivers.onewire.codec import encode_slave
from firmware_sim.links import Link

LOOK_S = 0.005  # a pipe has no event for "somebody opened it to read"


class OneWireBus:
    """`async with bus:` makes the sensors appear. sixteenths: of a degree, by sensor id; texts: what to say instead."""

    def __init__(self, folder: Path, sixteenths: Mapping[str, int], *, link: Link, measure_s: float = 0.0) -> None:
        self.folder = folder
        self.sixteenths = dict(sixteenths)
        self.texts: dict[str, str] = {}
        self.measure_s = measure_s
        self._link = link
        link.attach(self._plug)

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        await self._plug(not self._link.faults.unplugged)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._plug(plugged=False)

    async def serve(self) -> None:
        """Measure for whoever reads, one sensor at a time, until cancelled."""
        while True:
            for sensor in self.sixteenths:
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
            text = self.texts.get(sensor) or encode_slave(self.sixteenths[sensor])
            out, _ = await self._link.outward(text.encode())
            with contextlib.suppress(BrokenPipeError):
                os.write(pipe, out)
        finally:
            os.close(pipe)

    def _path(self, sensor: str) -> Path:
        return self.folder / sensor / "w1_slave"

    async def _plug(self, plugged: bool) -> None:
        for sensor in self.sixteenths:
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
