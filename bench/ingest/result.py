"""Figures of the ingest bench: where they are kept, and their table in bench/README.md."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.figure import Figure
from bench.report import HERE, replace_between

RESULTS = HERE / "results" / "ingest.json"
BEGIN, END = "<!-- ingest: begin -->\n", "<!-- ingest: end -->\n"
OURS, BARE = "coldproof", "bare paho → SQLite"


def told(figure: Figure) -> str:
    """A figure as a line for people."""
    bound = "" if figure.at_most is None else f", at most {figure.at_most:,g}"
    bound = bound if figure.at_least is None else f", at least {figure.at_least:,g}"
    verdict = "" if not bound else (" (holds" if figure.holds else " (MISSED") + bound + ")"
    note = f"   {figure.note}" if figure.note else ""
    return f"{figure.name} [{figure.system}]: {figure.value:,g} {figure.unit}{verdict}{note}"


def table(figures: Sequence[Figure]) -> str:
    """Ours, the target, and the peer beside it."""
    lines = ["| figure | target | coldproof | bare paho → SQLite | |", "|---|---|---|---|---|"]
    peers = {one.name: one for one in figures if one.system == BARE}
    for one in figures:
        if one.system != OURS:
            continue
        bound = "" if one.at_most is None else f"≤ {one.at_most:,g}"
        bound = bound if one.at_least is None else f"≥ {one.at_least:,g}"
        own = f"{one.value:,g} {one.unit}" if one.holds else f"**missed:** {one.value:,g} {one.unit}"
        beside = f"{peers[one.name].value:,g}" if one.name in peers else ""
        notes = "; ".join(note for note in (one.note, "short form" if one.quick else "") if note)
        lines.append(f"| {one.name} | {bound} | {own} | {beside} | {notes} |")
    return "\n".join(lines) + "\n"


def write_readme(figures: Sequence[Figure]) -> None:
    """Renew the table in bench/README.md."""
    replace_between(BEGIN, END, "\n" + table(figures), HERE / "README.md")


def stamped(figure: Figure, at: str, *, quick: bool) -> Figure:
    """With the time and the form it was measured in."""
    return msgspec.structs.replace(figure, at=at, quick=quick)
