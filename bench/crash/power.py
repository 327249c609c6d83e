"""What all cuts of recorded lives share: which points fall into which life, where the power goes, and what follows.

A life is on record (trace.py) before its power is cut at a place of that record, on a made-up disk (disk.py). In a part
of the points it goes on over what the disk holds, is recorded again, and the power goes again.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from bench.crash.disk import Disk
from bench.crash.trace import Step

LIVES_ON = 0.3  # share of points after whose cut life goes on and is cut again


class Life(Protocol):
    """What can be cut. root: its folder."""

    root: Path

    def see(self, step: Step) -> None:
        """A step is done: if it is a mark, the outside has seen it."""

    def look(self) -> list[str]:
        """Promises that are broken right after a cut."""

    def live_on(self, content: dict[str, bytes], rng: random.Random) -> list[Step]:
        """Go on over what the disk holds, on record; nothing when there is nothing left to do."""


def lives(first: int, count: int, each: int) -> Iterator[tuple[int, range]]:
    """The lives that points first … first + count - 1 fall into, `each` to a life: their numbers, and their points."""
    for number in range(first // each, (first + count - 1) // each + 1):
        yield number, range(max(first, number * each), min(first + count, (number + 1) * each))


def cut(
    life: Life, steps: list[Step], content: dict[str, bytes], rng: random.Random, *, near: Sequence[str]
) -> tuple[str, list[str]]:
    """Cut the power of a life that began with this content; what was done, in words, and what was broken by it.

    near: kinds of steps that a cut falls just before or after, half of the time.
    """
    plan: list[str] = []
    problems: list[str] = []
    while steps:
        at = _choose(steps, near, rng)
        disk = Disk(str(life.root), content)
        play(disk, steps[:at], life.see)
        plan.append(f"cut after step {at} of {len(steps)} ({steps[at - 1].kind})")
        content = disk.cut(rng)
        put_down(life.root, content)
        problems += life.look()
        if problems or rng.random() >= LIVES_ON:
            break
        try:
            steps = life.live_on(content, rng)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was cut does not start again
            problems.append(f"it does not live on: {error!r}")
            break
    return ", then ".join(plan), problems


def play(disk: Disk, steps: Sequence[Step], see: Callable[[Step], None]) -> None:
    """Let the disk and the outside go through these steps."""
    for step in steps:
        disk.apply(step)
        see(step)


def put_down(root: Path, content: dict[str, bytes]) -> None:
    """Make the folder what the disk holds."""
    shutil.rmtree(root)
    root.mkdir()
    for path, data in content.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)


def _choose(steps: Sequence[Step], near: Sequence[str], rng: random.Random) -> int:
    """Anywhere, or just before or after something that was seen or synced."""
    if rng.random() < 0.5:
        return rng.randint(1, len(steps))
    kind = rng.choice(near)
    places = [at for at, step in enumerate(steps) if step.kind == kind]
    return max(1, rng.choice(places) + rng.randint(0, 1)) if places else rng.randint(1, len(steps))
