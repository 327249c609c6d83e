"""What the bench leaves behind: bench/results/faults.json, and the table in bench/README.md made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bench.faults.row import OURS, PEER, Result, Row
from bench.report import HERE, replace_between, write_lines

RESULTS = HERE / "results" / "faults.json"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
COUNTS = ("produced", "stored", "lost", "doubled", "out_of_order", "unaccepted", "declared")
HEAD = (
    "fault",
    "must",
    "",
    *(name.replace("_", " ") for name in COUNTS),
    "resumed after",
    "peer: lost, doubled, resumed after",
)


def load(path: Path = RESULTS) -> list[Result]:
    """The stored results; none when there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []


def store(fresh: Iterable[Result], path: Path = RESULTS) -> None:
    """Put results in the place of the older ones of the same fault and system."""
    kept = {(one.fault, one.system): one for one in [*load(path), *fresh]}
    write_lines(path, kept.values())


def line(result: Result) -> str:
    """One result for a terminal."""
    word = {True: "pass", False: "FAIL", None: "skip"}[result.passed]
    resumed = "" if result.resume_s is None else f", resumed after {result.resume_s:.2f} s"
    why = f": {result.details['why']}" if "why" in result.details else ""
    counts = ", ".join(f"{getattr(result, name)} {name.replace('_', ' ')}" for name in COUNTS)
    began = f"{word}  {result.fault} [{result.system}] seed {result.seed}"
    return f"{began}: {counts}{resumed} ({result.seconds:.0f} s){why}"


def table(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """The table for people, rows in the order of the bench; what was never run is said to be so."""
    by_name = {(one.fault, one.system): one for one in results}
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for row in rows:
        ours, peer = by_name.get((row.name, OURS)), by_name.get((row.name, PEER))
        beside = _beside(peer) if row.peer else "does not apply"
        if ours is None:
            lines.append(f"| {row.name} | {row.must} | not run {'| ' * (len(COUNTS) + 1)}| {beside} |")
            continue
        word = {True: "holds", False: "**missed**", None: "skipped"}[ours.passed]
        short = " (short form)" if ours.quick else ""
        counts = " | ".join(str(getattr(ours, name)) for name in COUNTS)
        lines.append(f"| {row.name}{short} | {row.must} | {word} | {counts} | {_resumed(ours)} | {beside} |")
    return "\n".join(lines) + "\n"


def notes(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """Why rows were missed or skipped, a line each."""
    order = {row.name: at for at, row in enumerate(rows)}
    ours = [one for one in results if one.system == OURS and one.fault in order and one.passed is not True]
    ours.sort(key=lambda one: order[one.fault])
    return "".join(f"- {one.fault}: {one.details.get('why', 'no reason told')}\n" for one in ours)


def write_readme(rows: Sequence[Row], results: Sequence[Result]) -> None:
    """Renew the table between the two marks in bench/README.md."""
    body = "\n" + table(rows, results)
    if said := notes(rows, results):
        body += f"\nMissed or skipped:\n\n{said}"
    replace_between(BEGIN, END, body)


def _beside(peer: Result | None) -> str:
    if peer is None:
        return "not run"
    if peer.produced == 0:
        return f"did not come to its end ({peer.details.get('why', '')})"
    return f"{peer.lost}, {peer.doubled}, {_resumed(peer) or '—'}"


def _resumed(result: Result) -> str:
    return "" if result.resume_s is None else f"{result.resume_s:.1f} s"
