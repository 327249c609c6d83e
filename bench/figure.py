"""A measured figure beside its target, and the table of them in bench/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.faults.row import OURS, PEER
from bench.report import HERE, replace_between, write_lines

RESULTS = HERE / "results" / "performance.json"
BEGIN, END = "<!-- performance: begin -->\n", "<!-- performance: end -->\n"


class Figure(msgspec.Struct, frozen=True):
    """One measured number. at_most, at_least: the target; None: told for comparison only."""

    name: str
    system: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""
    at: str = ""
    quick: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within its target."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )


def store(fresh: Figure, path: Path = RESULTS) -> list[Figure]:
    """Put a figure in the place of the older one of the same name and system; all that are stored then."""
    old = msgspec.json.decode(path.read_bytes(), type=list[Figure]) if path.exists() else []
    kept = {(one.name, one.system): one for one in [*old, fresh]}
    write_lines(path, kept.values())
    return list(kept.values())


def table(figures: Sequence[Figure], *, peer: str = PEER, short: str = "short window") -> str:
    """Ours, the target, and the peer beside it. short: what is said of a figure of the quick form."""
    lines = [f"| figure | target | {OURS} | {peer} | |", "|---|---|---|---|---|"]
    peers = {one.name: one for one in figures if one.system == peer}
    for one in figures:
        if one.system != OURS:
            continue
        bound = "" if one.at_most is None else f"≤ {one.at_most:,g}"
        bound = bound if one.at_least is None else f"≥ {one.at_least:,g}"
        own = f"{one.value:,g} {one.unit}" if one.holds else f"**missed:** {one.value:,g} {one.unit}"
        beside = f"{peers[one.name].value:,g}" if one.name in peers else ""
        notes = "; ".join(note for note in (one.note, short if one.quick else "") if note)
        lines.append(f"| {one.name} | {bound} | {own} | {beside} | {notes} |")
    return "\n".join(lines) + "\n"


def write_readme(figures: Sequence[Figure]) -> None:
    """Renew the table between the two marks in bench/README.md."""
    replace_between(BEGIN, END, "\n" + table(figures))
