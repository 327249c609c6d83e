"""Power cuts at seeded points of a recorded life: run_power_cuts.

The real buffer (SQLite file, head file) leads a busy life (life.py) while every write, sync and rename is recorded
(trace.py). A point is a place in that record: the power goes there, and a disk (disk.py) is made up that holds what
was synced and any part of the rest. The real buffer is opened on it, and held against what the world had seen by
then:

- it opens, and sets nothing aside: neither SQLite nor we may need a repair after a power cut;
- every observation that was accepted is there or has left, once;
- the head beside the file names what has left, or something later;
- the chain is whole, no seq that has left is signed again with other bytes; no loss is declared but of what gave way
  under disk pressure.

In a part of the points the gateway lives on and is cut again (power.py). All is derived from the seed: the same point
is the same cut of the same record (but for SQLite's own random salts).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from bench.crash.balance import Archive, balance, is_misfortune
from bench.crash.life import IDENTITY, World, everything, frequent_checkpoints, live, open_buffer
from bench.crash.power import cut, lives
from bench.crash.result import PointResult
from bench.crash.trace import Recorder, Step
from edge.buffer.base import PackName
from edge.buffer.head import HeadFile
from edge.buffer.store import HEAD_NAME

LONG_LIFE, SHORT_LIFE = 260, 30  # actions
POINTS_PER_LIFE = 40  # recorded lives are shared by so many points; every other one knows disk pressure
NEAR = ("accepted", "left", "sync", "rename", "sync_folder", "unlink", "truncate")  # steps that cuts fall beside


class Seen(msgspec.Struct):
    """What the world had seen before a cut. received: of what left, what reached the cloud."""

    accepted: list[int] = []
    left: list[bytes] = []
    received: list[PackName] = []

    def see(self, step: Step) -> None:
        """A step is done: if it is a mark, the world has seen it."""
        if step.kind == "accepted":
            self.accepted += step.note
        elif step.kind == "left":
            self.left.append(step.note)
        elif step.kind == "received":
            self.received.append(step.note)


class _Life:
    """A life on record, as one point cuts it."""

    def __init__(self, root: Path, world: World) -> None:
        self.root = root
        self.world = world
        self.seen = Seen()
        self.see = self.seen.see

    def look(self) -> list[str]:
        """Nothing: opening the buffer is living on."""
        return []

    def live_on(self, _content: dict[str, bytes], rng: random.Random) -> list[Step]:
        """The gateway starts again, in a world that has had no more than it has had."""
        self.world = self.world.fork(rng, self.seen.received)
        return record(self.root, self.world, SHORT_LIFE)


def run_power_cuts(count: int, seed: int, *, first: int = 0) -> list[PointResult]:
    """Points first … first + count - 1 of a seed. Raises vfs.Unreachable where SQLite cannot be traced."""
    results: list[PointResult] = []
    for root, world, steps, points in recorded(lives(first, count, POINTS_PER_LIFE), seed):
        results += [_point(_Life(root, world), steps, seed, point) for point in points]
    return results


def recorded(numbered: Iterable[tuple[int, range]], seed: int) -> Iterator[tuple[Path, World, list[Step], range]]:
    """The long lives of a seed by their numbers, each with its folder, what was done to it, and its points."""
    with frequent_checkpoints():
        for number, points in numbered:
            with tempfile.TemporaryDirectory(prefix="crash-") as folder:
                root = Path(folder) / "site"
                root.mkdir()
                world = World(random.Random(f"life {seed} {number}"), tight=number % 2 == 1)
                yield root, world, record(root, world, LONG_LIFE), points


def record(root: Path, world: World, actions: int) -> list[Step]:
    """Live in the folder, and say what was done to it."""
    with Recorder(root, world.rng) as record:
        asyncio.run(live(root / "data", world, actions, record.mark))
    return record.steps


def _point(life: _Life, steps: list[Step], seed: int, point: int) -> PointResult:
    began_s = time.monotonic()
    plan, problems = cut(life, steps, {}, random.Random(f"cut {seed} {point}"), near=NEAR)
    archive = Archive(IDENTITY.key.public_key())
    for envelope in life.seen.left:
        archive.take(envelope)
    left = list(archive.packs)
    archive.keep_only(life.seen.received)
    if not problems:
        problems += _head_problems(life.root, life.world, left)
        problems += asyncio.run(_look(life.root, life.world, archive))
    found = balance(archive, life.world.produced, life.seen.accepted)
    return PointResult(
        fault="cut",
        seed=seed,
        point=point,
        plan=plan,
        produced=len(life.world.produced),
        accepted=len(life.seen.accepted),
        delivered=found.delivered,
        declared=found.declared,
        lost=found.lost,
        doubled=found.doubled,
        out_of_order=found.out_of_order,
        problems=(*problems, *found.problems),
        seconds=time.monotonic() - began_s,
    )


def _head_problems(root: Path, world: World, left: Sequence[PackName]) -> list[str]:
    """The head beside the file names the last pack that left, or a later one."""
    streams = [stream for stream in world.streams if any(name[0] == stream for name in left)]
    if not streams:
        return []
    head = HeadFile(root / "data" / HEAD_NAME).read()
    if head is None:
        return ["packs have left, and there is no head beside the file"]
    newest = streams[-1]
    seq = max(seq for stream, seq in left if stream == newest)
    named = head.chain
    if named.stream == newest:
        return [] if named.last_seq >= seq else [f"seq {seq} has left, the head beside the file names {named.last_seq}"]
    younger = named.stream not in world.streams or world.streams.index(named.stream) > world.streams.index(newest)
    return [] if younger else ["the head beside the file names an older stream than the one that has left"]


async def _look(root: Path, world: World, archive: Archive) -> list[str]:
    """Open the buffer, put all it has into the archive; what is wrong."""
    problems = []
    try:
        async with open_buffer(root / "data", world) as buffer:
            if buffer.state().set_aside:
                problems.append(f"a file was set aside: {buffer.state().set_aside}")
            for pack in await everything(buffer, world):
                archive.take(pack.envelope)
    except Exception as error:  # noqa: BLE001 - whatever it is, the gateway doesn't start
        problems.append(f"the buffer does not open: {error!r}")
    losses = [loss for pack in archive.packs.values() for loss in pack.losses if is_misfortune(loss)]
    problems += [f"a loss was declared: {loss.reason}, seq {loss.first_seq}–{loss.last_seq}" for loss in losses]
    return problems
