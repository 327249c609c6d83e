"""Poll → stored: how many readings a second, for how much CPU and memory. Run by `make bench`.

20 simulated Modbus TCP devices of 10 registers each, one block read per device, are polled as fast as the interval
says; the readings go through the real gateway, a real broker and the real cloud on this machine. CPU is user +
system time of each process over the measured window; readings are counted at the devices, and balanced with the
record in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from decimal import Decimal
from pathlib import Path

import msgspec
from sqlalchemy import Engine, func, select

from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import tail
from cloud.keys import load_or_create
from cloud.registry import keys as gateway_keys
from coldproof.demo.account import Account
from coldproof.demo.broker import LocalBroker, free_port
from coldproof.demo.count import accounts, produced
from edge import keys as edge_keys
from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.devices.log import PRODUCED_NAME, DeviceLog
from firmware_sim.devices.modbus import Unit
from firmware_sim.devices.tcp_probe import TcpProbe
from firmware_sim.links import Link

GATEWAY = "gw-bench"
DEVICES = 20
REGISTERS = 10
DRAIN_S = 60.0  # a pack without receipt is sent again after 30 s
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Figures(msgspec.Struct, frozen=True):
    """What one run measured. CPU in seconds per million readings that the devices gave in the window.

    produced, stored, lost, doubled: of the whole run, balanced value by value after the buffers were drained.
    """

    interval_s: float
    readings_per_s: float
    gateway_cpu_s_per_million: float
    cloud_cpu_s_per_million: float
    gateway_rss_mb: float
    cloud_rss_mb: float
    gateway_written_bytes_per_reading: float
    produced: int
    stored: int
    lost: int
    doubled: int


def main() -> None:
    """Measure at each interval and print one JSON object a line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--intervals", default="1.0,0.1", help="seconds between two polls of a device")
    options.add_argument("--seconds", type=float, default=20.0, help="length of the measured window")
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
    broker = LocalBroker(folder, free_port())
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
        web_port = free_port()
        cloud_file.write_text(
            f'[cloud]\ndata_dir = "cloud"\n[broker]\nport = {broker.port}\n[web]\nport = {web_port}\n'
        )
        running.append(_start(folder, "cloud", "-m", "coldproof.main", "cloud", "serve", str(cloud_file)))
        _wait(lambda: _is_well(web_port))
        gateway_file = _write_gateway(folder, ports, broker.port, interval_s)
        edge_keys.load_or_make(folder / "data", GATEWAY)
        with writing(engine) as conn:
            half = gateway_keys.read_public_half(folder / "data" / edge_keys.PUBLIC_NAME)
            gateway_keys.add_gateway(conn, half, int(time.time() * 1000))
        running.append(_start(folder, "gateway", "-m", "coldproof.main", "edge", "run", str(gateway_file)))
        cloud, gateway = running[1], running[2]
        _wait(lambda: _stored(engine) > DEVICES * REGISTERS)
        time.sleep(3)
        measured = _window(folder / PRODUCED_NAME, gateway.pid, cloud.pid, seconds)
        devices = running.pop(0)
        devices.terminate()
        devices.wait(20)
        account = _drained(engine, folder / PRODUCED_NAME)
        return Figures(
            interval_s=interval_s,
            **measured,
            produced=account.produced,
            stored=account.stored,
            lost=account.lost,
            doubled=account.duplicated,
        )
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)
        engine.dispose()
        broker.stop()


def _drained(engine: Engine, log: Path) -> Account:
    """The balance of devices and record, as soon as nothing is missing any more, or after a while."""
    deadline = time.monotonic() + DRAIN_S
    while True:
        with reading(engine) as conn:
            account, _ = accounts(log, conn, {})
        if not account.lost or time.monotonic() > deadline:
            return account
        time.sleep(1)


def _window(log: Path, gateway: int, cloud: int, seconds: float) -> dict[str, float]:
    cpu_before, written_before = (_cpu_s(gateway), _cpu_s(cloud)), _written_bytes(gateway)
    from_s = time.monotonic()
    time.sleep(seconds)
    until_s = time.monotonic()
    cpu_after, written_after = (_cpu_s(gateway), _cpu_s(cloud)), _written_bytes(gateway)
    values, _ = produced(log)
    count = sum(from_s <= entry.host_s < until_s for entries in values.values() for entry in entries)
    return {
        "readings_per_s": round(count / (until_s - from_s), 1),
        "gateway_cpu_s_per_million": round((cpu_after[0] - cpu_before[0]) / count * 1e6, 1),
        "cloud_cpu_s_per_million": round((cpu_after[1] - cpu_before[1]) / count * 1e6, 1),
        "gateway_rss_mb": _rss_mb(gateway),
        "cloud_rss_mb": _rss_mb(cloud),
        "gateway_written_bytes_per_reading": round((written_after - written_before) / count, 1),
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


def _wait(claim, within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            raise SystemExit("bench: a process did not come up; nothing measured")
        time.sleep(0.1)


def _is_well(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


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


if __name__ == "__main__":
    main()
