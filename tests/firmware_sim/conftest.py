"""Fixtures of the simulator's tests: a device log, and tasks that end with the test."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firmware_sim.devices.log import INCIDENTS_NAME, PRODUCED_NAME, DeviceLog
from firmware_sim.links import Link


class Logged:
    """A device log that is being written, and what stands in it."""

    def __init__(self, folder: Path, log: DeviceLog) -> None:
        self._folder = folder
        self.log = log

    @property
    def produced(self) -> list[dict[str, Any]]:
        return _lines(self._folder / PRODUCED_NAME)

    @property
    def incidents(self) -> list[dict[str, Any]]:
        return _lines(self._folder / INCIDENTS_NAME)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    with DeviceLog(tmp_path) as log:
        yield Logged(tmp_path, log)


@pytest.fixture
def link() -> Link:
    return Link("cable", random.Random(7))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]]:
    """Runs a coroutine beside the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
