"""Plays a scenario in shared simulated time: devices, scans, faults and the control socket, until cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from firmware_sim.control import Control, listening
from firmware_sim.links import GOOD
from firmware_sim.machinery import Machinery, running
from firmware_sim.parts import Serve
from firmware_sim.scenario import Scenario
from wire.simtime import SharedSimTime

CONTROL_NAME = "control.sock"
LOOK_S = 0.05  # the pace of time may change while we wait

log = logging.getLogger(__name__)


async def run(
    scenario: Scenario,
    folder: Path,
    time_path: Path,
    seed: int,
    *,
    files: Path,
    ready: Callable[[Machinery], None] = lambda _: None,
) -> None:
    """Start all devices in `folder` and play the timeline; devices go on when it is over, until cancelled.

    time_path: the file of simulated time (wire/simtime.py), whose origin is the start of the scenario.
    files: the folder that recorded logs are relative to. Scans are sent once, in order, however fast time runs;
    one that nobody listens to holds up those after it. ready: told when all devices are there.
    Raises SimTimeError, RecordedError, ControlError.
    """
    sim_time = SharedSimTime(time_path)
    origin_ms = sim_time.origin_ms
    async with (
        running(scenario, folder, files=files, now_ms=sim_time.now_ms, origin_ms=origin_ms, seed=seed) as machinery,
        listening(folder / CONTROL_NAME, Control(machinery.links, machinery.scanners)),
        asyncio.TaskGroup() as tasks,
    ):
        for name, bus in machinery.buses.items():
            tasks.create_task(bus.serve(), name=f"bus {name}")
        for name, serve in machinery.services.items():
            tasks.create_task(_served(serve), name=f"device {name}")
        tasks.create_task(_play_scans(scenario, machinery, sim_time), name="scans")
        tasks.create_task(_play_faults(scenario, machinery, sim_time), name="faults")
        log.info("simulation runs", extra={"scenario": scenario.name, "folder": str(folder), "seed": seed})
        ready(machinery)
        await asyncio.Event().wait()


async def _served(serve: Serve) -> None:
    await serve()


def timeline(scenario: Scenario) -> list[tuple[int, str, str, str]]:
    """All scans in order: (ms after the start, scanner, code, symbology)."""
    scans = [
        (int(batch.at + index * batch.every_s * 1000), batch.scanner, code, batch.symbology)
        for batch in scenario.scan
        for index, code in enumerate(batch.codes)
    ]
    return sorted(scans, key=lambda scan: scan[0])


async def _play_scans(scenario: Scenario, machinery: Machinery, sim_time: SharedSimTime) -> None:
    for after_ms, scanner, code, symbology in timeline(scenario):
        await _until(sim_time, sim_time.origin_ms + after_ms)
        await machinery.scanners[scanner].send(code, symbology)


async def _play_faults(scenario: Scenario, machinery: Machinery, sim_time: SharedSimTime) -> None:
    ends = [(fault.ends, fault.link, GOOD) for fault in scenario.fault]
    begins = [(fault.begins, fault.link, fault.faults) for fault in scenario.fault]
    for after_ms, link, faults in sorted(ends + begins, key=lambda change: change[0]):  # an end before a begin
        await _until(sim_time, sim_time.origin_ms + after_ms)
        await machinery.links[link].change(faults)
        log.info("link changes", extra={"link": link, "faults": faults})


async def _until(sim_time: SharedSimTime, at_ms: int) -> None:
    while (left_ms := at_ms - sim_time.now_ms()) > 0:  # noqa: ASYNC110 - a file, it has no event
        await asyncio.sleep(min(LOOK_S, left_ms / 1000 / sim_time.factor()))
