"""Damaged files at seeded places: run_corruptions.

The real buffer leads a busy life (life.py) on record (trace.py). A point is a moment of it and one damage to what is
then on the disk: flipped bits, sectors of zeros or garbage, or a cut-off end, in the database, its write-ahead log or
the head file. The real buffer is started on it three times over, and held against what the world had seen:

- it starts, whatever the damage, and accepts a reading within RESUME_S: there is no crash loop;
- every observation it delivers is one that was produced, as it was produced;
- what is missing is declared as a loss in a signed pack; no seq that has left is signed again with other bytes.

Delivered is what the cloud has got or is still going to get by itself: what waits to be sent.

Two things no gateway can know after such a damage, and they are only counted. A write-ahead log that was cut off, or
whose very last commit was damaged, looks like one after a power cut: what was accepted there since the head file was
written, and not yet sealed, is missing without a word (`unaccepted`). And a file that fell back behind its head has
open again what was sealed in packs that may have left: it is declared as lost, and sealed once more (`doubled`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

from bench.crash.balance import Archive, balance
from bench.crash.cut import Seen, recorded
from bench.crash.disk import SECTOR_BYTES, Disk
from bench.crash.life import IDENTITY, World, open_buffer, to_send
from bench.crash.power import lives, play, put_down
from bench.crash.result import PointResult
from bench.crash.trace import Step
from edge.buffer.store import HEAD_NAME
from edge.buffer.wal import UNDER_WAY

POINTS_PER_LIFE = 30  # recorded lives are shared by so many points; every other one knows disk pressure
STARTS = 3
RESUME_S = 2.0
FILES = {"buffer.sqlite": 6, "buffer.sqlite-wal": 3, HEAD_NAME: 1}  # how often each is hit
HEADER_BYTES = 100  # of the database: every bit of it means something


def run_corruptions(count: int, seed: int, *, first: int = 0) -> list[PointResult]:
    """Points first … first + count - 1 of a seed. Raises vfs.Unreachable where SQLite cannot be traced."""
    results: list[PointResult] = []
    for root, world, steps, points in recorded(lives(first, count, POINTS_PER_LIFE), seed):
        results += [_point(root, seed, point, world, steps) for point in points]
    return results


def _point(root: Path, seed: int, point: int, world: World, steps: Sequence[Step]) -> PointResult:
    began_s = time.monotonic()
    rng = random.Random(f"corrupt {seed} {point}")
    disk, seen = Disk(str(root)), Seen()
    at = rng.randint(len(steps) // 5, len(steps))
    play(disk, steps[:at], seen.see)
    content = disk.now()
    where, damage = _damage(content, rng)
    put_down(root, content)
    world = world.fork(rng, seen.received)
    archive = Archive(IDENTITY.key.public_key())
    for envelope in seen.left:
        archive.take(envelope)
    archive.keep_only(seen.received)
    problems: list[str] = []
    for _ in range(STARTS):
        problems += asyncio.run(_start(root, world, seen))
    problems += asyncio.run(_collect(root, world, archive))
    unknowable = _unknowable(steps[:at], where, damage)
    accepted = set(seen.accepted)
    found = balance(archive, world.produced, accepted - unknowable, once=False)
    return PointResult(
        fault="corrupt",
        seed=seed,
        point=point,
        plan=f"after step {at} of {len(steps)}: {where} {damage}",
        produced=len(world.produced),
        accepted=len(seen.accepted),
        delivered=found.delivered,
        declared=found.declared,
        lost=found.lost,
        doubled=found.doubled,
        out_of_order=found.out_of_order,
        unaccepted=len(unknowable),
        problems=(*problems, *found.problems),
        seconds=time.monotonic() - began_s,
    )


def _damage(content: dict[str, bytes], rng: random.Random) -> tuple[str, str]:
    """Damage one of the files; which, and how."""
    names = {Path(path).name: path for path in content}
    usable = {name: weight for name, weight in FILES.items() if name in names and content[names[name]]}
    (name,) = rng.choices(list(usable), list(usable.values()))
    data = bytearray(content[names[name]])
    kind = rng.choice(("flip", "flip", "flip", "flips", "zeros", "garbage", "cut off"))
    place = rng.randrange(min(HEADER_BYTES, len(data)) if rng.random() < 0.15 else len(data))
    if kind in {"flip", "flips"}:
        for _ in range(1 if kind == "flip" else rng.randint(2, 20)):
            data[place] ^= 1 << rng.randrange(8)
            first, place = place, rng.randrange(len(data))
        what = f"{kind} at {first}"
    elif kind == "cut off":
        del data[place:]
        what = f"cut off at {place}"
    else:
        low = place // SECTOR_BYTES * SECTOR_BYTES
        size = min(SECTOR_BYTES * rng.choice((1, 1, 8)), len(data) - low)
        data[low : low + size] = bytes(size) if kind == "zeros" else rng.randbytes(size)
        what = f"{size} bytes of {kind} at {low}"
    content[names[name]] = bytes(data)
    return name, what


def _unknowable(steps: Sequence[Step], where: str, damage: str) -> set[int]:
    """What was accepted in a part of the log whose damage can't be told from a power cut, and not sealed since."""
    if not where.endswith("-wal"):
        return set()
    numbers: set[int] = set()
    commits = 0
    for step in reversed(steps):
        if step.kind == "accepted":
            numbers.update(step.note)
        commits += step.kind == "sync" and step.path.endswith("-wal")
        if step.kind == "rename" or (commits > UNDER_WAY and not damage.startswith("cut off")):
            break
    return numbers


async def _start(root: Path, world: World, seen: Seen) -> list[str]:
    """Start, accept a reading, and stop; what is wrong."""
    began_s = time.monotonic()
    try:
        async with open_buffer(root / "data", world) as buffer:
            reading = world.reading()
            await buffer.append([reading])
            took_s = time.monotonic() - began_s
            seen.accepted.append(world.last_number)
            await buffer.seal(world.stamp())
    except Exception as error:  # noqa: BLE001 - whatever it is, the gateway doesn't record
        return [f"it does not start: {error!r}"]
    return [f"recording went on after {took_s:.1f} s"] if took_s > RESUME_S else []


async def _collect(root: Path, world: World, archive: Archive) -> list[str]:
    """Everything that still goes to the cloud."""
    try:
        async with open_buffer(root / "data", world) as buffer:
            for pack in await to_send(buffer, world):
                archive.take(pack.envelope)
    except Exception as error:  # noqa: BLE001 - whatever it is, the gateway doesn't send
        return [f"it does not send: {error!r}"]
    return []
