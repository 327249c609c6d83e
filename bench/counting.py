"""The bench's field: 20 Modbus TCP devices of 10 registers whose values count up, as a process of its own.

A register is one higher at every reading, so that within a run (65,536 polls) a value names its moment: whatever is
lost, doubled, swapped or mis-timed on the way shows. Each register starts somewhere else, so that a value under a
wrong name shows as well. What the devices gave stands in their own log (firmware_sim/devices/log.py).

    python -m bench.counting FOLDER REGISTERS [TIMEFILE]

serves until SIGTERM; FOLDER/devices.json appears when all listen. TIMEFILE: simulated time in place of the machine's.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from edge.drivers.modbus.codec import Profile, parse_profile
from firmware_sim.devices.log import PRODUCED_NAME, DeviceLog
from firmware_sim.devices.modbus import Source, Unit
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Link
from wire.simtime import SharedSimTime

DEVICES = 20
REGISTERS = 10
VALUES = 65_536
UNITS = 248  # unit ids above 247 are reserved
PROFILES = Path(__file__).with_name("profiles")
ADDRESSES_NAME = "devices.json"
GATEWAY = "gw-bench"

#: All that a run may have to say about a value: its channel is "dev-3/r-7".
Channel = str


class Address(msgspec.Struct, frozen=True):
    """Where a device is, on loopback. Its unit id is the run's own: nobody else's gateway gets an answer here."""

    port: int
    unit_id: int


class Made(msgspec.Struct, frozen=True, gc=False):
    """A value that left a device whole. host_s: CLOCK_MONOTONIC when the bytes were out."""

    value: int
    at_ms: int
    host_s: float


class _Line(msgspec.Struct, frozen=True, gc=False):
    channel: str
    mantissa: int
    at_ms: int
    host_s: float


def addresses(folder: Path) -> list[Address]:
    """Where the devices are, once they listen."""
    return msgspec.json.decode((folder / ADDRESSES_NAME).read_bytes(), type=list[Address])


def made(folder: Path) -> dict[Channel, list[Made]]:
    """What the devices gave, per channel, in order; a line that is still being written is not counted."""
    found: dict[Channel, list[Made]] = defaultdict(list)
    decoder = msgspec.json.Decoder(_Line)
    whole, _, _ = (folder / PRODUCED_NAME).read_bytes().rpartition(b"\n")
    for text in whole.splitlines():
        line = decoder.decode(text)
        found[line.channel.partition("/")[2]].append(Made(line.mantissa, line.at_ms, line.host_s))
    return found


def _wall_ms() -> float:
    return time.time() * 1000


def first_value(device: int, register: int) -> int:
    """Where a register starts to count."""
    return (device * REGISTERS + register) * (VALUES // (DEVICES * REGISTERS))


def counters(device: int, profile: Profile) -> dict[str, Source]:
    """The sources of one device, by point: each asks itself how often it was read."""

    def source(register: int) -> Callable[[int], Decimal]:
        reads = first_value(device, register)

        def value(_at_ms: int) -> Decimal:
            nonlocal reads
            reads += 1
            return Decimal(reads % VALUES)

        return value

    return {point.name: source(point.register) for point in profile.points}


def profile_file(registers: int) -> Path:
    """The register map of a device with so many registers: 10, or 1."""
    return PROFILES / f"counter-{registers}.toml"


async def serve(folder: Path, *, registers: int = REGISTERS, now_ms: Callable[[], float] = _wall_ms) -> None:
    """Serve until cancelled; between two answers only, so that the log and the wire agree."""
    shape, probes = parse_profile(profile_file(registers).read_text(encoding="utf-8")), []
    unit_id = random.SystemRandom().randrange(1, UNITS)
    with DeviceLog(folder) as log:
        for device in range(DEVICES):
            unit = Unit(unit_id, f"dev-{device}", GATEWAY, shape, counters(device, shape))
            link = Link(f"dev-{device}", random.Random(device))
            probe = TcpProbe(unit, link=link, log=log, now_ms=now_ms)
            probes.append(await probe.__aenter__())
        fresh = folder / f"{ADDRESSES_NAME}.new"
        fresh.write_bytes(msgspec.json.encode([Address(probe.port, unit_id) for probe in probes]))
        fresh.replace(folder / ADDRESSES_NAME)
        await asyncio.Event().wait()


async def run(folder: Path, registers: int, time_file: Path | None) -> None:
    """Serve until SIGTERM. time_file: of simulated time."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    now_ms = _wall_ms if time_file is None else SharedSimTime(time_file).now_ms
    await serve(folder, registers=registers, now_ms=now_ms)


if __name__ == "__main__":
    try:
        asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None))
    except asyncio.CancelledError:
        sys.exit(0)
