"""Poll → stored: how many readings a second, for how much CPU and memory. Run by `make bench`.

20 simulated Modbus TCP devices of 10 registers each, one block read per device, are polled as fast as the interval
says; the readings go through the real gateway, a real broker and the real cloud on this machine. CPU is user +
system time of each process over the measured window; rates are from the rows of the record.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import tail
from cloud.keys import load_or_create
from cloud.registry import keys as gateway_keys
from coldproof.demo.broker import LocalBroker
from edge import keys as edge_keys
from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.devices.log import PRODUCED_NAME, DeviceLog
from firmware_sim.devices.modbus import Unit
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Link

GATEWAY = "gw-bench"
DEVICES = 20
REGISTERS = 10
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Figures(msgspec.Struct, frozen=True):
    """What one run measured. CPU in seconds per million readings stored."""

    interval_s: float
    offered_per_s: float
    stored_per_s: float
    gateway_cpu_s_per_million: float
    cloud_cpu_s_per_million: float
    gateway_rss_mb: float
    cloud_rss_mb: float
    gateway_written_bytes_per_reading: float
    produced: int  # from start to end, counted at the devices
    lost: int


def main() -> None:
    """Measure at each interval and print one JSON object a line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--intervals", default="1.0,0.1", help="seconds between two polls of a device")
    options.add_argument("--seconds", type=float, default=30.0, help="length of the measured window")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--devices", metavar="FILE", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.devices:
        asyncio.run(_serve_devices(Path(chosen.devices)))
        return
    for interval_s in (float(text) for text in chosen.intervals.split(",")):
        for _ in range(chosen.runs):
            with tempfile.TemporaryDirectory(prefix="coldproof-bench-") as folder:
                print(msgspec.json.encode(_measure(Path(folder), interval_s, chosen.seconds)).decode(), flush=True)


async def _serve_devices(ports: Path) -> None:
    """The simulated devices, as a process of their own: every answer counts one further."""
    profile = shipped_profile("pt100-10")
    polls = [0] * DEVICES

    def source(device: int, register: int):
        def value(_at_ms: int) -> Decimal:
            polls[device] += register == 0
            return Decimal((polls[device] + register) % 3000).scaleb(-1)

        return value

    with DeviceLog(ports.parent) as log:
        probes = []
        for device in range(DEVICES):
            sources = {f"probe-{at + 1}": source(device, at) for at in range(REGISTERS)}
            unit = Unit(1, f"dev-{device}", GATEWAY, profile, sources)
            link = Link(f"dev-{device}", random.Random(device))
            probe = TcpProbe(unit, link=link, log=log, now_ms=lambda: time.time() * 1000)
            probes.append(await probe.__aenter__())
        ports.write_bytes(msgspec.json.encode([probe.port for probe in probes]))
        await asyncio.Event().wait()


def _measure(folder: Path, interval_s: float, seconds: float) -> Figures:
    broker = LocalBroker(folder, _free_port())
    broker.start()
    engine = open_engine(sqlite_url(folder / "cloud" / "cloud.db"))
    running: list[subprocess.Popen[bytes]] = []
    try:
        ports_file = folder / "ports.json"
        running.append(_start(folder, "devices", str(Path(__file__)), "--devices", str(ports_file)))
        _wait(ports_file.exists)
        ports = msgspec.json.decode(ports_file.read_bytes(), type=list[int])
        load_or_create(folder / "cloud")
        migrate(engine)
        cloud_file = folder / "cloud.toml"
        cloud_file.write_text(
            f'[cloud]\ndata_dir = "cloud"\n[broker]\nport = {broker.port}\n[web]\nport = {_free_port()}\n'
        )
        running.append(_start(folder, "cloud", "-m", "coldproof.main", "cloud", "serve", str(cloud_file)))
        gateway_file = _write_gateway(folder, ports, broker.port, interval_s)
        edge_keys.load_or_make(folder / "data", GATEWAY)
        with writing(engine) as conn:
            half = gateway_keys.read_public_half(folder / "data" / edge_keys.PUBLIC_NAME)
            gateway_keys.add_gateway(conn, half, int(time.time() * 1000))
        running.append(_start(folder, "gateway", "-m", "coldproof.main", "edge", "run", str(gateway_file)))
        cloud, gateway = running[1], running[2]
        _wait(lambda: _stored(engine) > DEVICES * REGISTERS)
        time.sleep(3)
        measured = _window(engine, gateway.pid, cloud.pid, interval_s, seconds)
        produced = _end_devices(running.pop(0), folder)
        _wait(lambda: _stored(engine) >= produced, within_s=20, needed=False)
        return Figures(**measured, produced=produced, lost=produced - _stored(engine))
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)
        engine.dispose()
        broker.stop()


def _end_devices(devices: subprocess.Popen[bytes], folder: Path) -> int:
    """Stop the devices; how many values they gave."""
    devices.terminate()
    devices.wait(20)
    return len((folder / PRODUCED_NAME).read_bytes().splitlines())


def _window(engine, gateway: int, cloud: int, interval_s: float, seconds: float) -> dict[str, float]:
    before, cpu_before, io_before = _stored(engine), (_cpu_s(gateway), _cpu_s(cloud)), _written_bytes(gateway)
    started_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - started_s
    count = max(1, _stored(engine) - before)
    millions = count / 1e6
    return {
        "interval_s": interval_s,
        "offered_per_s": DEVICES * REGISTERS / interval_s,
        "stored_per_s": round(count / took_s, 1),
        "gateway_cpu_s_per_million": round((_cpu_s(gateway) - cpu_before[0]) / millions, 1),
        "cloud_cpu_s_per_million": round((_cpu_s(cloud) - cpu_before[1]) / millions, 1),
        "gateway_rss_mb": _rss_mb(gateway),
        "cloud_rss_mb": _rss_mb(cloud),
        "gateway_written_bytes_per_reading": round((_written_bytes(gateway) - io_before) / count, 1),
    }


def _write_gateway(folder: Path, ports: list[int], broker_port: int, interval_s: float) -> Path:
    lines = [
        f'[gateway]\nname = "{GATEWAY}"\ndata_dir = "data"\n[uplink]\nhost = "127.0.0.1"\nport = {broker_port}',
        'cloud_key = "cloud/cloud-public.json"',
    ]
    lines += [
        f'[[device]]\nname = "dev-{at}"\ndriver = "modbus"\ninterval_s = {interval_s}\nprofile = "pt100-10"\n'
        f'host = "127.0.0.1"\ntcp_port = {port}\nunit_id = 1'
        for at, port in enumerate(ports)
    ]
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _start(folder: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)


def _wait(claim, within_s: float = 60.0, *, needed: bool = True) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            if not needed:
                return
            raise SystemExit("bench: a process did not come up; nothing measured")
        time.sleep(0.1)


def _stored(engine) -> int:
    with reading(engine) as conn:
        return conn.execute(select(func.coalesce(func.sum(tail.c.count), 0))).scalar_one()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _rss_mb(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6, 1)


def _written_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
