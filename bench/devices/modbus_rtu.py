"""How much of an RS-485 line at 9600 baud the gateway's driver uses: eight transmitters, asked as often as it goes.

    python -m bench.devices.modbus_rtu [--seconds 10] [--devices 8] [--registers 2] [--baudrate 9600]

The slaves live in a process of their own, behind a pseudo-terminal that keeps the line's pace (firmware_sim/devices/
rtu_bus.py). What the wire allows is reckoned, not measured: for every exchange the bytes of request and answer × 10
bits, twice 3.5 characters of silence, and the slave's turnaround. Ends with status 1 below 90 % of that.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from edge.clock import SystemClock
from edge.drivers.base import DriverContext
from edge.drivers.links import Links
from edge.drivers.modbus.codec import Profile, parse_profile
from edge.drivers.modbus.config import ModbusConfig, ProfileChoice
from edge.drivers.modbus.driver import ModbusDriver
from edge.supervisor import Supervisor
from firmware_sim.devices.log import PRODUCED_NAME, DeviceLog
from firmware_sim.devices.modbus import Unit
from firmware_sim.devices.rtu_bus import RtuBus
from firmware_sim.links import Link
from wire.observation import Observation

AT_LEAST = 0.9
TURNAROUND_S = 0.003
QUIET_CHARACTERS = 2 * 3.5
BITS = 10
REQUEST_BYTES, ANSWER_BYTES = 8, 5
FASTEST_S = 0.01  # the shortest interval: always behind, so always asking


class _Line(NamedTuple):
    devices: int
    registers: int
    baudrate: int

    @property
    def exchange_s(self) -> float:
        """What an exchange takes at least."""
        characters = REQUEST_BYTES + ANSWER_BYTES + 2 * self.registers + QUIET_CHARACTERS
        return characters * BITS / self.baudrate + TURNAROUND_S

    @property
    def profile(self) -> Profile:
        """A device with so many registers, told one by one."""
        points = (
            f'[[point]]\nname = "r-{at}"\nunit = "C62"\nfunction = 4\nregister = {at}\n' for at in range(self.registers)
        )
        return parse_profile('name = "line"\ntitle = "line"\nsource = "none"\n' + "".join(points))


def main() -> int:
    """The exit status."""
    options = argparse.ArgumentParser(prog="python -m bench.devices.modbus_rtu", description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--devices", type=int, default=8)
    options.add_argument("--registers", type=int, default=2)
    options.add_argument("--baudrate", type=int, default=9600)
    options.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    line = _Line(chosen.devices, chosen.registers, chosen.baudrate)
    if chosen.serve is not None:
        asyncio.run(_serve(chosen.serve, line))
        return 0
    with tempfile.TemporaryDirectory(prefix="coldproof-bench-") as folder:
        words = [f"--{name}={value}" for name, value in line._asdict().items()]
        slaves = subprocess.Popen([sys.executable, "-m", "bench.devices.modbus_rtu", *words, "--serve", folder])
        try:
            exchanges, seconds = asyncio.run(_ask(Path(folder), line, chosen.seconds))
        finally:
            slaves.terminate()
            slaves.wait(10)
        answered = (Path(folder) / PRODUCED_NAME).read_bytes().count(b"\n") // line.registers
    share = exchanges * line.exchange_s / seconds
    print(f"{line.devices} devices × {line.registers} registers at {line.baudrate} baud, {seconds:.1f} s")
    print(f"{exchanges / seconds:.1f} exchanges/s; the wire allows {1 / line.exchange_s:.1f}: {share:.1%} of it")
    print(f"{exchanges} of about {answered} answers counted; load average {os.getloadavg()[0]:.1f}")
    return int(share < AT_LEAST)


async def _serve(folder: Path, line: _Line) -> None:
    """The slaves, until SIGTERM."""
    sources = {point.name: lambda _at_ms: Decimal(1) for point in line.profile.points}
    units = [Unit(at, f"dev-{at}", "gw", line.profile, sources) for at in range(1, line.devices + 1)]
    with DeviceLog(folder) as log:
        bus = RtuBus(
            folder / "bus",
            units,
            link=Link("bus", random.Random(1)),
            log=log,
            now_ms=lambda: 0,
            baudrate=line.baudrate,
            turnaround_s=TURNAROUND_S,
        )
        async with bus:
            serving = asyncio.create_task(bus.serve())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
            await asyncio.gather(serving, return_exceptions=True)


async def _ask(folder: Path, line: _Line, seconds: float) -> tuple[int, float]:
    """(exchanges, seconds) of a window, with everything warm."""
    port = folder / "bus"
    async with asyncio.timeout(20):
        while not port.is_symlink():
            await asyncio.sleep(0.05)
    clock, links = SystemClock(), Links()
    looks = 0

    async def put(_: Sequence[Observation]) -> None:
        nonlocal looks
        looks += 1

    async def room() -> None:
        return

    def supervisor(unit_id: int) -> Supervisor:
        name, log, rng = f"dev-{unit_id}", logging.getLogger("bench"), random.Random(unit_id)
        config = ModbusConfig(
            profile=ProfileChoice(line.profile), port=str(port), unit_id=unit_id, baudrate=line.baudrate
        )
        driver = ModbusDriver(name, config, DriverContext(clock, log, rng, links))
        return Supervisor(
            name, driver, interval_s=FASTEST_S, put=put, accept=put, room=room, clock=clock, rng=rng, log=log
        )

    tasks = [asyncio.create_task(supervisor(unit_id).run()) for unit_id in range(1, line.devices + 1)]
    await asyncio.sleep(1)
    before, began_s = looks, time.monotonic()
    await asyncio.sleep(seconds)
    counted, took_s = looks - before, time.monotonic() - began_s
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counted, took_s


if __name__ == "__main__":
    sys.exit(main())
