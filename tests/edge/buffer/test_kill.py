"""kill -9 at seeded points, twice over the same folder: accepted observations are sealed exactly once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.buffer.base import SealOptions
from tests.edge.buffer.material import check_chain, contents, make, reading, scan, stamp
from wire.observation import Observation

ROOT = Path(__file__).parents[3]
SEED = 20260108
POINTS = 32
RANGES = {"statement": (1, 300), "before-head": (1, 12), "after-head": (1, 12), "timer": (5, 120)}

Crash = Callable[[Path, int, str, int], None]


@pytest.fixture(scope="module")
def crash() -> Iterator[Crash]:
    """Live in a folder until killed at a point; one Python start serves all of them."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.edge.buffer.crash_child"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None

    def run(folder: Path, turn: int, kind: str, count: int) -> None:
        child.stdin.write(f"{folder} {turn} {kind} {count}\n")
        child.stdin.flush()
        assert int(child.stdout.readline()) == signal.SIGKILL, "the child ended by itself"

    yield run
    child.stdin.close()
    child.wait(timeout=10)
    child.stdout.close()


def fed(n: int) -> Observation:
    return scan(n) if n % 11 == 0 else reading(n, channel=f"dev-{n % 4}/air")


@pytest.mark.parametrize("point", range(POINTS))
async def test_accepted_survives_kill_and_is_sealed_exactly_once(tmp_path: Path, crash: Crash, point: int) -> None:
    rng = random.Random(SEED + point)
    plan = []
    for turn in (1, 2):
        kind = rng.choice(list(RANGES))
        plan.append((turn, kind, rng.randint(*RANGES[kind])))
        crash(tmp_path, *plan[-1])
    where = f"seed {SEED + point}, plan {plan}"
    log = tmp_path / "accepted.log"
    accepted = [int(n) for n in log.read_text().split()] if log.exists() else []
    async with make(tmp_path, seal_options=SealOptions(max_readings=7)) as buffer:
        await buffer.append([reading(5, channel="after/all")])
        (*_, head) = await buffer.seal(stamp(99))
        assert head.stream == buffer.state().stream
        packs = await buffer.fetch([(head.stream, seq) for seq in range(1, head.last_seq + 1)])
        assert not buffer.state().set_aside, where
    assert [pack.seq for pack in packs] == list(range(1, head.last_seq + 1)), where
    check_chain(packs)
    found = contents(packs)
    assert all(count == 1 for count in found.values()), where
    assert {fed(n) for n in accepted} <= set(found), where
