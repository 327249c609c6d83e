"""What does not agree, in plain words: where, what was expected, what is there."""

from __future__ import annotations

import msgspec

KEPT_MAX = 100  # told one by one; what comes after them follows from the first ones, or is as bad


class Divergence(msgspec.Struct, frozen=True):
    """One thing that is not as it must be."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


class Report(msgspec.Struct, frozen=True):
    """What was looked at, and what diverges, the first one first. more: divergences beyond those told."""

    leaves: int
    packs: int
    pruned: int
    checkpoints: int
    tiles: int
    other_rows: int
    divergences: list[Divergence]
    more: int

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.divergences


class Book:
    """Counts what was looked at and collects what diverges."""

    def __init__(self) -> None:
        self.leaves = self.packs = self.pruned = self.checkpoints = self.tiles = self.other_rows = 0
        self._divergences: list[Divergence] = []
        self._more = 0

    def note(self, where: str, *, expected: str, found: str) -> None:
        """Something diverges."""
        if len(self._divergences) < KEPT_MAX:
            self._divergences.append(Divergence(where, expected, found))
        else:
            self._more += 1

    def require(self, where: str, what: str, expected: object, found: object) -> None:
        """Note a divergence unless both are the same."""
        if expected != found:
            self.note(where, expected=f"{what} {_told(expected)}", found=_told(found))

    def report(self) -> Report:
        """All of it."""
        return Report(
            leaves=self.leaves,
            packs=self.packs,
            pruned=self.pruned,
            checkpoints=self.checkpoints,
            tiles=self.tiles,
            other_rows=self.other_rows,
            divergences=list(self._divergences),
            more=self._more,
        )


def _told(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "nothing" if value is None else str(value)[:200]
