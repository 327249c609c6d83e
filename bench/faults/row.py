"""A row of the fault bench, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.account import Account

OURS = "coldproof"
PEER = "thingsboard-gateway"
RESUME_MAX_S = 2.0


class Result(msgspec.Struct, frozen=True, kw_only=True, rename={"passed": "pass"}):
    """One row of faults.json. resume_s: from the end of the fault to the first readings stored; None: not asked.

    unaccepted: given within a commit window of a kill, and not there. declared: left out, and a signed loss says so.
    details: what this row alone has to tell; `why` says why it failed, or was skipped (passed is None then).
    """

    fault: str
    system: str
    seed: int
    produced: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    unaccepted: int = 0
    declared: int = 0
    resume_s: float | None = None
    passed: bool | None
    quick: bool = False
    seconds: float = 0.0
    at: str = ""
    details: dict[str, Any] = {}


class Bench(NamedTuple):
    """What a row is run with. pick(long, quick): the longer or the shorter form of anything."""

    fault: str
    system: str
    seed: int
    quick: bool
    folder: Path
    say: Callable[[str], None]

    def pick(self, full: float, quick: float) -> float:
        """A number for this kind of run."""
        return quick if self.quick else full

    def result(
        self,
        account: Account,
        *,
        resume_s: float | None = None,
        resume_at_most_s: float = RESUME_MAX_S,
        forgiven: Collection[str] = (),
        why: str = "",
        **details: Any,
    ) -> Result:
        """A result by the account. forgiven: counts that this row tells and does not judge; why: what else is wrong."""
        reasons = [why] if why else []
        reasons += [
            f"{count} {name}"
            for name in ("lost", "doubled", "foreign", "out_of_order", "mistimed")
            if (count := getattr(account, name)) and name not in forgiven
        ]
        if resume_s is not None and resume_s > resume_at_most_s:
            reasons.append(f"resumed after {resume_s:.1f} s")
        shown = {"foreign": account.foreign, "mistimed": account.mistimed, "worst_ms": account.worst_ms, **details}
        return Result(
            fault=self.fault,
            system=self.system,
            seed=self.seed,
            produced=account.produced,
            stored=account.stored,
            lost=account.lost,
            doubled=account.doubled,
            out_of_order=account.out_of_order,
            unaccepted=account.unaccepted,
            declared=account.declared,
            resume_s=resume_s,
            passed=not reasons,
            details={**shown, **({"why": "; ".join(reasons)} if reasons else {})},
        )

    def failed(self, why: str) -> Result:
        """A row that could not be brought to its end."""
        return Result(fault=self.fault, system=self.system, seed=self.seed, passed=False, details={"why": why})

    def skipped(self, why: str) -> Result:
        """A row that this machine cannot run."""
        return Result(fault=self.fault, system=self.system, seed=self.seed, passed=None, details={"why": why})


class Row(NamedTuple):
    """must: what has to hold, in words. peer: whether the fault can be tried on the peer as well."""

    name: str
    must: str
    run: Callable[[Bench], Result]
    peer: bool = False


def run(row: Row, bench: Bench) -> Result:
    """Run one row; whatever goes wrong in it is its result, never the end of the others."""
    began_s = time.monotonic()
    try:
        result = row.run(bench)
    except Exception as error:  # noqa: BLE001 - a row that breaks is a failed row
        result = bench.failed(f"{type(error).__name__}: {error}")
    return msgspec.structs.replace(
        result,
        quick=bench.quick,
        seconds=round(time.monotonic() - began_s, 1),
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
