"""The bench's field as a running process: starts, says where its devices are, ends in order, gives its account."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.counting import ADDRESSES_NAME, Address, Channel, Made, addresses, made
from coldproof.demo.stage import Stage, StageError

READY_S = 60.0


class Field:
    """`with Field(folder) as field:` has 20 devices listening."""

    def __init__(self, folder: Path, *, registers: int = 10, time_file: Path | None = None) -> None:
        """time_file: of simulated time, in place of the machine's."""
        self.folder = folder
        self._words = [str(folder), str(registers), *([] if time_file is None else [str(time_file)])]
        self.devices: list[Address] = []
        self._stage = Stage(folder)

    def __enter__(self) -> Self:
        self._stage.start_program("devices", sys.executable, "-m", "bench.counting", *self._words)
        try:
            self._stage.wait_for("devices", (self.folder / ADDRESSES_NAME).exists, within_s=READY_S)
        except BaseException:
            self._stage.clear()
            raise
        self.devices = addresses(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stage.clear()

    def stop(self) -> None:
        """Let the devices end between two answers. Raises StageError when they were gone before."""
        if (status := self._stage.stop("devices")) != 0:
            raise StageError(f"the devices ended with status {status}: their log cannot be trusted")

    def made(self) -> dict[Channel, list[Made]]:
        """What the devices gave so far."""
        return made(self.folder)

    def count(self) -> int:
        """How many values they gave so far."""
        return sum(map(len, self.made().values()))

    def times_between(self, from_s: float, until_s: float) -> list[float]:
        """When each of them left its device, in a span of host monotonic time; in order."""
        times = (one.host_s for values in self.made().values() for one in values)
        return sorted(at_s for at_s in times if from_s <= at_s < until_s)

    def last_s(self) -> float:
        """Host monotonic time of the last one; now when there is none."""
        return max((values[-1].host_s for values in self.made().values()), default=time.monotonic())
