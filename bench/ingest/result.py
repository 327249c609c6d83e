"""Figures of the ingest bench: where they are kept, and their table in bench/README.md."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.faults.row import OURS
from bench.figure import Figure, table
from bench.report import HERE, replace_between

__all__ = ["BARE", "OURS", "RESULTS", "stamped", "told", "write_readme"]

RESULTS = HERE / "results" / "ingest.json"
BEGIN, END = "<!-- ingest: begin -->\n", "<!-- ingest: end -->\n"
BARE = "bare paho → SQLite"


def told(figure: Figure) -> str:
    """A figure as a line for people."""
    bound = "" if figure.at_most is None else f", at most {figure.at_most:,g}"
    bound = bound if figure.at_least is None else f", at least {figure.at_least:,g}"
    verdict = "" if not bound else (" (holds" if figure.holds else " (MISSED") + bound + ")"
    note = f"   {figure.note}" if figure.note else ""
    return f"{figure.name} [{figure.system}]: {figure.value:,g} {figure.unit}{verdict}{note}"


def write_readme(figures: Sequence[Figure]) -> None:
    """Renew the table in bench/README.md."""
    replace_between(BEGIN, END, "\n" + table(figures, peer=BARE, short="short form"))


def stamped(figure: Figure, at: str, *, quick: bool) -> Figure:
    """With the time and the form it was measured in."""
    return msgspec.structs.replace(figure, at=at, quick=quick)
