"""What became of one crash point, and of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class PointResult(msgspec.Struct, frozen=True, kw_only=True):
    """One point. Observations are counted over all lives of the gateway at this point.

    plan: what was done to it, in words. produced: what devices gave. accepted: what the gateway said it has.
    delivered: in a pack that left, or that is still in the buffer. declared: left out by a signed loss or thinning.
    lost: accepted, and neither delivered nor declared. unaccepted: produced and not accepted, which a crash may cost;
    unaccepted_ms: the longest time over which such readings of one life were produced. problems: every broken promise.
    """

    fault: str
    seed: int
    point: int
    plan: str
    produced: int
    accepted: int
    delivered: int
    declared: int = 0
    lost: int
    doubled: int
    out_of_order: int = 0
    unaccepted: int = 0
    unaccepted_ms: float = 0.0
    problems: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.problems

    @property
    def again(self) -> str:
        """The command that does this point again."""
        return f"python -m bench.crash {self.fault} --seed {self.seed} --point {self.point}"


def summary(results: Sequence[PointResult]) -> dict[str, Any]:
    """One row for a table: sums over the points, and how to see the failed ones again."""
    failed = [result for result in results if not result.passed]
    sums = {
        name: sum(getattr(result, name) for result in results)
        for name in ("produced", "accepted", "delivered", "declared", "lost", "doubled", "out_of_order", "unaccepted")
    }
    return {
        "fault": results[0].fault if results else "",
        "seed": results[0].seed if results else 0,
        "points": len(results),
        **sums,
        "unaccepted_ms_max": max((round(result.unaccepted_ms) for result in results), default=0),
        "seconds": round(sum(result.seconds for result in results), 1),
        "pass": bool(results) and not failed,
        "failed": [{"again": result.again, "plan": result.plan, "problems": result.problems} for result in failed],
    }


def complaint(results: Sequence[PointResult]) -> str:
    """Every failed point in words, for an assertion; empty when there is none."""
    return "\n".join(
        f"{result.again}\n  {result.plan}\n  " + "\n  ".join(result.problems) for result in results if not result.passed
    )
