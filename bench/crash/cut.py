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

In a part of the points the gateway lives on, is recorded again, and the power goes again. All is derived from the
seed: the same point is the same cut of the same record (but for SQLite's own random salts).
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.crash.balance import Archive, balance, is_misfortune
from bench.crash.disk import Disk
from bench.crash.life import IDENTITY, World, everything, frequent_checkpoints, live, open_buffer
from bench.crash.result import PointResult
from bench.crash.trace import Recorder, Step
from edge.buffer.base import PackName
from edge.buffer.head import HeadFile
from edge.buffer.store import HEAD_NAME

LONG_LIFE, SHORT_LIFE = 260, 30  # actions
POINTS_PER_LIFE = 40  # recorded lives are shared by so many points; every other one knows disk pressure
LIVES_ON = 0.3  # share of points after whose cut the gateway lives on and is cut again


class Seen(msgspec.Struct):
    """What the world had seen before a cut. received: of what left, what reached the cloud."""

    accepted: list[int] = []
    left: list[bytes] = []
    received: list[PackName] = []


class _Recorded(msgspec.Struct, frozen=True):
    """A life on record."""

    world: World
    steps: list[Step]


def run_power_cuts(count: int, seed: int, *, first: int = 0) -> list[PointResult]:
    """Points first … first + count - 1 of a seed. Raises vfs.Unreachable where SQLite cannot be traced."""
    results: list[PointResult] = []
    with frequent_checkpoints():
        for number in range(first // POINTS_PER_LIFE, (first + count - 1) // POINTS_PER_LIFE + 1):
            low, high = number * POINTS_PER_LIFE, (number + 1) * POINTS_PER_LIFE
            points = range(max(first, low), min(first + count, high))
            with tempfile.TemporaryDirectory(prefix="cut-") as root:
                results += _cut_one_life(Path(root) / "site", seed, number, points)
    return results


def _cut_one_life(root: Path, seed: int, number: int, points: Sequence[int]) -> list[PointResult]:
    root.mkdir()
    world = World(random.Random(f"life {seed} {number}"), tight=number % 2 == 1)
    steps = record(root, world, LONG_LIFE)
    return [_point(root, seed, point, _Recorded(world, steps)) for point in points]


def record(root: Path, world: World, actions: int) -> list[Step]:
    """Live in the folder, and say what was done to it."""
    with Recorder(root, world.rng) as record:
        asyncio.run(live(root / "data", world, actions, record.mark))
    return record.steps


def _point(root: Path, seed: int, point: int, recorded: _Recorded) -> PointResult:
    began_s = time.monotonic()
    rng = random.Random(f"cut {seed} {point}")
    world, steps = recorded.world, recorded.steps
    seen = Seen()
    disk = Disk(str(root))
    plan = []
    problems: list[str] = []
    while True:
        at = _choose(steps, rng)
        play(disk, steps[:at], seen)
        plan.append(f"cut after step {at} of {len(steps)} ({steps[at - 1].kind})")
        content = disk.cut(rng)
        put_down(root, content)
        if rng.random() >= LIVES_ON:
            break
        world = world.fork(rng, seen.received)
        try:
            steps = record(root, world, SHORT_LIFE)
        except Exception as error:  # noqa: BLE001 - whatever it is, the gateway doesn't start again
            problems.append(f"the gateway does not live on: {error!r}")
            break
        disk = Disk(str(root), content)
    archive = Archive(IDENTITY.key.public_key())
    for envelope in seen.left:
        archive.take(envelope)
    left = list(archive.packs)
    archive.keep_only(seen.received)
    if not problems:
        problems += _head_problems(root, world, left)
        problems += asyncio.run(_look(root, world, archive))
    found = balance(archive, world.produced, seen.accepted)
    return PointResult(
        fault="cut",
        seed=seed,
        point=point,
        plan=", then ".join(plan),
        produced=len(world.produced),
        accepted=len(seen.accepted),
        delivered=found.delivered,
        declared=found.declared,
        lost=found.lost,
        doubled=found.doubled,
        out_of_order=found.out_of_order,
        unaccepted=0,
        unaccepted_ms=0.0,
        problems=(*problems, *found.problems),
        seconds=time.monotonic() - began_s,
    )


def _choose(steps: list[Step], rng: random.Random) -> int:
    """Anywhere, or just before or after something the world has seen or that was synced."""
    if rng.random() < 0.5:
        return rng.randint(1, len(steps))
    kind = rng.choice(("accepted", "left", "sync", "rename", "sync_folder", "unlink", "truncate"))
    places = [at for at, step in enumerate(steps) if step.kind == kind]
    return max(1, rng.choice(places) + rng.randint(0, 1)) if places else rng.randint(1, len(steps))


def play(disk: Disk, steps: Sequence[Step], seen: Seen) -> None:
    """Let the disk and the world go through these steps."""
    for step in steps:
        if step.kind == "accepted":
            seen.accepted += step.note
        elif step.kind == "left":
            seen.left.append(step.note)
        elif step.kind == "received":
            seen.received.append(step.note)
        else:
            disk.apply(step)


def put_down(root: Path, content: dict[str, bytes]) -> None:
    """Make the folder what the disk holds."""
    shutil.rmtree(root)
    root.mkdir()
    for path, data in content.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


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
