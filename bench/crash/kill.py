"""kill -9 of the real gateway at seeded points: run_kill_points.

A point is a fresh gateway with one to three lives. In each, the whole gateway (agent, supervisors, intake, buffer,
uplink) runs in a forked process against a real broker, with devices that count (device.py), and dies by SIGKILL at
the n-th hit of a hook of one phase (gateway_child.py):

    open      SQL statements from the first connection on: opening, migrating, choosing the stream
    poll      before a device is asked, after it has answered       scan      the same of a scanner, after its beep
    commit    SQL statements of a group commit, and around it       seal      of sealing
    head      around the steps of replacing the head file           publish   around a publish, a PUBACK, reading packs
    release   SQL statements of taking in a receipt, and around it  io        between any two file operations of SQLite
    timer     anywhere

A part of the points begins with a buffer file of the first release, which has to be migrated; in a part of the lives
the disk is full now and then. Afterwards everything the cloud ever got and everything the buffer still holds is
balanced (balance.py) against what the devices gave and the gateway accepted. A quarter of the points is drained by a
last, orderly life instead, which has to leave the buffer empty. Timing is the machine's: the same point is the same
plan, not the same instruction.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.crash.balance import Archive, balance
from bench.crash.device import Produced, read_accepted, read_produced, read_refused
from bench.crash.gateway_child import MIN_FREE_BYTES, Life
from bench.crash.nursery import Nursery
from bench.crash.old_file import leave_old_file
from bench.crash.receipting import ReceiptingCloud
from bench.crash.result import PointResult
from coldproof.demo.broker import LocalBroker, free_port
from edge.agent import BUFFER_NAME
from edge.buffer.base import SealedPack
from edge.buffer.sqlite import SqliteBuffer
from edge.keys import Identity, load_or_make
from wire.observation import ClockState, Reading, Stamp

RANGES = {
    "open": (1, 60),
    "poll": (1, 120),
    "scan": (1, 14),
    "commit": (1, 160),
    "seal": (1, 160),
    "head": (1, 30),
    "publish": (1, 60),
    "release": (1, 80),
    "io": (1, 260),
    "timer": (1, 400),
}
UPGRADES = 0.15  # share of points that begin with a file of the first release
OFFLINE = ("open", "poll", "scan", "commit", "seal", "io", "timer")  # what there is to hit without a broker
WINDOW_MS = 50
AT_RISK_MS = WINDOW_MS + 450  # a poll may be under way, and a busy machine holds everybody up

_CONFIG = """\
[gateway]
name = "{name}"
data_dir = "data"
[uplink]
host = "127.0.0.1"
port = {port}
cloud_key = "cloud-public.json"
retry_s = 1
[buffer]
commit_window_ms = {window_ms}
min_free_bytes = {min_free_bytes}
[seal]
after_s = 0.06
max_readings = 20
"""


def run_kill_points(
    count: int, seed: int, *, first: int = 0, lives: tuple[int, int] = (1, 3), offline: bool = False
) -> list[PointResult]:
    """Points first … first + count - 1 of a seed, each with `lives` (at least, at most) kills in a row.

    offline: no broker is there until all lives are over.
    """
    with tempfile.TemporaryDirectory(prefix="kill-") as folder, _Site(Path(folder), seed) as site:
        results = [_point(site, seed, point, lives, offline=offline) for point in range(first, first + count)]
        return [site.with_late_letters(result) for result in results]


class _Site:
    """What all points share: a broker, a cloud, a key, and a warm process to fork gateways from."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.identity = load_or_make(folder / "keys", "gw-crash")
        self.broker = LocalBroker(folder, free_port())
        self._nursery = Nursery("bench.crash.gateway_child")
        self._seed = seed

    def __enter__(self) -> _Site:
        self.broker.start()
        key = self.identity.key.public_key()
        self.cloud = ReceiptingCloud(self.broker.host, self.broker.port, key, random.Random(self._seed))
        self._nursery.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._nursery.__exit__()
        self.cloud.close()
        self.broker.stop()

    def gateway(self, name: str, *, online: bool) -> Path:
        """The folder of a new gateway."""
        folder = self.folder / name
        shutil.copytree(self.folder / "keys", folder / "data")
        self.cloud.write_public_half(folder / "cloud-public.json")
        self.configure(folder, online=online)
        return folder

    def configure(self, folder: Path, *, online: bool) -> None:
        """Point the gateway at the broker, or at a port nobody listens on."""
        port = self.broker.port if online else free_port()
        (folder / "gateway.toml").write_text(
            _CONFIG.format(name=folder.name, port=port, window_ms=WINDOW_MS, min_free_bytes=MIN_FREE_BYTES)
        )

    def live(self, life: Life) -> int:
        """Run a life; the signal that ended it, 0 for an orderly end, negative for an error."""
        self._nursery.begin(life)
        return self._nursery.wait()

    def archive(self, name: str, held: Sequence[SealedPack]) -> Archive:
        """Everything the cloud has of a gateway, with what its buffer holds put in."""
        with self.cloud.lock:
            together = Archive(self.identity.key.public_key())
            for envelope in self.cloud.archives[name].envelopes.values():
                together.take(envelope)
            together.problems += self.cloud.archives[name].problems
        for pack in held:
            together.take(pack.envelope)
        return together

    def with_late_letters(self, result: PointResult) -> PointResult:
        """A letter of a dead gateway may come late and contradict."""
        with self.cloud.lock:
            late = [each for each in self.cloud.archives[_name(result.point)].problems if each not in result.problems]
        return msgspec.structs.replace(result, problems=(*result.problems, *late)) if late else result


def _point(site: _Site, seed: int, point: int, lives: tuple[int, int], *, offline: bool) -> PointResult:
    began_s = time.monotonic()
    rng = random.Random(f"kill {seed} {point}")
    name = _name(point)
    folder = site.gateway(name, online=not offline)
    upgrade = rng.random() < UPGRADES
    if upgrade:
        leave_old_file(folder, name)
    plan = _plan(rng, folder, lives, offline=offline, upgrade=upgrade)
    drain = rng.random() < 0.25
    problems = []
    for life in plan:
        end = site.live(life)
        if end != signal.SIGKILL:
            problems.append(f"life {life.number} ended by itself: {end}")
    site.configure(folder, online=True)
    if drain and site.live(Life(str(folder), 0, "drain", 0)) != 0:
        problems.append("the last life did not drain")
    held, aside, left = asyncio.run(_held(folder, msgspec.structs.replace(site.identity, gateway=name)))
    if aside:
        problems.append(f"a kill is no reason to set a file aside: {aside}")
    if drain and left:
        problems.append(f"{left} packs were left after draining")
    numbers = range(len(plan) + 1)
    produced = {each.number: each for number in numbers for each in read_produced(folder, number)}
    accepted = {each for number in numbers for each in read_accepted(folder, number)}
    refused = {each for number in numbers for each in read_refused(folder, number)}
    found = balance(site.archive(name, held), {n: each.observation for n, each in produced.items()}, accepted)
    unaccepted_ms = max(_unaccepted_ms(folder, life.number) for life in plan)
    if unaccepted_ms > AT_RISK_MS:
        problems.append(f"readings of {unaccepted_ms:.0f} ms were at risk, the window is {WINDOW_MS} ms")
    shutil.rmtree(folder)
    return PointResult(
        fault="kill",
        seed=seed,
        point=point,
        plan=_words(plan, upgrade=upgrade, drain=drain),
        produced=len(produced),
        accepted=len(accepted),
        delivered=found.delivered,
        declared=found.declared,
        lost=found.lost,
        doubled=found.doubled,
        out_of_order=found.out_of_order,
        unaccepted=len(produced.keys() - accepted - refused),
        unaccepted_ms=unaccepted_ms,
        problems=(*problems, *found.problems),
        seconds=time.monotonic() - began_s,
    )


def _plan(rng: random.Random, folder: Path, lives: tuple[int, int], *, offline: bool, upgrade: bool) -> list[Life]:
    phases = OFFLINE if offline else tuple(RANGES)
    plan = []
    for number in range(1, rng.randint(*lives) + 1):
        phase = "open" if upgrade and rng.random() < 0.5 else rng.choice(phases)
        plan.append(Life(str(folder), number, phase, rng.randint(*RANGES[phase]), tight=rng.random() < 0.2))
    return plan


def _words(plan: Sequence[Life], *, upgrade: bool, drain: bool) -> str:
    lives = [f"{life.phase} {life.count}{' on a tight disk' if life.tight else ''}" for life in plan]
    return ", then ".join(["an old file"] * upgrade + lives + ["drained"] * drain)


def _unaccepted_ms(folder: Path, life: int) -> float:
    """Over how long the readings were produced that a life did not accept."""
    answered = read_accepted(folder, life) | read_refused(folder, life)
    lost = [each for each in _readings(folder, life) if each.number not in answered]
    return (lost[-1].at_ns - lost[0].at_ns) / 1e6 if lost else 0.0


def _readings(folder: Path, life: int) -> Iterator[Produced]:
    return (each for each in read_produced(folder, life) if isinstance(each.observation, Reading))


async def _held(folder: Path, identity: Identity) -> tuple[list[SealedPack], tuple[str, ...], int]:
    """Every pack the buffer still has, after sealing what is open; what was set aside; how many wait to be sent."""
    async with SqliteBuffer(folder / "data" / BUFFER_NAME, identity) as buffer:
        left = buffer.state().unsent_packs + (buffer.state().open_observations > 0)
        await buffer.seal(Stamp(time.time_ns() // 1_000_000, 0, bytes(16), ClockState.SYNCED))
        head = buffer.state()
        names = await buffer.held(head.stream, [(1, head.head_seq)], limit=head.head_seq) if head.head_seq else []
        return await buffer.fetch(names), head.set_aside, left


def _name(point: int) -> str:
    return f"gw-{point}"
