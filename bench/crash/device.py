"""Devices that count: each observation carries a number that is given out once, and is logged as it is produced.

The log outlives the gateway (kill -9 does not undo a write): what a device gave, when, what was accepted or refused.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from edge.drivers.base import DriverContext, Emit
from wire.observation import Observation, Quality, Reading, Scan

NUMBERS_PER_LIFE = 1_000_000


class Produced(msgspec.Struct, frozen=True, array_like=True):
    """One line of the log: an observation as the device gave it, and when (monotonic, of the machine)."""

    number: int
    at_ns: int
    observation: Observation


class Diary:
    """What one life of a gateway was given and has answered, in files that grow by whole lines."""

    def __init__(self, folder: Path, life: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._produced = os.open(folder / f"produced-{life}.jsonl", flags, 0o600)
        self._accepted = os.open(folder / f"accepted-{life}.log", flags, 0o600)
        self._refused = os.open(folder / f"refused-{life}.log", flags, 0o600)
        self._next = life * NUMBERS_PER_LIFE

    def number(self) -> int:
        """A number never given out before."""
        self._next += 1
        return self._next

    def produced(self, number: int, observation: Observation) -> None:
        """The device gives this now."""
        line = msgspec.json.encode(Produced(number, time.monotonic_ns(), observation))
        os.write(self._produced, line + b"\n")

    def accepted(self, numbers: Sequence[int]) -> None:
        """The buffer has said so."""
        os.write(self._accepted, _lines(numbers))

    def refused(self, numbers: Sequence[int]) -> None:
        """The buffer has said that it is full; the gateway counts and shows it."""
        os.write(self._refused, _lines(numbers))


def read_produced(folder: Path, life: int) -> list[Produced]:
    """What the devices gave in a life, in order."""
    path = folder / f"produced-{life}.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Produced) for line in lines]


def read_accepted(folder: Path, life: int) -> set[int]:
    """What the gateway accepted in a life."""
    return _numbers(folder / f"accepted-{life}.log")


def read_refused(folder: Path, life: int) -> set[int]:
    """What the gateway refused in a life, loudly."""
    return _numbers(folder / f"refused-{life}.log")


def _lines(numbers: Sequence[int]) -> bytes:
    return "".join(f"{number}\n" for number in numbers).encode()


def _numbers(path: Path) -> set[int]:
    return {int(number) for number in path.read_text().split()} if path.exists() else set()


class CountingOptions(msgspec.Struct, frozen=True):
    """hit: called with a phase at each point where the gateway may be killed."""

    diary: Diary
    hit: Callable[[str], None]


class _Device:
    config_type: ClassVar[type[msgspec.Struct]] = CountingOptions
    channels: ClassVar[Sequence[tuple[str, str]]] = ()

    def __init__(self, name: str, config: msgspec.Struct, ctx: DriverContext) -> None:
        assert isinstance(config, CountingOptions)
        self._name = name
        self._options = config
        self._clock = ctx.clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class CountingPoller(_Device):
    """Answers each poll with the next number."""

    async def poll(self) -> list[Observation]:
        """One reading."""
        self._options.hit("poll")
        number = self._options.diary.number()
        reading = Reading(f"{self._name}/count", "C62", number, 0, self._clock.stamp(), Quality.OK)
        self._options.diary.produced(number, reading)
        self._options.hit("poll")
        return [reading]


class CountingScanner(_Device):
    """Scans the next number as soon as the one before is accepted and 20 ms have passed."""

    async def listen(self, emit: Emit) -> None:
        """Scan until cancelled."""
        for scan in self._scans():
            self._options.hit("scan")
            await emit([scan])
            self._options.hit("scan")
            await asyncio.sleep(0.02)

    def _scans(self) -> Iterator[Scan]:
        while True:
            number = self._options.diary.number()
            scan = Scan(f"{self._name}/scan", f"code-{number}", "C1", self._clock.stamp())
            self._options.diary.produced(number, scan)
            yield scan
