"""The whole house around a recorded log: devices on pseudo-terminals, a gateway on a stepped clock, broker and cloud.

The gateway and its devices live in the caller's event loop, the cloud is a process of its own. The clock stands
still until everything that was given at an instant is on the gateway's disk: what is read, and when it was observed,
does not depend on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, func, select

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import event, scan
from cloud.keys import load_or_create
from cloud.registry import keys as gateway_keys
from cloud.registry import load as registry_load
from cloud.registry.document import Document, check
from cloud.telemetry import query
from coldproof.demo.broker import LocalBroker
from coldproof.demo.stage import Stage
from edge import agent
from edge import keys as edge_keys
from edge.buffer.sqlite import SqliteBuffer
from edge.clock import SteppedClock
from edge.config import load_config
from firmware_sim.devices.scanner import SerialScanner
from firmware_sim.gateway_config import gateway_configs
from firmware_sim.kinds import ModbusRtu
from firmware_sim.machinery import running
from firmware_sim.scenario import Scenario
from tests.journeys.cold_store import GATEWAY, Scanned
from tests.journeys.saveris import STEP_MS
from wire.observation import Observation

STUCK_S = 60.0  # for one instant of the log, which takes milliseconds
ARRIVAL_S = 60.0  # for the last packs to be in the cloud and their scans to be events
READY_S = 60.0


@contextmanager
def cloud(folder: Path, broker: LocalBroker, web_port: int, document: Document) -> Iterator[Engine]:
    """A serving cloud that knows the site and its gateway; gives its database."""
    home = folder / "cloud"
    load_or_create(home)
    engine = open_engine(sqlite_url(home / "cloud.db"))
    try:
        migrate(engine)
        check(document)
        edge_keys.load_or_make(folder / "data", GATEWAY, simulated=True)
        with writing(engine) as conn:
            registry_load.load(conn, document)
            half = gateway_keys.read_public_half(folder / "data" / edge_keys.PUBLIC_NAME)
            gateway_keys.add_gateway(conn, half, time.time_ns() // 1_000_000)
        config = folder / "cloud.toml"
        config.write_text(f'[cloud]\ndata_dir = "cloud"\n[broker]\nport = {broker.port}\n[web]\nport = {web_port}\n')
        with Stage(folder) as stage:
            stage.start("cloud", "cloud", "serve", str(config))
            stage.wait_for("cloud", lambda: _is_well(web_port), within_s=READY_S)
            yield engine
    finally:
        engine.dispose()


class Accepted:
    """How many observations the gateway's buffer has on its disk; its file is locked, so the buffer is asked."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Event()

    def buffer(self, *args: Any, **kwargs: Any) -> SqliteBuffer:
        """The gateway's buffer as it is, but counted."""
        return _CountedBuffer(self, *args, **kwargs)

    def add(self, count: int) -> None:
        """Observations were committed."""
        self._count += count
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until so many are on the disk; more than that is an error."""
        while self._count < count:
            self._changed.clear()
            await self._changed.wait()
        assert self._count == count, f"{self._count} observations are on the disk, the devices gave {count}"


class _CountedBuffer(SqliteBuffer):
    def __init__(self, accepted: Accepted, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._accepted = accepted

    async def append(self, observations: Sequence[Observation]) -> None:
        await super().append(observations)
        self._accepted.add(len(observations))


async def play(
    scenario: Scenario,
    folder: Path,
    broker: LocalBroker,
    *,
    log_folder: Path,
    rows: Mapping[int, int],
    said: list[Scanned],
) -> None:
    """Play rows of a log and the scans between them through devices and gateway, and let it leave in order.

    rows: the instant of each row → how many observations the gateway makes of it; a poll of every device.
    """
    start_ms = min(rows)
    clock = SteppedClock(start_ms)

    def now_ms() -> float:
        return clock.stamp().observed_at_ms

    devices = running(scenario, folder, files=log_folder, now_ms=now_ms, origin_ms=start_ms, seed=1)
    async with devices as machinery, asyncio.TaskGroup() as tasks:
        buses = [tasks.create_task(bus.serve(), name=f"bus {name}") for name, bus in machinery.buses.items()]
        tables = gateway_configs(scenario, machinery.places)[GATEWAY]
        config = load_config(_write_gateway(folder, tables, broker.port))
        stop, accepted = agent.Stop(), Accepted()
        with patch.object(agent, "SqliteBuffer", accepted.buffer):
            gateway = tasks.create_task(agent.run(config, clock, stop=stop), name="gateway")
            await _walk(clock, scenario, accepted, machinery.scanners, rows, said)
        stop.ask()
        await gateway
        for bus in buses:
            bus.cancel()


def wait_for_arrival(engine: Engine, *, readings: int, events: int) -> None:
    """Wait until the cloud has that many readings and made that many events of its scans, and no more."""
    deadline = time.monotonic() + ARRIVAL_S
    while (have := _have(engine)) != (readings, events, events):
        assert time.monotonic() < deadline, f"(readings, scans, events): {have}, expected {readings}, {events} twice"
        assert have[0] <= readings, "more readings than the devices gave"
        time.sleep(0.05)


async def _walk(
    clock: SteppedClock,
    scenario: Scenario,
    accepted: Accepted,
    scanners: dict[str, SerialScanner],
    rows: Mapping[int, int],
    said: list[Scanned],
) -> None:
    pollers = sum(isinstance(device, ModbusRtu) for device in scenario.device)
    scans_at = {at_ms: list(group) for at_ms, group in groupby(said, key=lambda one: one.at_ms)}
    expected, start_ms = 0, min(rows)
    for at_ms in sorted(rows.keys() | scans_at.keys()):
        assert at_ms in rows or (at_ms - start_ms) % STEP_MS, (
            f"{at_ms}: the devices are polled then, and no row is told"
        )
        clock.move_to(at_ms)
        async with asyncio.timeout(STUCK_S):
            if at_ms in rows:
                expected += rows[at_ms]
                await clock.all_asleep(pollers)
                await accepted.reach(expected)
            for one in scans_at.get(at_ms, ()):
                await scanners[one.scanner].send(one.code, "C1")
                expected += 1
                await accepted.reach(expected)


def _write_gateway(folder: Path, devices: Sequence[dict[str, object]], broker_port: int) -> Path:
    head: dict[str, dict[str, object]] = {
        "gateway": {"name": GATEWAY, "data_dir": "data"},
        "uplink": {"host": "127.0.0.1", "port": broker_port, "cloud_key": "cloud/cloud-public.json"},
        "buffer": {"commit_window_ms": 5, "min_free_bytes": 0},
        "seal": {"after_s": 1.0, "max_readings": 500},
    }
    tables = [f"[{name}]\n{_assignments(table)}" for name, table in head.items()]
    tables += [f"[[device]]\n{_assignments(device)}" for device in devices]
    path = folder / "gateway.toml"
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


def _assignments(table: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def _have(engine: Engine) -> tuple[int, int, int]:
    """(readings, scans, events) in the cloud."""
    with reading(engine) as conn:
        values = query.count(conn)
        scans = conn.scalar(select(func.count()).select_from(scan))
        events = conn.scalar(select(func.count()).select_from(event))
    return values, scans or 0, events or 0


def _is_well(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except urllib.error.HTTPError:  # it answers, and is not connected to the broker yet
        return False
    except OSError:
        return False
