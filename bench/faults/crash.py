"""Crashes by the hundred, at seeded points: bench/crash does them, here they become rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bench.account import Account
from bench.crash.cloud import run_cloud_kills
from bench.crash.corrupt import run_corruptions
from bench.crash.cut import run_power_cuts
from bench.crash.kill import run_kill_points
from bench.crash.record_cut import run_record_cuts
from bench.crash.result import PointResult, summary
from bench.faults.row import Bench, Result

CHUNK = 25  # points between two lines of progress
PROBLEM_CHARS = 200
SHOWN = 3  # failed points that a result names; each is a command that does it again

Run = Callable[..., list[PointResult]]


def points(bench: Bench, run: Run, *, full: int, quick: int, forgiven: Sequence[str] = ()) -> Result:
    """Run so many points, and add them up."""
    count = int(bench.pick(full, quick))
    results: list[PointResult] = []
    for first in range(0, count, CHUNK):
        results += run(min(CHUNK, count - first), bench.seed, first=first)
        bench.say(f"{len(results)} of {count} points, {sum(not one.passed for one in results)} failed")
    return _result(bench, results, forgiven)


gateway_kills = partial(points, run=run_kill_points, full=500, quick=16)
offline_kills = partial(points, run=partial(run_kill_points, lives=(5, 5), offline=True), full=25, quick=2)
power_cuts = partial(points, run=run_power_cuts, full=500, quick=50)
cloud_kills = partial(points, run=run_cloud_kills, full=300, quick=12)
cloud_power_cuts = partial(points, run=run_record_cuts, full=200, quick=25)
corruptions = partial(points, run=run_corruptions, full=500, quick=50, forgiven=("doubled",))


def _result(bench: Bench, results: Sequence[PointResult], forgiven: Sequence[str]) -> Result:
    sums = summary(results)
    found = Account(
        produced=sums["produced"],
        stored=sums["delivered"],
        lost=sums["lost"],
        doubled=sums["doubled"],
        out_of_order=sums["out_of_order"],
        unaccepted=sums["unaccepted"],
        declared=sums["declared"],
    )
    failed = [one for one in results if not one.passed]
    why = "; ".join(f"`{one.again}`: {', '.join(one.problems)[:PROBLEM_CHARS]}" for one in failed[:SHOWN])
    return bench.result(
        found,
        forgiven=forgiven,
        why=f"{len(failed)} of {len(results)} points failed: {why}" if failed else "",
        points=len(results),
        accepted=sums["accepted"],
        unaccepted_ms_max=sums["unaccepted_ms_max"],
    )
