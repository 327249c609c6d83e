"""What the gateway costs: `make bench`. 20 counting devices × 10 registers, a request per device, real processes.

Every figure is measured on the running gateway, and every reading is balanced in the end. The same steps are done
with thingsboard-gateway in the same run where they apply, for the ratio. Results: bench/results/performance.json, and
the table in bench/README.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from bench.account import Account, account
from bench.broker import Mosquitto, Shipped
from bench.faults.peer import PeerHouse, is_installed
from bench.faults.row import OURS, PEER
from bench.field import Field
from bench.figure import RESULTS, Figure, store, table, write_readme
from bench.house import House, Tables
from bench.line import Line
from bench.process import Cost, cost
from bench.system import Place, System
from edge.health import read_health

WARM_S = 10.0
DRAIN_S = 120.0
QUIET_S = 20.0  # nothing has come for so long: the rest will not
PAGE_BYTES = 4096
BACKLOG_TARGET = 20_000


class Load(NamedTuple):
    """One way of working. registers per device, all devices polled every `interval_s`."""

    name: str
    interval_s: float
    registers: int = 10
    extra: Tables = MappingProxyType({})

    @property
    def readings_per_s(self) -> float:
        """What is offered."""
        return 20 * self.registers / self.interval_s


class Measured(NamedTuple):
    """What a window of work cost."""

    seconds: float
    times_s: list[float]  # when readings were given
    stored: int
    before: Cost
    after: Cost
    account: Account

    @property
    def readings(self) -> int:
        """Given in the window."""
        return len(self.times_s)

    def windows(self, window_ms: int) -> int:
        """How many commit windows hold a reading: one opens with the first reading after the one before."""
        count, open_until_s = 0, 0.0
        for at_s in self.times_s:
            if at_s > open_until_s:
                count, open_until_s = count + 1, at_s + window_ms / 1000
        return count

    @property
    def cpu_s(self) -> float:
        """Of the gateway, in the window."""
        return self.after.cpu_s - self.before.cpu_s

    @property
    def written(self) -> float:
        """Bytes per reading."""
        return (self.after.written_bytes - self.before.written_bytes) / max(1, self.readings)


FULL = Load("full", 0.05)
FAST = Load("2,000/s", 0.1)
SLOW = Load("20/s, window 250 ms", 1.0, registers=1)
SLOW_WIDE = Load("20/s, window 1 s", 1.0, registers=1, extra={"buffer": {"commit_window_ms": 1000}})
PEER_FULL = Load("full", 0.1)  # faster, and it loses more of what it polls


def main() -> int:
    """The exit status: 0 when every target of ours is met."""
    options = argparse.ArgumentParser(prog="python -m bench.performance", description=__doc__)
    options.add_argument("--quick", action="store_true", help="shorter windows; the peer's stored figures")
    options.add_argument("--only", nargs="*", default=[], choices=[*_PARTS], help="these parts")
    options.add_argument("--no-peer", action="store_true")
    options.add_argument("--readme", action="store_true", help="renew the table in bench/README.md")
    options.add_argument("--results", type=Path, default=RESULTS)
    chosen = options.parse_args()
    peer = is_installed() and not chosen.quick and not chosen.no_peer
    figures: list[Figure] = []
    for name, part in _PARTS.items():
        if chosen.only and name not in chosen.only:
            continue
        for figure in part(_Run(chosen.quick, peer)):
            told = msgspec.structs.replace(
                figure, at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), quick=chosen.quick
            )
            print(msgspec.json.encode(told).decode(), flush=True)
            figures = store(told, chosen.results)
    print("\n" + table(figures))
    if chosen.readme:
        write_readme(figures)
    return int(any(not one.holds for one in figures if one.system == OURS))


class _Run(NamedTuple):
    quick: bool
    peer: bool

    def window_s(self, full: float, quick: float) -> float:
        return quick if self.quick else full

    @property
    def systems(self) -> list[str]:
        return [OURS, PEER] if self.peer else [OURS]


class _Works(NamedTuple):
    system: System
    field: Field
    line: Line
    folder: Path


@contextmanager
def _working(load: Load, name: str, *, devices: bool = True) -> Iterator[_Works]:
    """A system under a load, warm."""
    folder = Path(tempfile.mkdtemp(prefix="coldproof-bench-"))
    try:
        with Field(folder / "field", registers=load.registers) as field:
            ours = name == OURS
            broker = Shipped(folder, folder / "house" / "cloud") if ours else Mosquitto(folder)
            broker.start()
            try:
                with Line(broker.port) as line:
                    place = Place(
                        folder / "house",
                        field.devices if devices else [],
                        broker_port=broker.port,
                        uplink_port=line.port,
                        cloud_tables=broker.cloud_tables if isinstance(broker, Shipped) else "",
                        interval_s=load.interval_s,
                        registers=load.registers,
                    )
                    system: System = House(place, extra=load.extra) if ours else PeerHouse(place)
                    try:
                        system.start()
                        yield _Works(system, field, line, folder)
                    finally:
                        system.close()
            finally:
                broker.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(load: Load, name: str, window_s: float) -> Measured:
    """What a window of a load costs a system, from its start to the last reading that it stored."""
    with _working(load, name) as works:
        time.sleep(WARM_S)
        pid = works.system.gateway_pid()
        stored, before, from_s = works.system.count(), cost(pid), time.monotonic()
        time.sleep(window_s)
        until_s, after, kept = time.monotonic(), cost(pid), works.system.count()
        works.field.stop()
        return Measured(
            seconds=until_s - from_s,
            times_s=works.field.times_between(from_s, until_s),
            stored=kept - stored,
            before=before,
            after=after,
            account=_drained(works),
        )


def _drained(works: _Works) -> Account:
    given = works.field.made()
    expected = sum(map(len, given.values()))
    deadline = time.monotonic() + DRAIN_S
    while works.system.count() < expected and time.monotonic() < deadline:
        time.sleep(1)
    return account(given, works.system.stored())


def _balance(found: Account) -> str:
    return f"of {found.produced:,}: {found.lost} lost, {found.doubled} doubled"


def _throughput(run: _Run) -> Iterator[Figure]:
    """How much goes from the devices to the record, and for how much CPU and memory."""
    window_s = run.window_s(60, 15)
    for system in run.systems:
        found = measure(FULL if system == OURS else PEER_FULL, system, window_s)
        yield Figure(
            "poll → committed at the cloud",
            system,
            round(found.stored / found.seconds),
            "readings/s",
            at_least=2_000,
            note=_balance(found.account),
        )
        yield Figure(
            "CPU of the gateway under that load",
            system,
            round(found.cpu_s / found.readings * 1e5, 1),
            "s per 100k readings",
            at_most=12,
        )
        yield Figure("RSS of the gateway under that load", system, found.after.rss_mb, "MB", at_most=60)


def _at_rest(run: _Run) -> Iterator[Figure]:
    """Nothing to poll."""
    for system in run.systems:
        with _working(Load("idle", 1.0), system, devices=False) as works:
            time.sleep(WARM_S)
            pid = works.system.gateway_pid()
            before, from_s = cost(pid), time.monotonic()
            time.sleep(run.window_s(60, 20))
            used = (cost(pid).cpu_s - before.cpu_s) / (time.monotonic() - from_s)
        yield Figure("idle: CPU", system, round(used * 100, 2), "% of a core", at_most=1.0)


def _disk(run: _Run) -> Iterator[Figure]:
    """Bytes written per reading, beside the floor: one page of 4 KiB per commit window with readings in it."""
    for load, window_ms, target in ((SLOW, 250, 2_000), (SLOW_WIDE, 1000, 700), (FAST, 250, 150)):
        for system in run.systems if load is not SLOW_WIDE else [OURS]:
            found = measure(load, system, run.window_s(60, 30))
            floor = PAGE_BYTES * found.windows(window_ms) / found.readings
            yield Figure(
                f"bytes written per reading at {load.name}",
                system,
                round(found.written),
                "B",
                at_most=target,
                note=f"floor of any format: {floor:,.0f}; {_balance(found.account)}",
            )


def _syncs(run: _Run) -> Iterator[Figure]:
    """fsync and fdatasync calls, counted by strace."""
    if shutil.which("strace") is None:
        print("strace is not installed: fsync calls are not counted", file=sys.stderr)
        return
    for system in run.systems:
        with _working(SLOW, system) as works:
            time.sleep(WARM_S)
            window_s = run.window_s(600 if system == OURS else 60, 60)
            out = works.folder / "strace.txt"
            words = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(out)]
            tracer = subprocess.Popen([*words, "-p", str(works.system.gateway_pid())], stderr=subprocess.DEVNULL)
            time.sleep(window_s)
            tracer.terminate()
            tracer.wait(20)
            rows = [text.split() for text in out.read_text().splitlines()]
            calls = sum(int(row[3]) for row in rows if row and row[-1] in {"fsync", "fdatasync"})
        yield Figure(
            "fsync calls at 20/s, window 250 ms",
            system,
            round(calls / window_s, 2),
            "per s",
            at_most=5,
            note=f"over {window_s:.0f} s; every commit is one",
        )


def _drain(run: _Run) -> Iterator[Figure]:
    """A backlog of full packs, with the backfill limit lifted and nothing else to do."""
    for system in run.systems:
        extra: Tables = {"uplink": {"backfill_readings_per_s": 1_000_000}}
        with _working(Load("backlog", 0.05 if system == OURS else 0.2, extra=extra), system) as works:
            works.line.refuse()
            time.sleep(run.window_s(60, 20))
            works.field.stop()
            time.sleep(5)
            pid, made, kept = works.system.gateway_pid(), works.field.count(), works.system.count()
            sent, before, from_s = works.line.carried_up, cost(pid), time.monotonic()
            works.line.admit()
            while works.system.count() == kept and time.monotonic() - from_s < DRAIN_S:
                time.sleep(0.02)
            first_s = time.monotonic()
            have, last_s = works.system.count(), first_s
            while have < made and time.monotonic() - last_s < QUIET_S:
                time.sleep(0.05)
                if (now := works.system.count()) > have:
                    have, last_s = now, time.monotonic()
            took_s, used = last_s - first_s, cost(pid).cpu_s - before.cpu_s
            told = f"{have - kept:,} readings in {took_s:.1f} s"
            if isinstance(works.system, House):
                time.sleep(6)  # until the gateway has told its counts
                counts = read_health(works.system.data).uplink.counts
                told += f"; {counts.get('packs_sent_again', 0)} of {counts.get('packs_sent', 0)} packs sent again"
            found = account(works.field.made(), works.system.stored())
            sent = works.line.carried_up - sent
        told += f"; {sent / max(1, have - kept):.1f} B/reading on the line; {_balance(found)}"
        yield Figure(
            "drain of a backlog, limit lifted",
            system,
            round((have - kept) / took_s),
            "readings/s",
            at_least=BACKLOG_TARGET,
            note=told,
        )
        yield Figure(
            "CPU of the gateway while it drains", system, round(used / (have - kept) * 1e5, 2), "s per 100k readings"
        )


_PARTS: dict[str, Callable[[_Run], Iterator[Figure]]] = {
    "throughput": _throughput,
    "idle": _at_rest,
    "disk": _disk,
    "fsync": _syncs,
    "drain": _drain,
}


if __name__ == "__main__":
    sys.exit(main())
